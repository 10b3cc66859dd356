//! The corpora of the fuzz targets, replayed.

use std::fs;
use std::path::{Path, PathBuf};

use sordino_tests::fuzz_bodies::TARGETS;
use sordino_tests::fuzz_bodies::conversation::honest;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn replay(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    let dir = corpus(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("readable").path();
        eprintln!("{}", path.display());
        body(&fs::read(&path).expect("readable"));
        inputs += 1;
    }
    assert!(inputs >= 8, "{inputs} inputs in {}", dir.display());
}

#[test]
fn client() {
    replay("client");
}

#[test]
fn connection() {
    replay("connection");
}

#[test]
fn identity() {
    replay("identity");
}

#[test]
fn messages() {
    replay("messages");
}

#[test]
fn records() {
    replay("records");
}

#[test]
fn server() {
    replay("server");
}

#[test]
fn session() {
    replay("session");
}

#[test]
fn transcript() {
    replay("transcript");
}

/// A corpus from before a change of the protocol would end at its first byte, and find nothing any more.
#[test]
fn the_seeds_are_todays_conversations() {
    for suite in [1, 2] {
        let high = if suite == 1 { 0 } else { 0x80 };
        let (server, client) = honest(suite);
        for (target, first, received) in [("server", 0, &server.received), ("client", high, &client.received)]
        {
            let seed = fs::read(corpus(target).join(format!("honest-suite{suite}"))).expect("the seed");
            let expected = [&[first], &received[..]].concat();
            assert!(seed == expected, "{target}: write the seeds anew (tests/examples/fuzz_seeds.rs)");
        }
    }
}

/// Each target in `fuzz/` is one of these.
#[test]
fn all_targets_are_fuzzed() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("readable");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
    }
}
