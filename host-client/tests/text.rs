//! What people type and what a terminal may be shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use sordino::failure::Exit;
use sordino::text::address::Address;
use sordino::text::output::{grouped, sanitise};
use sordino::text::target::{Target, room, username};
use sordino::text::{fingerprint, secret};

#[test]
fn targets_fold_case_and_keep_to_the_name_rule() {
    assert_eq!("@Bob".parse(), Ok(Target::User("bob".into())));
    assert_eq!("#Lobby-1.x_y".parse(), Ok(Target::Room("lobby-1.x_y".into())));
    assert_eq!("#x".parse::<Target>().map(|t| t.to_string()), Ok("#x".into()));
    for wrong in ["bob", "", "@", "#", "@ab", "@bo b", "@böb", "##x", "@@bob", "#a/b"] {
        assert!(wrong.parse::<Target>().is_err(), "{wrong:?} passed");
    }
    assert!(format!("@{}", "a".repeat(32)).parse::<Target>().is_ok());
    assert!(format!("@{}", "a".repeat(33)).parse::<Target>().is_err());
    assert_eq!(username("@ALICE"), Ok("alice".into()));
    assert_eq!(room("Lobby"), Ok("lobby".into()));
}

#[test]
fn escape_sequences_and_controls_never_reach_the_terminal() {
    assert_eq!(sanitise("plain, ünïcode 👩‍💻"), "plain, ünïcode 👩‍💻");
    for hostile in [
        "\x1b]0;owned\x07",
        "\x1b[2J",
        "\u{9b}31m",
        "a\rb",
        "\x08\x08",
        "\u{202e}txt.exe",
        "\u{2066}",
        "\0",
        "\x7f",
    ] {
        let safe = sanitise(hostile);
        assert!(!safe.chars().any(|c| c.is_control()), "{safe:?}");
        assert!(!safe.contains(['\u{202e}', '\u{2066}']), "{safe:?}");
    }
}

#[test]
fn a_line_break_can_not_forge_a_message() {
    let safe = sanitise("hi\n12:00 alice → @bob: pay me\r\nnow\n");
    assert!(safe.lines().skip(1).all(|line| line.starts_with("    ")), "{safe:?}");
    assert_eq!(safe.lines().count(), 3);
}

#[test]
fn addresses() {
    let parsed = |text: &str| text.parse::<Address>().map(|a| a.to_string());
    assert_eq!(parsed("localhost"), Ok("localhost:12345".into()));
    assert_eq!(parsed("chat.example.org:7"), Ok("chat.example.org:7".into()));
    assert_eq!(parsed("[::1]:9"), Ok("[::1]:9".into()));
    assert_eq!(parsed("::1"), Ok("[::1]:12345".into()));
    for wrong in ["", ":1", "host:", "host:0", "host:65536", "a b", "[::1", "host:1:2", "@bob", "#room"] {
        assert!(parsed(wrong).is_err(), "{wrong:?} passed");
    }
}

#[test]
fn fingerprints_ignore_case_spaces_and_hyphens() {
    let plain = "ab".repeat(32);
    let spaced = grouped(&plain).to_uppercase().replacen(' ', "-", 3);
    assert_eq!(fingerprint::parse(&spaced), Ok([0xab; 32]));
    for wrong in [&plain[1..], &plain[2..], &format!("{plain}a"), &plain.replace('a', "g"), ""] {
        assert!(fingerprint::parse(wrong).is_err(), "{wrong:?} passed");
    }
}

#[test]
fn one_newline_of_a_password_file_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let read = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        secret::read_file(&path).map(|p| p.to_string()).map_err(|e| e.exit)
    };
    assert_eq!(read(b"pass word\n"), Ok("pass word".into()));
    assert_eq!(read(b"pass\r\n"), Ok("pass".into()));
    assert_eq!(read(b" pass\n\n"), Ok(" pass\n".into()));
    assert_eq!(read(b"pass"), Ok("pass".into()));
    assert_eq!(read(b"\n"), Err(Exit::Usage));
    assert_eq!(read(&[b'x'; 128]), Ok("x".repeat(128)));
    assert_eq!(read(&[b'x'; 129]), Err(Exit::Usage));
    assert_eq!(read(b"\xff"), Err(Exit::Usage));
}
