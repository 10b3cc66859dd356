//! A client in another language, written from docs/PROTOCOL.md alone, against the real server.

use sordino_tests::e2e::Host;
use sordino_tests::python;

use crate::PROGRAMS;

/// Red when any byte that this client uses changes without the document.
#[test]
fn the_independent_client_talks_in_both_suites() {
    let Some(interpreter) = python::interpreter("the_independent_client_talks_in_both_suites") else {
        return;
    };
    let host = Host::start(PROGRAMS);
    let (address, port) = host.address().rsplit_once(':').expect("address and port");
    let told = python::run(&interpreter, "live.py", &[address, port, host.fingerprint()]);
    assert_eq!(told.lines().count(), 2, "{told}");
}
