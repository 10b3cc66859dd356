//! Runs what handles secrets, with the secrets marked undefined for Valgrind's memcheck, which reports every jump
//! and every address that depends on them. One case for each start; `run` starts them and judges the reports.

#[cfg(feature = "server")]
mod config;
mod dh;
mod handshake;
#[cfg(feature = "server")]
#[path = "../../../host-server/src/accounts/hasher.rs"]
#[allow(dead_code, reason = "the server uses the rest; its crate would bring SQLite into this build")]
mod hasher;
mod leaky;
#[cfg(feature = "server")]
mod password;
mod records;
mod taint;

use sordino_core::{Suite1, Suite2};

/// Both suites of a case.
macro_rules! suites {
    ($name:literal, $($case:ident)::+) => {
        [
            (concat!($name, ", suite 1"), $($case)::+::<Suite1> as fn()),
            (concat!($name, ", suite 2"), $($case)::+::<Suite2>),
        ]
    };
}

fn cases() -> Vec<(&'static str, fn())> {
    let mut cases: Vec<(&str, fn())> = vec![
        ("leaky comparison", leaky::jump),
        ("leaky substitution", leaky::load),
        ("board's proof", records::board_proof),
        ("owner's proof", records::owner_proof),
    ];
    cases.extend(suites!("generator power", dh::generator_power));
    cases.extend(suites!("power", dh::power));
    cases.extend(suites!("two powers", dh::powers));
    cases.extend(suites!("seal", records::seal));
    cases.extend(suites!("tag wrong in its first byte", records::wrong_first));
    cases.extend(suites!("tag wrong in its last byte", records::wrong_last));
    cases.extend(suites!("open and unpad", records::open));
    cases.extend(suites!("record with a wrong tag", records::forged));
    cases.extend(suites!("record of zeros", records::zeros));
    cases.extend(suites!("record of other bytes", records::mixed));
    cases.extend(suites!("wrong gate", handshake::wrong_gate));
    cases.extend(suites!("handshake", handshake::whole));
    #[cfg(feature = "server")]
    cases.extend([("wrong password", password::wrong as fn()), ("right password", password::right)]);
    cases
}

fn main() {
    let Some(wanted) = std::env::args().nth(1) else {
        cases().iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    assert!(taint::is_watched(), "without Valgrind this shows nothing: start tests/constant-time/run");
    let (_, run) = cases().into_iter().find(|(name, _)| *name == wanted).unwrap();
    run();
}
