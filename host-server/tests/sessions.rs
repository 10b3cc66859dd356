//! A whole server in this process, and clients over sockets.

mod common;

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use common::client::{Client, End, device};
use smol::block_on;
use sordino_core::{
    Closed, Error, Message,
    error::ErrorCode,
    messages::{CloseReason, Code, Deliver, ListRequest},
};
use sordino_server::{config::Config, server::Server};
use tempfile::tempdir;

const MOMENT: Duration = Duration::from_millis(300);

fn start(dir: &Path, change: impl FnOnce(&mut Config)) -> (Server, SocketAddr) {
    let mut config = Config { listen: "127.0.0.1:0".into(), ..Config::default() };
    config.argon2.memory = 64;
    config.limits.new_connections_per_second = 1_000;
    config.limits.message_burst = 10_000;
    change(&mut config);
    let server = block_on(Server::start(config, dir)).unwrap();
    let address = server.address();
    (server, address)
}

fn stop(server: Server) {
    block_on(server.stop()).unwrap();
}

/// Numbers, offsets and lengths of the DELIVERs among records.
fn deliveries(records: &[common::client::Record]) -> Vec<(u64, u16, usize)> {
    let delivers = records.iter().filter_map(|r| match r.message() {
        Message::Deliver(Deliver { number, offset, part, .. }) => Some((number, offset, part.0.len())),
        _ => None,
    });
    delivers.collect()
}

#[test]
fn a_large_message_comes_in_parts_to_a_small_device() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let (alice_key, bob_key) = (device(), device());
    let mut alice = Client::register(address, "alice", &alice_key);
    drop(Client::register(address, "bob", &bob_key));
    let body: Vec<u8> = (0..15_360u32).map(|n| n.to_be_bytes()[3]).collect();
    alice.say("bob", 1, &body);
    let number = alice.accepted();
    alice.say("bob", 2, b"next");
    alice.accepted();

    let mut bob = Client::reconnect(address, &bob_key, 1_024);
    bob.receive(1);
    let mut got = Vec::new();
    while got.len() < body.len() {
        let record = bob.next().unwrap();
        let Message::Deliver(part) = record.message() else { panic!("{record:?}") };
        assert_eq!(
            (part.number, usize::from(part.offset), usize::from(part.total)),
            (number, got.len(), body.len())
        );
        got.extend_from_slice(part.part.0);
    }
    assert_eq!(got, body);
    assert!(bob.within(MOMENT).is_empty(), "a window of one message, whatever its parts");
    bob.acknowledge(number);
    assert_eq!(deliveries(&[bob.next().unwrap()])[0].2, 4);
    stop(server);
}

#[test]
fn the_window_bounds_what_is_not_acknowledged() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let key = device();
    let mut alice = Client::register(address, "alice", &key);
    for id in 0..10 {
        alice.say("alice", id, b"x");
        alice.accepted();
    }
    alice.receive(3);
    let first = deliveries(&alice.within(MOMENT));
    assert_eq!(first.len(), 3);
    alice.acknowledge(first[1].0);
    let second = deliveries(&alice.within(MOMENT));
    assert_eq!(second.len(), 2);
    assert_eq!(second[0].0, first[2].0 + 1, "in order, none twice");
    alice.receive(0);
    alice.acknowledge(second[1].0);
    assert!(deliveries(&alice.within(MOMENT)).is_empty(), "window 0 stops");
    alice.receive(256);
    assert_eq!(deliveries(&alice.within(MOMENT)).len(), 5);
    drop(alice);

    let mut alice = Client::reconnect(address, &key, 16_384);
    alice.receive(256);
    let again = deliveries(&alice.within(MOMENT));
    assert_eq!((again.len(), again[0].0), (5, second[1].0 + 1), "what wasn't acknowledged comes again");
    alice.acknowledge(again[4].0 + 1);
    assert_eq!(alice.end(), End::Closed(Closed::ByPeer(CloseReason::Protocol)), "never delivered");
    stop(server);
}

#[test]
fn what_waits_comes_in_bundles_to_those_who_receive_them() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let key = device();
    let mut alice = Client::register(address, "alice", &key);
    for id in 1..=100 {
        alice.say("alice", id, b"twenty bytes of text");
        alice.accepted();
    }
    drop(alice);
    let mut received = [0; 2];
    for (bytes, bundles) in received.iter_mut().zip([false, true]) {
        let mut alice = if bundles {
            Client::reconnect(address, &key, 16_384)
        } else {
            Client::reconnect_without_bundles(address, &key)
        };
        let before = alice.received;
        alice.receive(256);
        let records: Vec<_> = (0..100).map(|_| alice.next().unwrap()).collect();
        let numbers = deliveries(&records).into_iter().map(|(number, ..)| number);
        assert!(numbers.is_sorted() && deliveries(&records).len() == 100);
        *bytes = alice.received - before;
    }
    // A record of 128 bytes each, or some of many KiB in which a message takes 75 bytes.
    let [alone, together] = received;
    assert!(alone >= 100 * 146 && together <= 100 * 90, "{alone} and {together} bytes");
    stop(server);
}

#[test]
fn a_client_that_sends_without_reading_gets_every_answer_in_order() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let mut alice = Client::register(address, "alice", &device());
    for id in 0..500 {
        alice.say("alice", id, b"x");
    }
    let numbers: Vec<u64> = (0..500).map(|_| alice.accepted()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    stop(server);
}

#[test]
fn a_reader_that_stops_delays_nobody_and_misses_nothing() {
    const MESSAGES: u64 = 600;
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let (mut alice, mut bob) =
        (Client::register(address, "alice", &device()), Client::register(address, "bob", &device()));
    bob.receive(256);
    let body = vec![b'x'; 15_360];
    for id in 0..MESSAGES {
        alice.say("bob", id, &body);
        alice.accepted();
    }
    let before = Instant::now();
    alice.say("alice", MESSAGES, b"still quick");
    alice.accepted();
    assert!(before.elapsed() < Duration::from_secs(1));
    let mut numbers = Vec::new();
    while numbers.len() < MESSAGES as usize {
        let record = bob.next().unwrap();
        if let Message::Deliver(deliver) = record.message() {
            assert_eq!(deliver.part.0.len(), body.len());
            numbers.push(deliver.number);
            bob.acknowledge(deliver.number);
        }
    }
    assert!(numbers.is_sorted_by(|a, b| a < b));
    stop(server);
}

#[test]
fn lists_come_in_pages() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let key = device();
    let mut alice = Client::register(address, "alice", &key);
    let rooms: Vec<String> = (0..80).map(|n| format!("a-room-with-a-long-name-{n:03}")).collect();
    for room in &rooms {
        alice.join(room);
        let record = alice.next().unwrap();
        assert!(matches!(record.message(), Message::Done(done) if done.code == Code::Ok));
    }
    drop(alice);
    let mut alice = Client::reconnect(address, &key, 1_024);
    let (mut found, mut pages) = (Vec::<String>::new(), 0);
    loop {
        let after = found.last().cloned().unwrap_or_default();
        alice.send(&Message::ListRooms(ListRequest { tag: 9, after: &after }));
        let record = alice.next().unwrap();
        let Message::Rooms(page) = record.message() else { panic!("{record:?}") };
        assert_eq!(page.tag, 9);
        found.extend(page.items.iter().map(|r| r.room.as_str().to_owned()));
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!(found, rooms);
    assert!(pages > 1);
    stop(server);
}

#[test]
fn a_newer_connection_of_the_same_device_replaces_the_older() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let key = device();
    let mut first = Client::register(address, "alice", &key);
    first.receive(1);
    let mut second = Client::reconnect(address, &key, 16_384);
    assert!(first.within(MOMENT).is_empty(), "two connections of a device are fine");
    second.receive(1);
    assert_eq!(first.end(), End::Closed(Closed::ByPeer(CloseReason::Replaced)));
    stop(server);
}

#[test]
fn a_stop_says_goodbye_and_the_next_start_has_everything() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let fingerprint = server.fingerprint();
    let key = device();
    let mut alice = Client::register(address, "alice", &key);
    alice.say("alice", 1, b"kept");
    let number = alice.accepted();
    let silent = TcpStream::connect(address).unwrap();
    let clients = std::thread::spawn(move || alice.end());
    let before = Instant::now();
    stop(server);
    assert!(before.elapsed() < Duration::from_secs(4));
    assert_eq!(clients.join().unwrap(), End::Closed(Closed::ByPeer(CloseReason::ShuttingDown)));
    drop(silent);

    let (server, address) = start(dir.path(), |_| {});
    assert_eq!(server.fingerprint(), fingerprint);
    let mut alice = Client::reconnect(address, &key, 16_384);
    alice.receive(9);
    assert_eq!(deliveries(&[alice.next().unwrap()])[0].0, number);
    stop(server);
}

#[test]
fn time_limits_end_handshake_login_silence_and_life() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |c| {
        (c.timeouts.handshake, c.timeouts.login, c.timeouts.ping, c.timeouts.idle) = (1, 1, 1, 2);
    });
    let closed = |reason| End::Closed(Closed::ByPeer(reason));
    let before = Instant::now();
    let mut silent = TcpStream::connect(address).unwrap();
    let key = device();
    let mut nobody = Client::connect(address, &key, 16_384).unwrap();
    assert_eq!(nobody.end(), closed(CloseReason::Timeout));
    assert_eq!(silent.read(&mut [0; 9]).unwrap(), 0, "no goodbye before the handshake");
    assert!(before.elapsed() >= Duration::from_secs(1));

    let mut alice = Client::register(address, "alice", &key);
    let heard = Instant::now();
    assert!(alice.within(Duration::from_millis(2_500)).is_empty());
    assert!(heard.elapsed() >= Duration::from_secs(2), "PINGs are answered while one reads");
    alice.say("alice", 1, b"alive");
    alice.accepted();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(alice.end(), closed(CloseReason::Timeout));
    stop(server);

    let short = tempdir().unwrap();
    let (server, address) = start(short.path(), |c| c.timeouts.lifetime = 1);
    assert_eq!(Client::register(address, "alice", &key).end(), closed(CloseReason::Expired));
    stop(server);
}

#[test]
fn beyond_the_limits_the_server_is_busy() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |c| c.limits.connections = 2);
    let key = device();
    let first = Client::register(address, "alice", &key);
    let _second = Client::reconnect(address, &key, 16_384);
    let refused = Client::connect(address, &key, 16_384).err().unwrap();
    assert_eq!(refused, End::Failed(Error::Refused(ErrorCode::Busy)));
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Client::connect(address, &key, 16_384).is_err() {
        assert!(Instant::now() < deadline, "a connection that ended makes room");
    }
    stop(server);
}

/// Red if the end of the committer's task isn't watched: the server then goes on and takes no message any more.
#[test]
fn a_panic_of_the_task_that_writes_is_noticed_and_ends_the_server_with_an_error() {
    let dir = tempdir().unwrap();
    let (server, address) = start(dir.path(), |_| {});
    let key = device();
    let mut alice = Client::register(address, "alice", &key);
    alice.say("alice", 1, b"kept");
    alice.accepted();
    assert!(block_on(smol::future::poll_once(server.broken())).is_none());
    let broken = block_on(server.hub().change(|_| panic!("a fault on purpose")));
    assert!(broken.is_err());
    let noticed = async {
        server.broken().await;
        true
    };
    let never = async {
        smol::Timer::after(Duration::from_secs(30)).await;
        false
    };
    assert!(block_on(smol::future::or(noticed, never)));
    let goodbye = std::thread::spawn(move || alice.end());
    assert!(block_on(server.stop()).unwrap_err().to_string().contains("panicked"));
    assert_eq!(goodbye.join().unwrap(), End::Closed(Closed::ByPeer(CloseReason::ShuttingDown)));

    let (server, address) = start(dir.path(), |_| {});
    let mut alice = Client::reconnect(address, &key, 16_384);
    alice.receive(8);
    assert_eq!(deliveries(&[alice.next().unwrap()]).len(), 1);
    drop(alice);
    stop(server);
}
