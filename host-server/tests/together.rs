//! Messages that came together, and so stand in one row, of which some are needed longer than others.

mod common;

use std::{path::Path, time::Duration};

use common::{Bench, Person, id};
use smol::{Timer, block_on};
use sordino_core::messages::Code;
use sordino_server::{
    config::Limits,
    hub::{Outgoing, RoomChange, Signal},
    store::Change,
};
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::tempdir;

const MESSAGES: u64 = 100;

/// One batch from Alice: every second message to Bob, the others to Carol.
async fn together(bench: &Bench) -> (Person<'_>, Person<'_>) {
    let (alice, bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
    bench.device("carol", 3).await;
    let commits = bench.hub.commits();
    for n in 0..MESSAGES {
        let target = if n % 2 == 0 { "@bob" } else { "@carol" };
        alice.hub.submit(alice.submission(target, id(n), target)).await.unwrap();
    }
    bench.hub.flush().await;
    assert!(bench.hub.commits() - commits < 10);
    (alice, bob)
}

async fn remove(bench: &Bench, device: &Person<'_>) {
    let id = device.submission("@bob", id(0), "").device;
    bench.hub.change(move |_| vec![Change::NoDevice(id)]).await.unwrap();
}

async fn execute(dir: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(dir.join("sordino.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    other.execute(statement).await.unwrap();
    other.close().await.unwrap();
}

/// Some time later, and without anything that happens meanwhile, half of the messages are stored.
async fn half_remains(bench: &Bench) {
    for _ in 0..200 {
        if bench.reader.count().await.unwrap() == MESSAGES / 2 {
            return;
        }
        Timer::after(Duration::from_millis(50)).await;
    }
    panic!("there are {}", bench.reader.count().await.unwrap());
}

#[test]
fn each_gets_its_own_from_the_store() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        together(&bench).await;
        bench.kill().await;
        let bench = Bench::open(dir.path()).await;
        for (key, expected) in [(2, "@bob"), (3, "@carol")] {
            assert_eq!(bench.connect(key).receive().await, vec![expected; 50]);
        }
        bench.close().await;
    });
}

#[test]
fn what_nobody_needs_goes_while_the_rest_waits() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (_, mut bob) = together(&bench).await;
        assert_eq!(bob.receive().await.len(), 50);
        bob.acknowledge();
        half_remains(&bench).await;
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let (bob, mut carol) = (bench.connect(2), bench.connect(3));
        assert_eq!((bob.attached.pending, carol.attached.pending), (0, 50));
        assert_eq!(carol.receive().await, ["@carol"; 50]);
        carol.acknowledge();
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        bench.close().await;
    });
}

#[test]
fn what_nobody_needs_goes_when_the_disk_lets_it() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (_, mut bob) = together(&bench).await;
        execute(
            dir.path(),
            "CREATE TRIGGER refused BEFORE UPDATE ON messages BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .await;
        bob.receive().await;
        bob.acknowledge();
        // Its time comes and goes.
        Timer::after(Duration::from_millis(1500)).await;
        assert!(bench.reader.count().await.unwrap() > MESSAGES / 2);
        execute(dir.path(), "DROP TRIGGER refused").await;
        half_remains(&bench).await;
        bench.close().await;
    });
}

#[test]
fn what_nobody_needs_goes_when_the_server_stops() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (_, mut bob) = together(&bench).await;
        bob.receive().await;
        bob.acknowledge();
        bench.close().await;
        let bench = Bench::open(dir.path()).await;
        assert_eq!(bench.reader.count().await.unwrap(), 50);
        bench.close().await;
    });
}

/// Its messages stand in a row with others yet when the server is killed.
#[test]
fn with_a_room_goes_what_was_said_in_it_also_after_a_crash() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, _desk) = (bench.device("alice", 1).await, bench.device("alice", 2).await);
        bench.device("carol", 3).await;
        alice.room("club", RoomChange::Join).await;
        for n in 0..MESSAGES {
            let target = if n % 2 == 0 { "#club" } else { "@carol" };
            alice.hub.submit(alice.submission(target, id(n), target)).await.unwrap();
        }
        alice.room("club", RoomChange::Leave).await;
        bench.hub.flush().await;
        assert!(bench.reader.count().await.unwrap() > 50, "not yet");
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let (mut desk, mut carol) = (bench.connect(2), bench.connect(3));
        assert_eq!((desk.attached.pending, carol.attached.pending), (50, 50));
        assert_eq!(desk.receive().await, ["@carol"; 50], "copies of what Alice sent");
        assert_eq!(carol.receive().await, ["@carol"; 50]);
        bench.close().await;
    });
}

#[test]
fn what_waits_stays_when_the_limit_is_lower_after_a_restart() {
    let dir = tempdir().unwrap();
    let limited = |mailbox| Limits { mailbox, ..Limits::default() };
    block_on(async {
        let bench = Bench::with(dir.path(), limited(200)).await;
        together(&bench).await;
        bench.close().await;
        for mailbox in [3, 200] {
            let bench = Bench::with(dir.path(), limited(mailbox)).await;
            let (alice, mut bob) = (bench.connect(1), bench.connect(2));
            assert_eq!(bob.attached.pending, 50);
            if mailbox == 3 {
                assert_eq!(alice.send("@bob", id(MESSAGES), "more").await, Err(Code::MailboxFull));
            } else {
                assert_eq!(bob.receive().await, ["@bob"; 50]);
            }
            bench.close().await;
        }
    });
}

/// The row has them yet when the server is killed: they are forgotten once more.
#[test]
fn what_nobody_needed_before_a_crash_is_answered_and_gone_after_it() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, bob) = together(&bench).await;
        let first = alice.send("@bob", id(0), "again").await;
        remove(&bench, &bob).await;
        bench.hub.flush().await;
        assert!(bench.reader.count().await.unwrap() > 50, "not yet");
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let (alice, mut carol) = (bench.connect(1), bench.connect(3));
        assert_eq!(alice.send("@bob", id(0), "again").await, first);
        assert_eq!(carol.receive().await.len(), 50);
        carol.acknowledge();
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        assert_eq!(alice.send("@bob", id(0), "again").await, first);
        bench.close().await;
    });
}

#[test]
fn an_answer_that_the_disk_refused_is_stored_later() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, bob) = together(&bench).await;
        let first = alice.send("@bob", id(0), "again").await;
        execute(
            dir.path(),
            "CREATE TRIGGER refused BEFORE INSERT ON sent BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .await;
        remove(&bench, &bob).await;
        bench.hub.flush().await;
        execute(dir.path(), "DROP TRIGGER refused").await;
        bench.hub.flush().await;
        bench.kill().await;

        execute(dir.path(), "DELETE FROM messages").await;
        let bench = Bench::open(dir.path()).await;
        let alice = bench.connect(1);
        assert_eq!(alice.send("@bob", id(0), "again").await, first);
        assert_eq!(alice.send("@bob", id(1), "deleted above").await, Err(Code::NotFound));
        bench.close().await;
    });
}

#[test]
fn a_delivery_before_a_crash_is_not_told_again_after_it() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        let (mut bob, _desk) = (bench.device("bob", 2).await, bench.device("bob", 3).await);
        alice.send("@bob", id(1), "hello").await.unwrap();
        bob.receive().await;
        bob.acknowledge();
        bench.hub.flush().await;
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let (alice, mut desk) = (bench.connect(1), bench.connect(3));
        assert_eq!(desk.receive().await, ["hello"]);
        desk.acknowledge();
        bench.hub.flush().await;
        let told = alice.signals();
        assert!(!told.iter().any(|s| matches!(s, Signal::Event(Outgoing::Delivered(..)))), "{told:?}");
        bench.close().await;
    });
}
