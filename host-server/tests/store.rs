//! What the store knows of sent ids: in memory, in their index, and beyond a restart.

use std::path::Path;

use smol::block_on;
use sordino_server::store::{self, Batch, DeviceId, MessageId, NotCommitted, Sent, Writer};
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

/// Commits these numbers, a thousand at a time.
fn send(writer: &mut Writer, first: u64, last: u64) {
    for start in (first..=last).step_by(1000) {
        let sent = (start..=last.min(start + 999)).map(sent).collect();
        writer.commit(&Batch { sent, ..Batch::default() }).unwrap();
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
        for number in [1, MANY - 1, last] {
            let batch = Batch { sent: vec![sent(last + 1), sent(number)], ..Batch::default() };
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

#[test]
fn each_message_keeps_the_time_of_its_own_delivery() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send(&mut writer, 1, 9);
    let delivered = vec![(3, 70), (9, 70), (2, 70), (1, 80), (4, 80), (6, 90)];
    writer.commit(&Batch { delivered, ..Batch::default() }).unwrap();
    drop(writer);
    let times: Vec<_> = found(&open(dir.path()), 1, 9).iter().map(|sent| sent.delivered).collect();
    assert_eq!(times, [80, 70, 70, 80, 0, 90, 0, 0, 70]);
}

#[test]
fn what_is_forgotten_can_be_sent_again() {
    let dir = tempdir().unwrap();
    let mut writer = open(dir.path());
    send(&mut writer, 1, 1500);
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
