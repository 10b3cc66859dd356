//! Messages from acceptance to acknowledgement, over a real database and without sockets.

mod common;

use std::collections::HashSet;

use common::{Bench, id};
use smol::block_on;
use sordino_core::messages::{CloseReason, Code, NoticeLevel, RoomEventKind};
use sordino_server::{
    config::Limits,
    hub::{Outgoing, RoomChange, Signal},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::tempdir;

#[test]
fn a_direct_message_goes_to_all_devices_but_the_sending_one() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let mut phone = bench.device("alice", 1).await;
        let mut desk = bench.device("alice", 2).await;
        let (mut bob, mut carol) = (bench.device("bob", 3).await, bench.device("carol", 4).await);
        phone.send("@bob", id(1), "to bob").await.unwrap();
        phone.send("@alice", id(2), "to myself").await.unwrap();
        assert_eq!(bob.receive().await, ["to bob"]);
        assert_eq!(desk.receive().await, ["to bob", "to myself"]);
        assert_eq!(phone.receive().await, ["to myself"]);
        assert!(carol.receive().await.is_empty());
        let mut late = bench.device("bob", 5).await;
        assert!(late.receive().await.is_empty(), "nothing older than its binding");
        assert_eq!(phone.send("@nobody", id(3), "?").await, Err(Code::NotFound));
        bench.close().await;
    });
}

/// Red if a receiver isn't told that there is something, or is told of a batch that isn't for it.
#[test]
fn receivers_are_told_that_there_is_more() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        let (bob, carol) = (bench.device("bob", 2).await, bench.device("carol", 3).await);
        [&bob, &carol].into_iter().for_each(|device| bench.hub.receive(device.attached.id));
        let told = || [&bob, &carol].map(|device| device.signals().iter().any(|s| matches!(s, Signal::Mail)));
        assert_eq!(told(), [true, true], "whoever begins to receive");
        for device in [&alice, &carol] {
            device.room("club", RoomChange::Join).await;
        }
        for (number, to, expected) in
            [(1, "@bob", [true, false]), (2, "@bob", [true, false]), (3, "#club", [false, true])]
        {
            alice.send(to, id(number), "text").await.unwrap();
            bench.hub.flush().await;
            assert_eq!(told(), expected, "{number}");
        }
        bench.close().await;
    });
}

#[test]
fn a_message_is_stored_once_and_deleted_when_nobody_needs_it() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        let mut others = Vec::new();
        alice.room("club", RoomChange::Join).await;
        for key in 2..10 {
            let other = bench.device(&format!("member{key}"), key).await;
            assert_eq!(other.room("club", RoomChange::Join).await, Code::Ok);
            others.push(other);
        }
        alice.send("#club", id(1), "to all").await.unwrap();
        assert_eq!(bench.reader.count().await.unwrap(), 1);
        let last = others.pop().unwrap();
        for other in &mut others {
            assert_eq!(other.receive().await, ["to all"]);
            other.acknowledge();
        }
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 1, "one member hasn't acknowledged");
        assert_eq!(last.room("club", RoomChange::Leave).await, Code::Ok);
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        bench.close().await;
    });
}

#[test]
fn a_repeated_id_gets_the_first_answer_also_when_it_would_be_refused_now() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        alice.room("club", RoomChange::Join).await;
        let first = alice.send("#club", id(1), "once").await.unwrap();
        alice.room("club", RoomChange::Leave).await;
        assert_eq!(alice.send("#club", id(1), "once").await, Ok(first));
        assert_eq!(alice.send("#club", id(2), "too late").await, Err(Code::NotFound));
        bench.close().await;
    });
}

#[test]
fn a_repeated_id_of_a_device_gets_the_first_answer() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, desk) = (bench.device("alice", 1).await, bench.device("alice", 2).await);
        let mut bob = bench.device("bob", 3).await;
        let first = alice.send("@bob", id(1), "once").await.unwrap();
        assert_eq!(alice.send("@bob", id(1), "once").await, Ok(first));
        assert_ne!(desk.send("@bob", id(1), "another device").await, Ok(first));
        // In one batch too.
        alice.hub.submit(alice.submission("@bob", id(2), "twice")).await.unwrap();
        let second = alice.send("@bob", id(2), "twice").await.unwrap();
        assert!(matches!(alice.event().await, Outgoing::Accepted(_, n, _) if n == second));
        assert_eq!(bob.receive().await, ["once", "another device", "twice"]);
        bob.acknowledge();
        bench.hub.flush().await;
        alice.signals();
        assert_eq!(alice.send("@bob", id(1), "once").await, Ok(first));
        assert!(matches!(alice.event().await, Outgoing::Delivered(of, _) if of == id(1)), "after ACCEPTED");
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let alice = bench.connect(1);
        assert_eq!(alice.send("@bob", id(1), "once").await, Ok(first), "also after a restart");
        assert!(bench.connect(3).receive().await.is_empty());
        bench.close().await;
    });
}

#[test]
fn an_id_stays_known_when_its_readers_are_gone() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, _bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        let first = alice.send("@bob", id(1), "for nobody").await.unwrap();
        bench.kill().await;

        let options = SqliteConnectOptions::new().filename(dir.path().join("sordino.db"));
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        other.execute("DELETE FROM devices WHERE id = 2").await.unwrap();
        other.close().await.unwrap();
        let bench = Bench::open(dir.path()).await;
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        assert_eq!(bench.connect(1).send("@bob", id(1), "again").await, Ok(first));
        bench.close().await;
    });
}

/// Red when an id is lost on its way from memory into the index, when the index is not looked at, and when those that
/// it doesn't have are not read at the start.
#[test]
fn an_id_is_known_in_memory_in_its_index_and_after_a_restart() {
    // The first ones come into the index, the last ones don't.
    const MESSAGES: u64 = 13_824 + 1000;
    let limits = || Limits { mailbox: 20_000, ..Limits::default() };
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::with(dir.path(), limits()).await;
        let (alice, _bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        let mut numbers = Vec::new();
        for first in (0..MESSAGES).step_by(500) {
            let ids = first..MESSAGES.min(first + 500);
            for n in ids.clone() {
                alice.hub.submit(alice.submission("@bob", id(n), "once")).await.unwrap();
            }
            for n in ids {
                let Outgoing::Accepted(of, number, _) = alice.event().await else { panic!("{n}") };
                assert_eq!(of, id(n));
                numbers.push(number);
            }
        }
        let known = |n: u64| numbers[usize::try_from(n).unwrap()];
        for n in [0, 4000, MESSAGES - 1] {
            assert_eq!(alice.send("@bob", id(n), "once").await, Ok(known(n)), "{n}");
        }
        bench.kill().await;

        let bench = Bench::with(dir.path(), limits()).await;
        let alice = bench.connect(1);
        for n in [0, 4000, 13_823, 13_824, MESSAGES - 1] {
            assert_eq!(alice.send("@bob", id(n), "once").await, Ok(known(n)), "{n} after a restart");
        }
        assert_eq!(bench.reader.count().await.unwrap(), MESSAGES);
        let now = sordino_server::hub::unix_now() + 1;
        bench.hub.expire(now).await.unwrap();
        let mut again = alice.send("@bob", id(0), "again").await.unwrap();
        while again == known(0) {
            // They are forgotten a thousand at a time.
            again = alice.send("@bob", id(0), "again").await.unwrap();
        }
        assert!(again > known(MESSAGES - 1), "numbers only grow");
        bench.close().await;
    });
}

/// A database of the form before `sent` was kept in order.
#[test]
fn ids_of_an_older_database_are_known() {
    let dir = tempdir().unwrap();
    block_on(async {
        let options =
            SqliteConnectOptions::new().filename(dir.path().join("sordino.db")).create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options).await.unwrap();
        let mut before = sqlx::migrate!("./migrations");
        before.migrations.to_mut().truncate(2);
        before.run(&mut old).await.unwrap();
        old.execute(
            "INSERT INTO accounts VALUES (1, 'alice', '', NULL, 0, 0), (2, 'bob', '', NULL, 0, 0);
            INSERT INTO devices VALUES (1, 1, zeroblob(32), '', 0, 0, 0);
            INSERT INTO devices VALUES (2, 2, x'0101010101010101010101010101010101010101010101010101010101010101', '', 0, 0, 0);
            INSERT INTO sent VALUES (1, x'00000000000000070000000000000000', 41, 5, 6);
            INSERT INTO sent VALUES (1, x'00000000000000030000000000000000', 42, 5, 0);
            INSERT INTO sent VALUES (1, x'00000000000000040000000000000000', 43, 6, 0);
            INSERT INTO rooms VALUES (3, 'club', 0);
            INSERT INTO members VALUES (3, 1, 0), (3, 2, 0);
            INSERT INTO messages VALUES (42, x'00000000000000030000000000000000', 5, 1, 1, 2, NULL, 0, x'41');
            INSERT INTO messages VALUES (43, x'00000000000000040000000000000000', 6, 1, 1, NULL, 3, 1, x'420042')",
        )
        .await
        .unwrap();
        old.close().await.unwrap();
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.connect(0), bench.connect(1));
        assert_eq!(alice.send("@bob", id(7), "again").await, Ok(41));
        assert!(matches!(alice.event().await, Outgoing::Delivered(of, 6) if of == id(7)));
        assert_eq!(alice.send("@bob", id(3), "again").await, Ok(42));
        assert_eq!(alice.send("@bob", id(1), "new").await, Ok(44));
        assert_eq!(bob.receive().await, ["A", "B\0B", "new"]);
        bob.acknowledge();
        bench.hub.flush().await;
        alice.signals();
        assert_eq!(alice.send("@bob", id(3), "again").await, Ok(42));
        assert!(matches!(alice.event().await, Outgoing::Delivered(of, _) if of == id(3)));
        bench.close().await;
    });
}

#[test]
fn delivered_is_told_once_to_the_sender() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, mut desk) = (bench.device("alice", 1).await, bench.device("alice", 2).await);
        let (mut bob, mut tablet) = (bench.device("bob", 3).await, bench.device("bob", 4).await);
        alice.send("@bob", id(1), "hello").await.unwrap();
        desk.receive().await;
        desk.acknowledge();
        bench.hub.flush().await;
        assert!(alice.signals().is_empty(), "a copy for the sender is no delivery");
        for device in [&mut bob, &mut tablet] {
            device.receive().await;
            device.acknowledge();
        }
        assert!(alice.signals().is_empty(), "not yet durable");
        bench.hub.flush().await;
        let told = alice.signals();
        assert!(matches!(told[..], [Signal::Event(Outgoing::Delivered(of, _))] if of == id(1)), "{told:?}");
        bench.close().await;
    });
}

#[test]
fn what_is_not_acknowledged_comes_again_after_a_crash_and_the_rest_does_not() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        let (mut bob, desk) = (bench.device("bob", 2).await, bench.device("bob", 3).await);
        for person in [&alice, &bob] {
            person.room("club", RoomChange::Join).await;
        }
        alice.send("@bob", id(1), "one").await.unwrap();
        alice.send("#club", id(2), "two").await.unwrap();
        assert_eq!(bob.receive().await, ["one", "two"]);
        bob.acknowledge();
        bench.hub.flush().await;
        let last = alice.send("#club", id(3), "three").await.unwrap();
        drop(desk);
        bench.kill().await;

        let bench = Bench::open(dir.path()).await;
        let (mut bob, mut desk, mut alice) = (bench.connect(2), bench.connect(3), bench.connect(1));
        assert_eq!((bob.attached.pending, desk.attached.pending, alice.attached.pending), (1, 3, 0));
        assert_eq!(bob.receive().await, ["three"], "acknowledgements are durable soon");
        assert_eq!(desk.receive().await, ["one", "two", "three"]);
        assert!(alice.receive().await.is_empty());
        assert!(alice.send("#club", id(4), "four").await.unwrap() > last, "numbers only grow");
        bench.close().await;
    });
}

#[test]
fn numbers_grow_also_when_every_message_is_gone() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        let first = alice.send("@bob", id(1), "one").await.unwrap();
        bob.receive().await;
        bob.acknowledge();
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        bench.kill().await;
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.connect(1), bench.connect(2));
        assert_eq!(alice.send("@bob", id(2), "two").await, Ok(first + 1));
        assert_eq!(bob.receive().await, ["two"]);
        bench.close().await;
    });
}

#[test]
fn a_hundred_senders_share_their_syncs() {
    const SENDERS: u8 = 100;
    const EACH: u64 = 30;
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        bench.device("bob", 200).await;
        for key in 0..SENDERS {
            bench.device(&format!("sender{key}"), key).await;
        }
        let before = bench.hub.commits();
        let senders = (0..SENDERS).map(|key| {
            let bench = &bench;
            async move {
                let sender = bench.connect(key);
                let mut numbers = Vec::new();
                for n in 0..EACH {
                    numbers.push(sender.send("@bob", id(n), "x").await.unwrap());
                }
                numbers
            }
        });
        let executor = smol::LocalExecutor::new();
        let tasks: Vec<_> = senders.map(|sender| executor.spawn(sender)).collect();
        let mut numbers = HashSet::new();
        executor
            .run(async {
                for task in tasks {
                    numbers.extend(task.await);
                }
            })
            .await;
        let messages = u64::from(SENDERS) * EACH;
        assert_eq!(numbers.len() as u64, messages);
        let commits = bench.hub.commits() - before;
        assert!(commits * 5 < messages, "{commits} syncs for {messages} messages");
        assert_eq!(bench.reader.count().await.unwrap(), messages);
        drop(executor);
        bench.close().await;
    });
}

#[test]
fn a_slow_reader_gets_everything_from_the_store_in_order() {
    const MESSAGES: u64 = 600;
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        // Together more than what is kept in memory.
        let body = |n: u64| format!("{n:015360}");
        for n in 0..MESSAGES {
            alice.send("@bob", id(n), &body(n)).await.unwrap();
        }
        assert_eq!(bob.receive().await, (0..MESSAGES).map(body).collect::<Vec<_>>());
        bench.close().await;
    });
}

#[test]
fn a_full_mailbox_refuses_and_a_full_device_misses() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::with(dir.path(), Limits { mailbox: 3, ..Limits::default() }).await;
        let alice = bench.device("alice", 1).await;
        let (mut bob, mut desk) = (bench.device("bob", 2).await, bench.device("bob", 3).await);
        for n in 0..3 {
            alice.send("@bob", id(n), "x").await.unwrap();
        }
        assert_eq!(alice.send("@bob", id(3), "x").await, Err(Code::MailboxFull));
        bob.receive().await;
        bob.acknowledge();
        alice.send("@bob", id(4), "for one device").await.unwrap();
        assert_eq!(bob.receive().await, ["for one device"]);
        assert_eq!(desk.receive().await, ["x", "x", "x"]);
        let told = desk.signals();
        assert!(
            told.iter().any(|s| matches!(s, Signal::Event(Outgoing::Notice(NoticeLevel::Warning, _)))),
            "{told:?}"
        );
        bench.close().await;
    });
}

#[test]
fn one_batch_does_not_overfill_a_mailbox() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::with(dir.path(), Limits { mailbox: 5, ..Limits::default() }).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        for n in 0..20 {
            alice.hub.submit(alice.submission("@bob", id(n), "x")).await.unwrap();
        }
        let mut accepted = 0;
        for _ in 0..20 {
            accepted += usize::from(matches!(alice.event().await, Outgoing::Accepted(..)));
        }
        assert_eq!(accepted, 5);
        assert_eq!(bob.receive().await.len(), 5);
        bench.close().await;
    });
}

#[test]
fn rooms_are_open_bounded_and_go_with_their_last_member() {
    let dir = tempdir().unwrap();
    block_on(async {
        let limits = Limits { room_members: 2, rooms: 2, rooms_per_account: 2, ..Limits::default() };
        let bench = Bench::with(dir.path(), limits).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        let carol = bench.device("carol", 3).await;
        assert_eq!(alice.send("#club", id(1), "?").await, Err(Code::NotFound));
        assert_eq!(alice.room("club", RoomChange::Join).await, Code::Ok);
        assert_eq!(alice.room("club", RoomChange::Join).await, Code::Ok, "twice is ok");
        assert_eq!(bob.send("#club", id(1), "?").await, Err(Code::NotMember));
        alice.send("#club", id(2), "before bob").await.unwrap();
        bob.receive().await;
        bob.room("club", RoomChange::Join).await;
        assert_eq!(carol.room("club", RoomChange::Join).await, Code::RoomFull);
        alice.send("#club", id(3), "with bob").await.unwrap();
        assert_eq!(bob.receive().await, ["with bob"], "from the moment of joining");
        assert_eq!(alice.room("other", RoomChange::Join).await, Code::Ok);
        assert_eq!(alice.room("third", RoomChange::Join).await, Code::TooManyRooms);
        assert_eq!(carol.room("third", RoomChange::Join).await, Code::TooManyRooms);
        assert_eq!(alice.room("nowhere", RoomChange::Leave).await, Code::NotFound);
        bob.signals();
        assert_eq!(alice.room("club", RoomChange::Leave).await, Code::Ok);
        let told = bob.signals();
        let left = |s: &Signal| matches!(s, Signal::Event(Outgoing::RoomEvent(RoomEventKind::Left, room, user)) if &**room == "club" && &**user == "alice");
        assert!(told.iter().any(left), "{told:?}");
        assert_eq!(alice.room("club", RoomChange::Leave).await, Code::NotMember);
        assert_eq!(bob.room("club", RoomChange::Leave).await, Code::Ok);
        assert_eq!(alice.send("#club", id(4), "?").await, Err(Code::NotFound));
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 0);
        bench.close().await;
    });
}

#[test]
fn a_newer_connection_of_a_device_replaces_the_receiving_one() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let alice = bench.device("alice", 1).await;
        let mut first = bench.device("bob", 2).await;
        first.receive().await;
        let mut second = bench.connect(2);
        alice.send("@bob", id(1), "hello").await.unwrap();
        assert_eq!(first.receive().await, ["hello"], "logged in is not receiving");
        assert_eq!(second.receive().await, ["hello"]);
        let told = first.signals();
        assert!(told.iter().any(|s| matches!(s, Signal::Close(CloseReason::Replaced))), "{told:?}");
        bench.hub.detach(first.attached.id);
        alice.send("@bob", id(2), "again").await.unwrap();
        assert_eq!(second.receive().await, ["again"]);
        assert_eq!(bench.hub.kick("bob"), 1);
        assert!(second.signals().iter().any(|s| matches!(s, Signal::Close(CloseReason::Revoked))));
        bench.close().await;
    });
}

#[test]
fn old_messages_and_ids_go_and_new_ones_stay() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        let old = alice.send("@bob", id(1), "old").await.unwrap();
        smol::Timer::after(std::time::Duration::from_millis(5)).await;
        let between = sordino_server::hub::unix_now();
        let new = alice.send("@bob", id(2), "new").await.unwrap();
        bench.hub.expire(between).await.unwrap();
        bench.hub.flush().await;
        assert_eq!(bob.receive().await, ["new"]);
        assert_eq!(bench.reader.count().await.unwrap(), 1);
        assert_eq!(alice.send("@bob", id(2), "new").await, Ok(new));
        assert_ne!(alice.send("@bob", id(1), "old").await, Ok(old), "its id is forgotten");
        bench.close().await;
    });
}

#[test]
fn nothing_is_acknowledged_that_the_disk_refused() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, mut bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        alice.send("@bob", id(1), "one").await.unwrap();
        bob.receive().await;
        let options = SqliteConnectOptions::new().filename(dir.path().join("sordino.db"));
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        // Messages and what was acknowledged are stored apart.
        for (name, event) in [("messages", "INSERT ON messages"), ("cursors", "UPDATE ON devices")] {
            let broken =
                format!("CREATE TRIGGER {name} BEFORE {event} BEGIN SELECT RAISE(ABORT, 'disk full'); END");
            other.execute(AssertSqlSafe(broken)).await.unwrap();
        }
        bob.acknowledge();
        assert_eq!(alice.send("@bob", id(2), "two").await, Err(Code::Unavailable));
        assert!(bob.receive().await.is_empty());
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 1, "the acknowledgement could not be stored");
        assert!(alice.signals().is_empty(), "nor told");
        other.execute("DROP TRIGGER messages; DROP TRIGGER cursors").await.unwrap();
        assert!(alice.send("@bob", id(2), "two").await.is_ok(), "the same id, again");
        assert_eq!(bob.receive().await, ["two"]);
        bench.hub.flush().await;
        assert_eq!(bench.reader.count().await.unwrap(), 1, "the acknowledgement wasn't lost");
        let told = alice.signals();
        assert!(matches!(told[..], [Signal::Event(Outgoing::Delivered(of, _))] if of == id(1)), "{told:?}");
        bench.close().await;
    });
}

#[test]
fn a_device_that_nobody_uses_is_dropped_and_its_owner_told() {
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (old, _other) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        bench.hub.flush().await;
        bench.hub.drop_unseen(0).await.unwrap();
        assert_eq!(bench.reader.snapshot().await.unwrap().devices.len(), 2, "both were seen");
        bench.hub.drop_unseen(u64::MAX >> 1).await.unwrap();
        assert_eq!(bench.reader.snapshot().await.unwrap().devices.len(), 0);
        assert!(matches!(old.outlet.take_close(), Some(CloseReason::Revoked)));
        bench.hub.detach(old.attached.id);
        let back = bench.device("alice", 3).await;
        bench.hub.receive(back.attached.id);
        let told = std::iter::from_fn(|| back.outlet.take())
            .any(|signal| matches!(signal, Signal::Event(Outgoing::Notice(NoticeLevel::Warning, text)) if text.contains("removed")));
        assert!(told, "the owner hears of it when a device receives again");
        bench.close().await;
    });
}

/// Red when nobody looks at answers that are held back.
#[test]
fn who_waits_for_the_last_answer_gets_it() {
    const MESSAGES: u64 = 1000;
    let dir = tempdir().unwrap();
    block_on(async {
        let bench = Bench::open(dir.path()).await;
        let (alice, _bob) = (bench.device("alice", 1).await, bench.device("bob", 2).await);
        // As many as a client may have unanswered; then each by itself.
        for first in (0..MESSAGES).step_by(32) {
            let ids = first..MESSAGES.min(first + 32);
            for n in ids.clone() {
                alice.hub.submit(alice.submission("@bob", id(n), "hello")).await.unwrap();
            }
            for n in ids {
                let Outgoing::Accepted(of, ..) = alice.event().await else { panic!("{n}") };
                assert_eq!(of, id(n));
            }
        }
        for n in MESSAGES..2 * MESSAGES {
            alice.send("@bob", id(n), "hello").await.unwrap();
        }
        bench.close().await;
    });
}
