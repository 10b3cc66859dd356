//! Attack 14: a stranger tries to learn from the server's answers which usernames exist.
//!
//! Red when an unknown user is answered without Argon2id (return early in `Hasher::check` for no stored hash), with
//! another code than a wrong password, or with a longer record.

use std::{fs, sync::Arc};

use sordino_core::{
    Message, Suite, Suite1, Suite2,
    messages::{Auth, AuthCode, AuthMethod},
};
use sordino_server::{
    accounts::{Accounts, Login},
    config::Config,
    hub::{Hub, unix_now},
    limits::{Limits, Origin},
    store,
};
use sordino_tests::e2e::{
    Host, PASSWORD,
    probe::{Device, Heard, Memory, Probe},
};

use crate::PROGRAMS;

/// Logins that fail on purpose must not meet the limits here.
const LIMITS: &str = "\
[limits]
login_failures_account = 1000
login_failures_address = 1000
login_failures_server = 1000
new_connections_per_second = 1000
";

/// Dear enough that Argon2id outweighs everything else: about a tenth of a second.
const DEAR: &str = "[argon2]\nmemory = 65536\npasses = 3\n";

/// AUTH_RESULT: type 17, 124 bytes, in a bucket of 128 with its tag and length.
fn is_a_denial<S: Suite>(heard: &Heard) {
    let tag = sordino_core::suite::tag_len::<S>();
    assert_eq!((heard.kind, heard.body.len(), heard.wire), (17, 124, 2 + 128 + tag));
    assert_eq!(heard.body[0], 1, "denied");
    assert!(heard.body[1..].iter().all(|byte| *byte == 0), "{heard:?}");
}

fn attempt<S: Suite>(host: &Host, device: &Device<S>, user: &str, password: &str) -> Heard {
    let mut memory = Memory::new();
    let mut probe = Probe::connect(&mut memory, host, device.clone()).expect("a connection");
    probe.try_password(user, password).expect("an answer")
}

fn same_bytes<S: Suite>(host: &Host) {
    let device = Device::<S>::new();
    let unknown = attempt(host, &device, "nobody", PASSWORD);
    let wrong = attempt(host, &device, "alice", "not the password");
    let no_name = attempt(host, &device, "No Name At All!", PASSWORD);
    is_a_denial::<S>(&unknown);
    assert_eq!(unknown, wrong);
    assert_eq!(unknown, no_name);
    let mut memory = Memory::new();
    let mut probe = Probe::connect(&mut memory, host, device).expect("a connection");
    probe.send(&Message::Auth(Auth::DEVICE)).expect("it is sent");
    assert_eq!(probe.hear().expect("an answer"), unknown, "an unknown device");
}

#[test]
fn attack_14_unknown_user_and_wrong_password_are_the_same_bytes() {
    let host = Host::start_with(PROGRAMS, LIMITS);
    host.member("alice");
    same_bytes::<Suite1>(&host);
    same_bytes::<Suite2>(&host);
}

#[test]
fn attack_14_after_three_attempts_the_connection_ends_for_both_alike() {
    let host = Host::start_with(PROGRAMS, LIMITS);
    host.member("alice");
    let ends = ["alice", "nobody"].map(|user| {
        let mut memory = Memory::new();
        let mut probe = Probe::connect(&mut memory, &host, Device::<Suite1>::new()).expect("a connection");
        for _ in 0..3 {
            assert_eq!(probe.try_password(user, "not the password").expect("an answer").body[0], 1);
        }
        probe.hear().expect_err("CLOSE 5")
    });
    assert_eq!(ends[0], ends[1]);
}

/// The CPU time that a process has used, in clock ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[test]
fn attack_14_unknown_user_and_wrong_password_cost_the_same_work() {
    let mut host = Host::start_with(PROGRAMS, &format!("{LIMITS}{DEAR}"));
    host.member("alice");
    let process = host.server().id();
    let device = Device::<Suite1>::new();
    let cost = |user: &str| {
        let before = ticks(process);
        (0..6).for_each(|_| drop(attempt(&host, &device, user, "not the password")));
        ticks(process) - before
    };
    let (unknown, wrong) = (cost("nobody"), cost("alice"));
    assert!(wrong >= 20, "Argon2id is not dear enough here to be seen: {wrong} ticks");
    assert!(
        unknown.abs_diff(wrong) * 4 < wrong,
        "{unknown} ticks for unknown users, {wrong} for wrong passwords"
    );
}

fn login(method: AuthMethod, user: &str, password: &str) -> Login {
    Login {
        method,
        username: user.into(),
        email: "alice@example.org".into(),
        password: password.to_owned().into(),
        label: "test".into(),
        fingerprint: [7; 32],
        key_is_sound: Box::new(|| true),
        origin: Origin::from(std::net::IpAddr::from([127, 0, 0, 1])),
    }
}

#[test]
fn attack_14_argon2id_runs_are_counted_and_equal() {
    smol::block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (writer, reader) = store::open(dir.path()).await.expect("a database");
        let snapshot = reader.snapshot().await.expect("a snapshot");
        let config = Arc::new(Config::default());
        let limits = Arc::new(Limits::new(&config.limits));
        let (hub, committer) = Hub::new(snapshot, config.limits.clone(), writer, reader.clone(), unix_now);
        let committing = smol::spawn(committer);
        let accounts = Accounts::new(config, limits, Arc::clone(&hub), reader).expect("accounts");
        accounts
            .authenticate(login(AuthMethod::Register, "alice", PASSWORD), 0)
            .await
            .expect("alice registers");
        for user in ["alice", "nobody", "No Name At All!", ""] {
            let before = accounts.hasher().runs();
            let refusal = accounts.authenticate(login(AuthMethod::Password, user, "wrong"), 0).await;
            let refusal = refusal.expect_err("the password is wrong");
            assert_eq!((refusal.code, refusal.retry_after), (AuthCode::Denied, 0), "{user}");
            assert_eq!(accounts.hasher().runs() - before, 1, "{user}");
        }
        drop(committing);
    });
}
