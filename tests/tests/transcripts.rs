//! Recorded conversations against the real state machines, and against the independent implementation in Python.

use sordino_tests::python;
use sordino_tests::transcript::{
    Chunk, Failure, Player, SideName, Statement, expand_repeats, format_file, parse, play_every_way, record,
};
use std::path::{Path, PathBuf};

/// What must at least be there.
const CASES: [&str; 32] = [
    "altered-handshake-suite1",
    "altered-handshake-suite2",
    "altered-records-suite1",
    "altered-records-suite2",
    "chat-suite1",
    "chat-suite2",
    "close",
    "errors",
    "gate",
    "handshake-suite1",
    "handshake-suite2",
    "key-request",
    "login",
    "python-bundles-suite1",
    "python-bundles-suite2",
    "python-crafted-client-suite1",
    "python-crafted-client-suite2",
    "python-crafted-server-suite1",
    "python-crafted-server-suite2",
    "python-dishonest-client-suite1",
    "python-dishonest-client-suite2",
    "python-dishonest-server-suite1",
    "python-dishonest-server-suite2",
    "python-suite1",
    "python-suite2",
    "rekey-suite1",
    "rekey-suite2",
    "rotation",
    "small-records",
    "suites",
    "time",
    "wrong-root",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

fn read(name: &str) -> String {
    let path = directory().join(format!("{name}.txt"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".txt")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Does `check` for every item on all processors; the failures.
fn failures<T: Sync>(items: &[T], check: impl Fn(&T) -> Result<(), String> + Sync) -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let check = &check;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| {
                let mine = items.iter().skip(first).step_by(threads);
                scope.spawn(move || mine.filter_map(|item| check(item).err()).collect::<Vec<_>>())
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_case_has_a_transcript() {
    let names = names();
    for case in CASES {
        assert!(names.iter().any(|name| name == case), "{case} is missing");
    }
}

#[test]
fn every_transcript_plays_against_each_side_and_both_whole_and_byte_by_byte() {
    let failed = failures(&names(), |name| {
        let ways = play_every_way(&read(name)).map_err(|f| format!("{name}: {f}"))?;
        if ways >= 2 { Ok(()) } else { Err(format!("{name}: played in {ways} ways")) }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn recording_a_transcript_anew_changes_nothing() {
    let failed = failures(&names(), |name| {
        let text = read(name);
        let again = record(&text).map_err(|f| format!("{name}: {f}"))?;
        let differs = text.lines().zip(again.lines()).position(|(a, b)| a != b);
        if text == again { Ok(()) } else { Err(format!("{name}: line {differs:?} differs")) }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A transcript without anything that a state machine does.
fn script_of(statements: &[Statement]) -> Vec<Statement> {
    let follows = |s: &&Statement| {
        let wire = ["c->s", "s->c"].contains(&s.word(0)) && !["end", "altered"].contains(&s.word(1));
        !wire && !["event", "ends"].contains(&s.word(1))
    };
    statements.iter().filter(follows).cloned().collect()
}

#[test]
fn a_script_of_settings_and_actions_records_to_the_whole_transcript() {
    for name in ["chat-suite1", "chat-suite2", "close", "rekey-suite1", "rotation", "time"] {
        let statements = parse(&read(name)).unwrap();
        let recorded = record(&format_file(&script_of(&statements))).unwrap();
        let bytes_of = |all: &[Statement]| -> Vec<_> {
            let steps = all.iter().filter(|s| !s.words.is_empty());
            steps.map(|s| (s.head(), s.data())).collect()
        };
        assert_eq!(bytes_of(&parse(&recorded).unwrap()), bytes_of(&statements), "{name}");
    }
}

/// The blocks before the first record whose name begins so: `message` 1 to 3, `key` request and answer.
fn blocks_named(first: &str, statements: &[Statement]) -> Vec<usize> {
    let is_block = |s: &Statement| ["c->s", "s->c"].contains(&s.word(0));
    let end = statements.iter().position(|s| is_block(s) && s.word(1) == "record").unwrap();
    (0..end).filter(|&at| is_block(&statements[at]) && statements[at].word(1) == first).collect()
}

/// Plays the receiver of a block alone after one byte of the block was changed.
fn play_changed(statements: &[Statement], (block, byte, mask): (usize, usize, u8)) -> Result<(), Failure> {
    let mut changed = statements.to_vec();
    let mut left = byte;
    for field in changed[block].fields.iter_mut().filter(|f| !f.name.starts_with('(')) {
        match field.value.get_mut(left) {
            Some(value) => {
                *value ^= mask;
                break;
            }
            None => left -= field.value.len(),
        }
    }
    assert_ne!(changed[block].data(), statements[block].data());
    let receiver = if statements[block].word(0) == "c->s" { SideName::Server } else { SideName::Client };
    Player::new(&[receiver], Chunk::Whole).play(&changed)
}

/// Every byte of these messages, at the side that receives it: not by comparing the file with what the sender
/// sends, but by what the receiver then does.
fn any_changed_byte_fails(name: &str, messages: &str, count: usize) {
    let statements = expand_repeats(&parse(&read(name)).unwrap()).unwrap();
    let blocks = blocks_named(messages, &statements);
    assert_eq!(blocks.len(), count);
    let changes: Vec<(usize, usize, u8)> = blocks
        .iter()
        .flat_map(|&block| {
            (0..statements[block].data().len()).map(move |byte| (block, byte, 1 << (byte % 8)))
        })
        .collect();
    let passed = failures(&changes, |&change| match play_changed(&statements, change) {
        Ok(()) => Err(format!("{name}, line {}, byte {}", statements[change.0].line, change.1)),
        Err(_) => Ok(()),
    });
    assert!(passed.is_empty(), "plays although a byte was changed: {}", passed.join("\n"));
    println!("{name}: {} bytes changed, one at a time", changes.len());
}

#[test]
fn any_changed_byte_of_a_suite_1_handshake_fails() {
    any_changed_byte_fails("handshake-suite1", "message", 3);
    any_changed_byte_fails("python-suite1", "key", 2);
}

#[test]
fn any_changed_byte_of_a_suite_2_handshake_fails() {
    any_changed_byte_fails("handshake-suite2", "message", 3);
    any_changed_byte_fails("python-suite2", "key", 2);
}

/// Whatever an honest transcript states is checked: without a step, or with one twice, it fails.
#[test]
fn a_missing_or_additional_expectation_fails() {
    let statements = parse(&read("chat-suite1")).unwrap();
    let play = |changed: &[Statement]| Player::new(&SideName::BOTH, Chunk::Whole).play(changed);
    assert_eq!(play(&statements), Ok(()));
    let expectations = (0..statements.len()).filter(|&at| {
        let first = statements[at].word(0);
        ["c->s", "s->c"].contains(&first) || ["event", "ends"].contains(&statements[at].word(1))
    });
    let mut tried = 0;
    for at in expectations {
        let mut without = statements.clone();
        without.remove(at);
        assert!(play(&without).is_err(), "line {} isn't needed", statements[at].line);
        if statements[at].word(1) != "ends" {
            let mut twice = statements.clone();
            twice.insert(at, statements[at].clone());
            assert!(play(&twice).is_err(), "line {} may come twice", statements[at].line);
        }
        tried += 1;
    }
    assert!(tried > 40, "only {tried} expectations");
}

/// A Python with the packages that the independent implementation needs.
fn replay(python: &Path, arguments: &[&str]) -> String {
    python::run(python, "replay.py", arguments)
}

#[test]
fn the_independent_implementation_replays_what_this_one_records_and_produces_what_this_one_replays() {
    let test = "the_independent_implementation_replays";
    let Some(python) = python::interpreter(test) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(format!("{name}.txt"));
    for name in ["handshake-suite1", "handshake-suite2", "chat-suite1", "chat-suite2"] {
        let script = script_of(&parse(&read(name)).unwrap());
        std::fs::write(path(name), record(&format_file(&script)).unwrap()).unwrap();
        replay(&python, &["check", path(name).to_str().unwrap()]);
    }
    let conversations =
        ["python-suite1", "python-suite2"].map(|name| directory().join(format!("{name}.txt")));
    let worked =
        replay(&python, &["worked", conversations[0].to_str().unwrap(), conversations[1].to_str().unwrap()]);
    let specification = include_str!("../../docs/PROTOCOL.md");
    assert!(specification.trim_end().ends_with(worked.trim()), "section 15 has other worked values");
    replay(&python, &["produce", scratch.path().to_str().unwrap()]);
    for name in ["python-suite1", "python-suite2"] {
        let produced = std::fs::read_to_string(path(name)).unwrap();
        assert_eq!(play_every_way(&produced), Ok(6));
        assert!(produced == read(name), "{name} is not what the program produces now");
    }
}
