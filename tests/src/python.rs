//! The independent implementation in `tests/interop`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has what the programs need: the test command's own, or the machine's.
/// Without one, says so on standard error in the name of `test`.
#[must_use]
pub fn interpreter(test: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let found = [own, "python3".into()].into_iter().find(|python| {
        let probe = Command::new(python).args(["-c", "import cryptography"]).output();
        probe.is_ok_and(|probe| probe.status.success())
    });
    if found.is_none() {
        eprintln!(
            "{test}: skipped, because there is no python3 with the package cryptography; tests/run installs it"
        );
    }
    found
}

/// Runs a program of `tests/interop` to its end; what it printed.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn run(python: &Path, program: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(program);
    let output = Command::new(python).arg(path).args(arguments).output().expect("Python starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}\n{out}{err}");
    out.into_owned()
}
