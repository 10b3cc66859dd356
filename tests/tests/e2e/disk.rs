//! A disk that is full, read-only or failing: a clear refusal, nothing accepted lost, and a way back.
//!
//! Red when `Committer::submit` answers before the commit or doesn't look at its result (accepted messages are then
//! missing), when a failed transaction is not rolled back, and when the server panics instead of ending with an error.

use sordino_tests::e2e::{
    Client, Finished, Host, PASSWORD, PATIENCE, Process,
    disk::{Faults, SmallDisk, skipped},
};

use crate::PROGRAMS;

/// Room for keys, a database and its log.
const KIB: u32 = 4 * 1024;

fn with_small_disk(test: &str) -> Option<(Host, SmallDisk)> {
    let host = Host::new(PROGRAMS);
    let disk = SmallDisk::mount(&host.data_dir(), KIB);
    if disk.is_none() {
        skipped(test, "a small file system can't be mounted here");
    }
    Some((host, disk?))
}

/// A message that can't be stored: code 8 (unavailable), which is exit code 1, and says so.
fn is_refused(sent: Finished) {
    let sent = sent.exits(1);
    assert!(sent.stderr.contains("can't store"), "{sent:#?}");
}

fn texts(client: &Client, count: usize) -> Vec<String> {
    client.receive(count).into_iter().map(|line| line.text).collect()
}

fn logged(host: &mut Host, text: &str) {
    host.server().stderr.expect(text);
}

/// The server refuses for as long as nothing can be written, and is well afterwards. `None` if the trouble can't be
/// made here.
fn refuses_and_recovers<T>(
    host: &mut Host,
    alice: &Client,
    bob: &Client,
    begin: impl FnOnce() -> Option<T>,
    end: impl FnOnce(T),
) -> Option<()> {
    alice.send("@bob", "before");
    let trouble = begin()?;
    is_refused(alice.run(&["send", "@bob", "refused"]));
    is_refused(alice.run(&["send", "#club", "refused"]));
    is_refused(alice.run(&["rooms", "join", "#new"]));
    let late = host.client("late").enter("register", "late", PASSWORD).exits(1);
    assert!(late.stderr.contains("can't store"), "{late:#?}");
    logged(host, "can't write to the database");
    assert_eq!(texts(bob, 1), ["before"], "what was accepted can be read, though not acknowledged");
    end(trouble);
    alice.send("@bob", "after");
    assert_eq!(texts(bob, 1), ["after"], "and is not shown twice");
    host.client("late").register("late");
    Some(())
}

fn members(host: &Host) -> (Client, Client) {
    let (alice, bob) = (host.member("alice"), host.member("bob"));
    for person in [&alice, &bob] {
        person.ok(&["rooms", "join", "#club"]);
    }
    (alice, bob)
}

#[test]
fn a_full_disk_refuses_and_recovers_when_space_is_back() {
    let Some((mut host, disk)) = with_small_disk("a_full_disk_refuses_and_recovers_when_space_is_back")
    else {
        return;
    };
    host.up();
    let (alice, bob) = members(&host);
    let fill = || {
        disk.fill();
        Some(())
    };
    refuses_and_recovers(&mut host, &alice, &bob, fill, |()| disk.free());
    host.terminate().exits(0);
}

#[test]
fn a_server_that_dies_or_stops_on_a_full_disk_comes_back_with_all_that_it_accepted() {
    let name = "a_server_that_dies_or_stops_on_a_full_disk_comes_back_with_all_that_it_accepted";
    let Some((mut host, disk)) = with_small_disk(name) else { return };
    host.up();
    let (alice, bob) = members(&host);
    alice.send("@bob", "one");
    disk.fill();
    is_refused(alice.run(&["send", "@bob", "refused"]));
    host.kill();
    starts_or_says_why(&mut host);
    disk.free();
    host.up();
    alice.send("@bob", "two");
    disk.fill();
    is_refused(alice.run(&["send", "@bob", "refused"]));
    let stopped = host.terminate();
    assert!(stopped.signal.is_none() && !stopped.stderr.contains("panicked"), "{stopped:#?}");
    starts_or_says_why(&mut host);
    disk.free();
    host.up();
    assert_eq!(texts(&bob, 2), ["one", "two"]);
    bob.receive_nothing();
    host.terminate().exits(0);
}

/// On a full disk a server may do without writing; if it can't, it says why.
fn starts_or_says_why(host: &mut Host) {
    let server = Process::start(&mut host.command());
    let ready = server.stdout.wait_for(PATIENCE, |text| text.contains("\"ready\"").then_some(()));
    if ready.is_some() {
        server.signal(rustix::process::Signal::KILL);
        return;
    }
    let ended = server.finish(PATIENCE).exits(1);
    assert!(ended.stderr.contains("full") || ended.stderr.contains("No space"), "{ended:#?}");
}

#[test]
fn a_read_only_data_directory_is_told_at_the_start() {
    let Some((mut host, disk)) = with_small_disk("a_read_only_data_directory_is_told_at_the_start") else {
        return;
    };
    let refused = |host: &Host| {
        let ended = Process::start(&mut host.command()).finish(PATIENCE).exits(1);
        let path = host.data_dir().display().to_string();
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("panicked"), "{ended:#?}");
        assert!(ended.stderr.contains("Read-only") && ended.stderr.contains(&path), "{ended:#?}");
    };
    disk.read_only(true);
    refused(&host);
    disk.read_only(false);
    host.up();
    let (alice, bob) = members(&host);
    alice.send("@bob", "before");
    host.terminate().exits(0);
    disk.read_only(true);
    refused(&host);
    disk.read_only(false);
    host.up();
    assert_eq!(texts(&bob, 1), ["before"]);
}

/// What the kernel answers when it has made a file system read-only, when it is full, and when the disk fails.
#[test]
fn a_disk_that_fails_while_the_server_runs_refuses_and_recovers() {
    for faults in [
        &["pwrite64:error=EROFS", "ftruncate:error=EROFS"][..],
        &["pwrite64:error=ENOSPC"],
        &["fdatasync:error=EIO", "fsync:error=EIO"],
    ] {
        let mut host = Host::start(PROGRAMS);
        let (alice, bob) = members(&host);
        let process = host.server().id();
        let begin = || Faults::inject(process, faults);
        if refuses_and_recovers(&mut host, &alice, &bob, begin, Faults::end).is_none() {
            let test = "a_disk_that_fails_while_the_server_runs_refuses_and_recovers";
            return skipped(test, "strace is missing or may not attach here");
        }
        host.terminate().exits(0);
    }
}
