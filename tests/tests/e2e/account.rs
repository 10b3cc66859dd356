//! Accounts without a terminal: the ready line, `register`, `login`, password files, homes and what overrides them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use sordino_tests::e2e::{Client, Finished, Host, PASSWORD, PATIENCE, Process};

use crate::PROGRAMS;

/// Everything in a directory, with its mode bits.
fn modes(dir: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.display().to_string(), Host::mode(&path))).collect()
}

fn is_private(dir: &Path) {
    assert_eq!(Host::mode(dir), 0o700, "{}", dir.display());
    let files = modes(dir);
    assert!(!files.is_empty());
    for (file, mode) in files {
        assert_eq!(mode, 0o600, "{file} has mode {mode:o}");
    }
}

#[test]
fn the_ready_line_is_the_first_and_only_line() {
    let mut host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "hello");
    assert_eq!(bob.receive(1)[0].text, "hello");
    let (listen, fingerprint) = (host.address().to_owned(), host.fingerprint().to_owned());
    assert!(listen.starts_with("127.0.0.1:") && !listen.ends_with(":0"), "{listen}");
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(fingerprint.len() == 64 && fingerprint.chars().all(hexadecimal), "{fingerprint}");
    let ended = host.terminate().exits(0);
    let line = format!("{{\"event\":\"ready\",\"listen\":\"{listen}\",\"fingerprint\":\"{fingerprint}\"}}\n");
    assert_eq!(ended.stdout, line);
    assert!(!ended.stderr.is_empty(), "logs go to standard error");
}

#[test]
fn keys_databases_and_homes_are_private() {
    let host = Host::start(PROGRAMS);
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    alice.send("@bob", "hello");
    bob.receive(1);
    is_private(&host.data_dir());
    is_private(alice.home());
    is_private(bob.home());
}

#[test]
fn a_loose_umask_changes_nothing_about_that() {
    let loose = ["sh", "-c", "umask 000; exec \"$0\" \"$@\""];
    let mut host = Host::new(PROGRAMS);
    host.wrapper = loose.map(str::to_owned).to_vec();
    host.up();
    let alice = host.client("alice");
    let file = alice.password_file(PASSWORD);
    let mut register = Command::new(loose[0]);
    register.args(&loose[1..]).arg(PROGRAMS.client).arg("--home").arg(alice.home());
    register.args(["register", "--server", &alice.server, "--user", "alice", "--email", "a@example.org"]);
    Process::start(register.args(["--password-file", &file])).finish(PATIENCE).exits(0);
    let mut send = Command::new(loose[0]);
    send.args(&loose[1..]).arg(PROGRAMS.client).arg("--home").arg(alice.home());
    Process::start(send.args(["send", "@alice", "hi"])).finish(PATIENCE).exits(0);
    is_private(&host.data_dir());
    is_private(alice.home());
}

#[test]
fn a_home_that_enters_again_belongs_to_the_other_account() {
    let host = Host::start(PROGRAMS);
    let (home, bob) = (host.member("alice"), host.member("bob"));
    home.register("carol");
    home.send("@bob", "I am another now");
    assert_eq!(bob.receive(1)[0].from, "carol");
    // Without a device there is nobody who could ever read it.
    bob.run(&["send", "@alice", "to an account without a device"]).exits(7);
    home.log_in("alice");
    bob.send("@alice", "to this device again");
    assert_eq!(home.receive(1)[0].text, "to this device again");
}

#[test]
fn after_registration_and_login_the_device_key_is_enough() {
    let host = Host::start(PROGRAMS);
    let alice = host.member("alice");
    let tablet = host.client("tablet");
    tablet.log_in("alice");
    for client in [&alice, &tablet] {
        fs::remove_file(client.home().with_extension("password")).expect("the password file was written");
        client.send("@alice", "to myself");
    }
}

#[test]
fn a_user_name_is_folded() {
    let host = Host::start(PROGRAMS);
    let alice = host.client("home");
    alice.register("Alice");
    alice.send("@ALICE", "me");
    let line = &alice.receive(1)[0];
    assert_eq!((&*line.from, &*line.to), ("alice", "@alice"));
}

#[test]
fn one_trailing_newline_of_a_password_file_is_dropped() {
    let host = Host::start(PROGRAMS);
    let alice = host.client("alice");
    alice.enter("register", "alice", &format!("{PASSWORD}\n")).exits(0);
    host.client("two").enter("login", "alice", PASSWORD).exits(0);
    host.client("three").enter("login", "alice", &format!("{PASSWORD}\n\n")).exits(6);
}

#[test]
fn a_password_file_that_others_may_read_draws_a_warning() {
    let host = Host::start(PROGRAMS);
    let quiet = host.client("alice").enter("register", "alice", PASSWORD).exits(0);
    assert!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
    let client = host.client("second");
    let file = client.password_file(PASSWORD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the mode is set");
    let Client { server, fingerprint, .. } = &client;
    let login = ["login", "--server", server, "--fingerprint", fingerprint, "--user", "alice"];
    let loud = client.run(&[&login[..], &["--password-file", &file]].concat()).exits(0);
    assert!(loud.stderr.contains("warning") && loud.stderr.contains(&file), "{}", loud.stderr);
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let host = Host::start(PROGRAMS);
    host.member("alice");
    let shown = |Finished { stdout, stderr, .. }: Finished| (stdout, stderr);
    let wrong = shown(host.client("second").enter("login", "alice", "not the password").exits(6));
    let unknown = shown(host.client("third").enter("login", "nobody", "not the password").exits(6));
    assert_eq!(wrong, unknown);
    assert_eq!(wrong.0, "");
}

#[test]
fn what_the_policy_refuses_is_told_and_exits_with_1() {
    let host = Host::start(PROGRAMS);
    host.member("alice");
    for (user, password, hint) in
        [("alice", PASSWORD, "username"), ("server", PASSWORD, "username"), ("carol", "12345678", "password")]
    {
        let refused = host.client("new").enter("register", user, password).exits(1);
        assert!(refused.stderr.contains(hint), "{user}: {}", refused.stderr);
    }
}

#[test]
fn the_email_domain_is_compared_exactly() {
    let host = Host::start_with(PROGRAMS, "[registration]\nemail_domains = ['example.com']\n");
    let client = host.client("home");
    let file = client.password_file(PASSWORD);
    let register = |email: &str| {
        let Client { server, fingerprint, .. } = &client;
        let fixed = ["register", "--server", server, "--fingerprint", fingerprint, "--user", "alice"];
        client.run(&[&fixed[..], &["--password-file", &file, "--email", email]].concat())
    };
    for email in ["a@example.com.evil.org", "a@sub.example.com", "a@example.com@evil.org", "example.com"] {
        let refused = register(email).exits(1);
        assert!(refused.stderr.contains("email"), "{}", refused.stderr);
    }
    register("\"a@evil.org\"@example.com").exits(0);
}

#[test]
fn closed_registration_exits_with_1() {
    let host = Host::start_with(PROGRAMS, "[registration]\nopen = false\n");
    let refused = host.client("alice").enter("register", "alice", PASSWORD).exits(1);
    assert!(refused.stderr.contains("registration"), "{}", refused.stderr);
}

#[test]
fn commands_need_an_account() {
    let host = Host::start(PROGRAMS);
    for arguments in
        [&["send", "@bob", "hi"][..], &["recv", "--json"], &["rooms", "list"], &["history", "@bob"]]
    {
        let refused = host.client("nobody").run(arguments).exits(6);
        assert!(refused.stderr.contains("register"), "{}", refused.stderr);
    }
}

#[test]
fn the_environment_stands_for_flags_and_flags_win() {
    let host = Host::start(PROGRAMS);
    let alice = host.client("alice");
    let file = alice.password_file(PASSWORD);
    let mut register = alice.bare(&["register", "--server", &alice.server]);
    register.env("SORDINO_HOME", alice.home()).env("SORDINO_SERVER", "127.0.0.1:1");
    register.env("SORDINO_FINGERPRINT", &alice.fingerprint).env("SORDINO_USER", "alice");
    register.env("SORDINO_EMAIL", "alice@example.org").env("SORDINO_PASSWORD_FILE", &file);
    Process::start(&mut register).finish(PATIENCE).exits(0);
    alice.send("@alice", "me");
}

#[test]
fn without_a_home_the_xdg_directories_are_used() {
    let host = Host::start(PROGRAMS);
    let alice = host.client("alice");
    let file = alice.password_file(PASSWORD);
    let (data, config) = (host.path("xdg-data"), host.path("xdg-config"));
    let run = |arguments: &[&str]| {
        let mut command = alice.bare(arguments);
        command.env("XDG_DATA_HOME", &data).env("XDG_CONFIG_HOME", &config);
        Process::start(&mut command).finish(PATIENCE)
    };
    fs::create_dir_all(config.join("sordino")).expect("a directory");
    let settings = format!("server = '{}'\nfingerprint = '{}'\n", alice.server, alice.fingerprint);
    fs::write(config.join("sordino/config.toml"), settings).expect("a file");
    let who = ["register", "--user", "alice", "--email", "a@example.org", "--password-file", &file];
    run(&who).exits(0);
    assert_eq!(Host::mode(&data.join("sordino")), 0o700);
    run(&["send", "@alice", "me"]).exits(0);
    fs::write(config.join("sordino/config.toml"), "serwer = 'x'\n").expect("a file");
    let refused = run(&["send", "@alice", "me"]).exits(2);
    assert!(refused.stderr.contains("serwer"), "{}", refused.stderr);
}

#[test]
fn every_command_has_help() {
    let host = Host::new(PROGRAMS);
    let client = host.client("nobody");
    for command in ["", "register", "login", "send", "recv", "rooms", "rooms join", "history", "who"] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = client.run(&arguments).exits(0);
        assert!(help.stdout.contains("Usage"), "{command}: {}", help.stdout);
    }
    assert!(client.ok(&["--version"]).starts_with("sordino "));
}

#[test]
fn a_malformed_command_line_exits_with_2() {
    let host = Host::new(PROGRAMS);
    let client = host.client("nobody");
    let wrong: &[&[&str]] = &[
        &["dance", "--now"],
        &["send"],
        &["send", "bob", "hi"],
        &["send", "@bob", "hi", "--timeout", "soon"],
        &["send", "@bob", "hi", "--wait", "forever"],
        &["send", "#no room", "hi"],
        &["recv", "--count", "0"],
        &["rooms", "join"],
        &["register", "--server", "::::"],
        &["--suite", "3", "recv"],
    ];
    for arguments in wrong {
        let refused = client.run(arguments).exits(2);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{arguments:?}");
    }
}
