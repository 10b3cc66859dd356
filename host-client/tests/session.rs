//! The session as a library: many in one process, without a home.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use smol::LocalExecutor;
use sordino::failure::Exit;
use sordino::session::event::{Assembler, Gap};
use sordino::session::{Credentials, Event, Identity, Options, Session};
use sordino::text::target::Target;
use sordino::wait::{self, Backoff};
use sordino_core::messages::Deliver;
use sordino_core::name;
use sordino_core::wire::Opaque;
use support::{TestServer, identity};

const PASSWORD: &str = "correct horse battery";

fn options(server: &TestServer, suite: u8) -> Options {
    let within = Duration::from_secs(10);
    Options { server: server.address.parse().unwrap(), fingerprint: None, suite, within }
}

async fn registered(server: &TestServer, user: &str, suite: u8) -> (Identity, Session) {
    let identity = Identity::in_memory();
    let mut session = Session::connect(&identity, &options(server, suite)).await.unwrap();
    assert!(session.is_first_contact());
    session
        .log_in(Credentials::Register { user, email: "a@b.org", password: PASSWORD, label: "test" })
        .await
        .unwrap();
    (identity, session)
}

#[test]
fn twenty_clients_on_one_thread_all_hear_the_room() {
    let server = TestServer::start(identity(1, 1));
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let mut members = Vec::new();
        for n in 0..20u8 {
            let (_, mut session) = registered(&server, &format!("member{n}"), 1 + n % 2).await;
            session.join("all").await.unwrap();
            session.receive(16).await.unwrap();
            members.push(session);
        }
        let mut speaker = members.pop().unwrap();
        let hearing: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                executor.spawn(async move {
                    loop {
                        if let Event::Message(delivery) = member.next().await.unwrap() {
                            return (delivery.body, delivery.sender);
                        }
                    }
                })
            })
            .collect();
        speaker.send(&[7; 16], &Target::Room("all".into()), b"hear me").await.unwrap();
        assert!(matches!(speaker.next().await.unwrap(), Event::Accepted(accepted) if accepted.id == [7; 16]));
        for heard in hearing {
            assert_eq!(heard.await, (b"hear me".to_vec(), "member19".to_owned()));
        }
        speaker.close().await;
    }));
}

#[test]
fn a_device_in_memory_keeps_its_key_and_its_pin() {
    let server = TestServer::start(identity(1, 1));
    smol::block_on(async {
        let (device, session) = registered(&server, "alice", 2).await;
        session.close().await;
        let before = server.shared.connections.load(Ordering::SeqCst);
        let again = Session::open(&device, &options(&server, 2)).await.unwrap();
        assert_eq!((again.user(), again.is_first_contact()), ("alice", false));
        assert_eq!(server.shared.connections.load(Ordering::SeqCst) - before, 1);
        again.close().await;
        let stranger = Session::open(&Identity::in_memory(), &options(&server, 2)).await;
        assert_eq!(stranger.err().map(|failure| failure.exit), Some(Exit::Authentication));
        let other = TestServer::start(identity(2, 1));
        let moved = Session::open(&device, &options(&other, 2)).await;
        assert_eq!(moved.err().map(|failure| failure.exit), Some(Exit::Untrusted));
    });
}

#[test]
fn what_comes_while_an_answer_is_awaited_is_kept_in_order() {
    let server = TestServer::start(identity(1, 1));
    smol::block_on(async {
        let (_, mut session) = registered(&server, "alice", 1).await;
        for n in 0..5 {
            server.deliver("bob", "@alice", &n.to_string());
        }
        session.receive(16).await.unwrap();
        smol::Timer::after(Duration::from_millis(100)).await;
        assert_eq!(session.who().await.unwrap().len(), 1);
        for n in 0..5 {
            let Event::Message(delivery) = session.next().await.unwrap() else { panic!("a message") };
            assert_eq!(delivery.body, n.to_string().into_bytes());
        }
        assert!(wait::within(Duration::from_millis(50), session.next()).await.is_none());
    });
}

#[test]
fn more_than_the_buffers_hold_is_sent_in_order() {
    let server = TestServer::start(identity(1, 1));
    smol::block_on(async {
        let (_, mut session) = registered(&server, "alice", 1).await;
        let to = Target::User("alice".into());
        for n in 0..30u8 {
            session.send(&[n; 16], &to, &vec![b'a' + n % 26; 15_360]).await.unwrap();
        }
        for n in 0..30 {
            assert!(
                matches!(session.next().await.unwrap(), Event::Accepted(accepted) if accepted.id == [n; 16])
            );
        }
        session.close().await;
        assert!(server.state().messages.iter().all(|message| message.body.len() == 15_360));
    });
}

#[test]
fn an_acknowledgement_that_waits_leaves_by_itself_and_before_a_goodbye() {
    let server = TestServer::start(identity(1, 1));
    let acked = || server.state().acked.get("alice").copied();
    smol::block_on(async {
        let (_, mut session) = registered(&server, "alice", 1).await;
        session.ack(1, 1).await.unwrap();
        session.ack(2, 1).await.unwrap();
        // Nothing comes, and nobody does anything but to wait for it.
        let told = async {
            while acked() != Some(2) {
                smol::Timer::after(Duration::from_millis(5)).await;
            }
            None
        };
        let next = async { Some(session.next().await) };
        let heard = wait::within(Duration::from_secs(10), smol::future::or(next, told)).await;
        assert!(matches!(heard, Some(None)), "not acknowledged");
        assert_eq!(acked(), Some(2));
        session.ack(3, 1).await.unwrap();
        session.close().await;
        assert_eq!(acked(), Some(3));
    });
}

#[test]
fn the_end_of_a_connection_is_told_at_each_call() {
    let server = TestServer::start(identity(1, 1));
    smol::block_on(async {
        let (_, mut session) = registered(&server, "alice", 1).await;
        server.shared.faults.cut_before_ack.store(1, Ordering::SeqCst);
        // The server cuts as soon as it has read this, perhaps before the call is over.
        if let Err(failure) = session.ack(0, 1).await {
            assert_eq!(failure.exit, Exit::Network);
        }
        for _ in 0..2 {
            assert_eq!(session.next().await.unwrap_err().exit, Exit::Network);
        }
        assert!(!session.is_open());
        assert_eq!(session.ack(0, 1).await.unwrap_err().exit, Exit::Network);
    });
}

fn part(number: u64, offset: u16, text: &[u8]) -> Deliver<'_> {
    let user = |name| name::Username::new(name).unwrap();
    let (sender, target) = (user("bob"), name::Target::User(user("alice")));
    Deliver { number, id: [1; 16], time: 0, sender, target, format: 0, total: 6, offset, part: Opaque(text) }
}

#[test]
fn a_message_in_parts_is_put_together_without_gaps() {
    let mut whole = Assembler::default();
    assert_eq!(whole.add(&part(1, 0, b"ab")), Ok(None));
    assert_eq!(whole.add(&part(1, 2, b"c")), Ok(None));
    let message = whole.add(&part(1, 3, b"def")).unwrap().unwrap();
    assert_eq!(message.body, b"abcdef");
    assert_eq!(whole.add(&part(2, 0, b"abcdef")).unwrap().unwrap().number, 2);

    assert_eq!(Assembler::default().add(&part(1, 1, b"x")), Err(Gap));
    for wrong in [part(1, 3, b"x"), part(1, 1, b"x"), part(2, 2, b"x")] {
        let mut broken = Assembler::default();
        assert_eq!(broken.add(&part(1, 0, b"ab")), Ok(None));
        assert_eq!(broken.add(&wrong), Err(Gap), "{wrong:?}");
    }
}

#[test]
fn pauses_double_to_a_minute_and_are_shortened_by_half_at_most() {
    let mut backoff = Backoff::default();
    for full in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
        let pause = backoff.next_pause().as_secs_f64();
        assert!((full / 2.0..=full).contains(&pause), "{pause} of {full}");
    }
    backoff.reset();
    assert!(backoff.next_pause() <= Duration::from_secs(1));
}
