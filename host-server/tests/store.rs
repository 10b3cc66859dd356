//! What the store knows of sent ids: in memory, in their index, and beyond a restart.

use std::{path::Path, sync::Arc};

use smol::block_on;
use sordino_server::store::{
    self, AccountId, Batch, DeviceId, Message, MessageId, NotCommitted, Place, Sent, Target, Writer,
};
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::tempdir;

/// More than the filter has room for at first, and not a multiple of what enters the index together.
const MANY: u64 = 75_000;

fn open(dir: &Path) -> Writer {
    let (writer, reader) = block_on(store::open(dir)).unwrap();
    block_on(reader.close());
    writer
}

fn sent(number: u64) -> Sent {
    Sent { device: device(number), id: id(number), number, time: 1000 + number, delivered: 0 }
}

fn device(number: u64) -> DeviceId {
    DeviceId((number % 7).cast_signed())
}

fn id(number: u64) -> MessageId {
    u128::from(number).to_be_bytes()
}

fn message(number: u64) -> Arc<Message> {
    let Sent { device, id, time, .. } = sent(number);
    let place = Place { number, id, time, sender: AccountId(1), device, target: Target::User(AccountId(2)) };
    Arc::new(Message::new(place, "alice", "bob", 0, b"hello").unwrap())
}

/// Commits these numbers, a thousand at a time. Somebody needs each second of them.
fn send(writer: &mut Writer, first: u64, last: u64) {
    send_some(writer, first, last, |number| number % 2 == 0);
}

/// The same, of which nobody needs any.
fn send_unneeded(writer: &mut Writer, first: u64, last: u64) {
    send_some(writer, first, last, |_| false);
}

fn send_some(writer: &mut Writer, first: u64, last: u64, is_needed: impl Fn(&u64) -> bool) {
    for start in (first..=last).step_by(1000) {
        let (needed, not) = (start..=last.min(start + 999)).partition::<Vec<_>, _>(&is_needed);
        let (messages, sent) =
            (needed.into_iter().map(message).collect(), not.into_iter().map(sent).collect());
        writer.commit(&Batch { messages, sent, ..Batch::default() }).unwrap();
        writer.tidy().unwrap();
    }
}

fn found(writer: &Writer, first: u64, last: u64) -> Vec<Sent> {
    let keys: Vec<_> = (first..=last).map(|number| (device(number), id(number))).collect();
    writer.sent(&keys).unwrap()
}

#[test]
fn an_id_is_found_whether_it_is_in_the_index_or_not_and_after_a_restart() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send(&mut writer, 1, MANY);
    for restarts in 0..3 {
        let last = MANY + restarts * 10;
        let all: Vec<_> = (1..=last).map(sent).collect();
        assert!(found(&writer, 1, last) == all, "{restarts} restarts");
        for number in [1, 2, MANY - 1, MANY, last] {
            let batch = Batch { sent: vec![sent(last + 1), sent(number)], ..Batch::default() };
            assert!(matches!(writer.commit(&batch), Err(NotCommitted::Repeated)), "{number}");
            let batch = Batch { messages: vec![message(number)], ..Batch::default() };
            assert!(matches!(writer.commit(&batch), Err(NotCommitted::Repeated)), "{number}");
        }
        send(&mut writer, last + 1, last + 10);
        // As a killed process does: the log isn't written back.
        drop(writer);
        writer = open(dir.path());
    }
}

/// Of so many fresh ids, the filter takes some for known ones.
#[test]
fn a_fresh_id_is_fresh_even_if_the_filter_takes_it_for_another() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send(&mut writer, 1, 60_000);
    assert!(found(&writer, 60_001, 160_000).is_empty());
    send(&mut writer, 60_001, 2 * MANY);
    assert_eq!(found(&writer, 1, 2 * MANY).len() as u64, 2 * MANY);
}

/// Between two rounds, between two steps of a merge, and anywhere else where a message may come.
#[test]
fn a_killed_server_knows_every_id() {
    let dir = tempdir().unwrap();
    for first in (1..MANY).step_by(1000) {
        let mut writer = open(dir.path());
        let last = first + 999;
        send(&mut writer, first, last);
        let some = (1..=last).step_by(199).chain(last - 5..=last);
        for number in some {
            assert_eq!(found(&writer, number, number), [sent(number)], "after {last}");
        }
    }
    assert_eq!(found(&open(dir.path()), 1, MANY).len() as u64, MANY);
}

/// A database of the form before ids were in runs: most of them in one tree.
#[test]
fn ids_of_a_tree_come_into_runs() {
    let dir = tempdir().unwrap();
    block_on(async {
        let options =
            SqliteConnectOptions::new().filename(dir.path().join(store::FILE)).create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options).await.unwrap();
        let mut before = sqlx::migrate!("./migrations");
        before.migrations.to_mut().truncate(3);
        before.run(&mut old).await.unwrap();
        let mut transaction = old.begin().await.unwrap();
        for Sent { device, id, number, time, delivered } in (1..=MANY).map(sent) {
            let insert = "INSERT INTO sent (device, id, number, time, delivered) VALUES (?, ?, ?, ?, ?)";
            let values = [number, time, delivered].map(u64::cast_signed);
            let insert = sqlx::query(insert).bind(device.0).bind(id.to_vec());
            let insert = insert.bind(values[0]).bind(values[1]).bind(values[2]);
            transaction.execute(insert).await.unwrap();
        }
        let index = "INSERT INTO sent_ids SELECT device, id, number FROM sent WHERE number <= 70000;
            UPDATE place SET indexed = 70000";
        transaction.execute(index).await.unwrap();
        transaction.commit().await.unwrap();
        old.close().await.unwrap();
    });
    for _ in 0..2 {
        let mut writer = open(dir.path());
        let all: Vec<_> = (1..=MANY).map(sent).collect();
        assert!(found(&writer, 1, MANY) == all);
        for number in [1, 70_000, 70_001, MANY] {
            let batch = Batch { sent: vec![sent(MANY + 1), sent(number)], ..Batch::default() };
            assert!(matches!(writer.commit(&batch), Err(NotCommitted::Repeated)), "{number}");
        }
    }
    let mut writer = open(dir.path());
    send(&mut writer, MANY + 1, MANY + 20_000);
    assert_eq!(found(&writer, 1, MANY + 20_000).len() as u64, MANY + 20_000);
}

#[test]
fn each_message_keeps_the_time_of_its_own_delivery() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    writer.commit(&Batch { messages: (1..=9).map(message).collect(), ..Batch::default() }).unwrap();
    let answers = |answers: &[(u64, u64)]| {
        answers.iter().map(|(number, delivered)| Sent { delivered: *delivered, ..sent(*number) }).collect()
    };
    let delivered = answers(&[(3, 70), (9, 70), (2, 70), (1, 80), (4, 80), (6, 90)]);
    writer.commit(&Batch { answers: delivered, ..Batch::default() }).unwrap();
    let times = |writer: &Writer| found(writer, 1, 9).iter().map(|sent| sent.delivered).collect::<Vec<_>>();
    assert_eq!(times(&writer), [80, 70, 70, 80, 0, 90, 0, 0, 70]);
    // Some in the batch in which they are forgotten, some before it, and one never.
    let (answers, forget) = (answers(&[(5, 95), (7, 0), (8, 0)]), vec![5, 6, 7, 8, 1]);
    writer.commit(&Batch { answers, forget, ..Batch::default() }).unwrap();
    for _ in 0..2 {
        assert_eq!(times(&writer), [80, 70, 70, 80, 95, 90, 0, 0, 70]);
        assert_eq!(found(&writer, 7, 8), [sent(7), sent(8)]);
        drop(writer);
        writer = open(dir.path());
    }
}

/// The oldest of all is not among what was delivered or isn't needed any more, and gets old while runs are merged.
#[test]
fn what_waits_stays_known_however_much_comes_after_it() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    writer.commit(&Batch { messages: vec![message(1)], ..Batch::default() }).unwrap();
    send_unneeded(&mut writer, 2, 2 * MANY);
    assert_eq!(found(&writer, 1, 1), [sent(1)]);
    drop(writer);
    assert_eq!(found(&open(dir.path()), 1, 1), [sent(1)]);
}

#[test]
fn what_is_forgotten_can_be_sent_again() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send_unneeded(&mut writer, 1, 1500);
    let before = sent(1301).time;
    assert!(writer.forget_sent_before(before).unwrap(), "there is more");
    assert!(!writer.forget_sent_before(before).unwrap());
    assert_eq!(found(&writer, 1, 1500).first(), Some(&sent(1301)));
    let again = Sent { number: 1501, ..sent(1) };
    writer.commit(&Batch { sent: vec![again], ..Batch::default() }).unwrap();
    assert_eq!(found(&writer, 1, 1), [again]);
    drop(writer);
    assert_eq!(found(&open(dir.path()), 1, 1), [again]);
}

/// Their entries are in runs, alone, among others, and partly at places that merges have moved them to.
#[test]
fn what_is_forgotten_of_the_index_can_be_sent_again() {
    const FORGOTTEN: u64 = 35_000;
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send_unneeded(&mut writer, 1, MANY);
    while writer.forget_sent_before(sent(FORGOTTEN + 1).time).unwrap() {}
    assert!(found(&writer, 1, FORGOTTEN).is_empty());
    assert_eq!(found(&writer, FORGOTTEN + 1, MANY).len() as u64, MANY - FORGOTTEN);
    let again = |number| Sent { number: number + MANY, time: number + MANY, ..sent(number) };
    for first in (1..=FORGOTTEN).step_by(500) {
        let sent = (first..first + 500).map(again).collect();
        writer.commit(&Batch { sent, ..Batch::default() }).unwrap();
        writer.tidy().unwrap();
        assert_eq!(found(&writer, 1, 1), [again(1)], "{first}");
    }
    for _ in 0..2 {
        let expected: Vec<_> = (1..=FORGOTTEN).map(again).collect();
        assert!(found(&writer, 1, FORGOTTEN) == expected);
        assert_eq!(found(&writer, FORGOTTEN + 1, MANY).len() as u64, MANY - FORGOTTEN);
        let batch = Batch { sent: vec![sent(3)], ..Batch::default() };
        assert!(matches!(writer.commit(&batch), Err(NotCommitted::Repeated)));
        drop(writer);
        writer = open(dir.path());
    }
    while writer.forget_sent_before(u64::MAX >> 1).unwrap() {}
    assert!(found(&writer, 1, MANY).is_empty());
}
