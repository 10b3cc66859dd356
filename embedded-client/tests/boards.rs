//! A board and a server in memory: enrolment, both clients, every kind of stream, power cuts.
#![expect(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects, reason = "a test may panic")]

mod common;

use common::flash::{Dark, Flash};
use common::stream::{Habits, Net};
use common::{Splitmix, StuckRng};
use core::ops::ControlFlow;
use sordino_core::error::{Distrust, Error};
use sordino_core::messages::{AuthCode, CloseReason};
use sordino_embedded::{
    Board, BoardError, Code, Enrolment, Event, MAX_TEXT, Memory, OUTBOX, Offline, Target,
};
use std::cell::{Cell, RefCell};

const SMOOTH: Habits = Habits { chunk: usize::MAX, pause: 0, loss: 0 };

type TestBoard = Board<Flash, StuckRng>;

fn board(flash: &Flash, seed: u64) -> Result<TestBoard, BoardError<Dark>> {
    Board::open(flash.clone(), StuckRng { same: 0x5a, rest: Splitmix(seed) })
}

fn enrolled(net: &Net, flash: &Flash) -> TestBoard {
    let board = board(flash, 1).unwrap();
    board.enrol(&Code::parse(&net.world.borrow().code()).unwrap()).unwrap();
    board
}

/// Runs until the handler breaks; the clock ticks when idle.
fn run(board: &TestBoard, net: &Net, mut handler: impl FnMut(Event<'_>) -> ControlFlow<()>) {
    let mut connector = net.clone();
    let limit = net.now.get() + 100_000_000;
    board.run_blocking(
        &mut connector,
        || net.now.get(),
        &mut Memory::new(),
        |event| {
            net.now.set(net.now.get() + 1);
            assert!(net.now.get() < limit, "nothing happens any more");
            handler(event)
        },
    );
}

fn stop_if(condition: bool) -> ControlFlow<()> {
    if condition { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Enrols, reports to a room, obeys; in both clients.
fn converse(habits: Habits, asynchronous: bool) {
    let net = Net::new(3, habits);
    let flash = Flash::new(3);
    let board = enrolled(&net, &flash);
    assert_eq!(board.status().unwrap().enrolment, Enrolment::Pending);
    net.world.borrow_mut().mailbox = vec![b"led on".to_vec(), vec![b'x'; 2000], "grüße".into()];
    let report = board.send(Target::parse("#greenhouse").unwrap(), "23.4 °C").unwrap();
    let (mut heard, mut accepted) = (Vec::new(), Vec::new());
    let mut long = 0;
    let mut handler = |event: Event<'_>| {
        match event {
            Event::Message(message) if message.total == 2000 => {
                assert_eq!(usize::from(message.offset), long);
                assert_eq!(message.text(), None);
                long += message.part.len();
            }
            Event::Message(message) => heard.push(message.text().unwrap().to_owned()),
            Event::Accepted(number) => accepted.push(number),
            Event::Enrolled { owner } => assert_eq!(owner, "alice"),
            Event::Online { .. } | Event::Idle => {}
            other => panic!("{other:?}"),
        }
        let shown = !accepted.is_empty() && heard.len() == 2;
        // The async client acknowledges after the handler's last turn.
        stop_if(shown && (asynchronous || net.world.borrow().acked == 3))
    };
    if asynchronous {
        let (mut connector, mut memory) = (net.clone(), Memory::new());
        embassy_futures::block_on(board.run(&mut connector, &net, &mut memory, handler));
    } else {
        run(&board, &net, &mut handler);
    }
    assert_eq!(heard, ["led on", "grüße"]);
    assert_eq!(long, 2000);
    assert_eq!(accepted, [report]);
    let world = net.world.borrow();
    assert_eq!(world.accepted.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["23.4 °C"]);
    let status = board.status().unwrap();
    assert_eq!((status.enrolment, status.waiting, status.dropped), (Enrolment::Done, 0, 0));
    assert_eq!((status.username.as_str(), status.owner.as_str()), ("greenhouse", "alice"));
}

#[test]
fn blocking_client() {
    converse(SMOOTH, false);
}

#[test]
fn async_client() {
    converse(SMOOTH, true);
}

#[test]
fn one_byte_at_a_time() {
    let slow = Habits { chunk: 1, pause: 3, loss: 0 };
    converse(slow, false);
    converse(slow, true);
}

#[test]
fn odd_pieces_and_pauses() {
    for chunk in [2, 7, 63, 500, 1041] {
        converse(Habits { chunk, pause: 5, loss: 0 }, false);
        converse(Habits { chunk, pause: 5, loss: 0 }, true);
    }
}

#[test]
fn another_server_is_refused() {
    let net = Net::new(3, SMOOTH);
    let code = net.world.borrow().code();
    let wrong = format!("{}#{}", code.split('#').next().unwrap(), "ab".repeat(32));
    let board = board(&Flash::new(1), 1).unwrap();
    board.enrol(&Code::parse(&wrong).unwrap()).unwrap();
    let mut seen = None;
    run(&board, &net, |event| match event {
        Event::Offline { reason, retry_in } => {
            seen = Some((reason, retry_in));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    let (reason, retry_in) = seen.unwrap();
    assert_eq!(reason, Offline::Protocol(Error::Untrusted(Distrust::Root)));
    assert!(retry_in >= 300_000, "a wrong server is not asked again soon");
    assert!(net.world.borrow().claimed.is_none());
}

#[test]
fn a_server_that_does_not_know_the_secret_gets_no_board() {
    let net = Net::new(3, SMOOTH);
    net.world.borrow_mut().impostor = true;
    let board = enrolled(&net, &Flash::new(1));
    let mut reason = None;
    run(&board, &net, |event| match event {
        Event::Offline { reason: why, .. } => {
            reason = Some(why);
            ControlFlow::Break(())
        }
        Event::Idle => ControlFlow::Continue(()),
        other => panic!("{other:?}"),
    });
    assert_eq!(reason, Some(Offline::Owner));
    assert_eq!(board.status().unwrap().enrolment, Enrolment::Pending);
}

#[test]
fn a_revoked_board_is_told() {
    let net = Net::new(3, SMOOTH);
    let board = enrolled(&net, &Flash::new(1));
    let mut reasons = Vec::new();
    run(&board, &net, |event| {
        match event {
            Event::Online { .. } | Event::Enrolled { .. } => {
                let mut world = net.world.borrow_mut();
                world.revoked = true;
                let mut link = net.link.borrow_mut();
                link.as_mut().unwrap().close(CloseReason::Revoked, &mut world, net.now.get());
            }
            Event::Offline { reason, retry_in } => {
                assert!(retry_in >= 300_000);
                reasons.push(reason);
            }
            _ => {}
        }
        stop_if(reasons.len() == 2)
    });
    assert_eq!(reasons, [Offline::Login(AuthCode::Denied); 2]);
}

#[test]
fn a_second_board_can_not_use_the_code() {
    let net = Net::new(3, SMOOTH);
    run(&enrolled(&net, &Flash::new(1)), &net, |event| stop_if(matches!(event, Event::Enrolled { .. })));
    let thief: TestBoard = Board::open(Flash::new(2), StuckRng { same: 0x77, rest: Splitmix(99) }).unwrap();
    thief.enrol(&Code::parse(&net.world.borrow().code()).unwrap()).unwrap();
    let mut refused = false;
    run(&thief, &net, |event| {
        refused |= matches!(event, Event::Offline { reason: Offline::Login(AuthCode::Denied), .. });
        stop_if(refused)
    });
    assert!(refused);
}

#[test]
fn reconnects_ever_more_slowly() {
    let net = Net::new(3, SMOOTH);
    net.reachable.set(false);
    let board = enrolled(&net, &Flash::new(1));
    let mut waits = Vec::new();
    run(&board, &net, |event| {
        if let Event::Offline { reason: Offline::Network, retry_in } = event {
            waits.push(retry_in);
        }
        stop_if(waits.len() == 9)
    });
    for (wait, step) in waits.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
        assert!((step * 500..=step * 1000).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_full_outbox_drops_its_oldest_and_says_so() {
    let net = Net::new(3, SMOOTH);
    let flash = Flash::new(1);
    let board = enrolled(&net, &flash);
    let room = Target::parse("#log").unwrap();
    assert_eq!(board.send(room, ""), Err(BoardError::Length));
    assert_eq!(board.send(room, &"x".repeat(MAX_TEXT + 1)), Err(BoardError::Length));
    for number in 0..OUTBOX + 5 {
        board.send(room, &format!("report {number}")).unwrap();
    }
    drop(board);
    let board = reopen(&flash);
    assert_eq!(board.status().unwrap().dropped, 5);
    let mut accepted = 0;
    run(&board, &net, |event| {
        accepted += usize::from(matches!(event, Event::Accepted(_)));
        stop_if(accepted == OUTBOX)
    });
    let texts: Vec<_> = net.world.borrow().accepted.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(texts, (5..OUTBOX + 5).map(|n| format!("report {n}")).collect::<Vec<_>>());
}

fn reopen(flash: &Flash) -> TestBoard {
    board(flash, 2).unwrap()
}

#[test]
fn a_factory_reset_ends_the_connection_and_forgets() {
    let net = Net::new(3, SMOOTH);
    let flash = Flash::new(1);
    let board = enrolled(&net, &flash);
    let print = board.fingerprint().unwrap();
    let mut idle = 0;
    run(&board, &net, |event| {
        match event {
            Event::Enrolled { .. } => board.factory_reset().unwrap(),
            Event::Idle => idle += 1,
            Event::Offline { reason, .. } => panic!("{reason:?}"),
            _ => {}
        }
        stop_if(idle > 50)
    });
    assert_eq!(board.fingerprint(), None);
    assert_eq!(reopen(&flash).status().unwrap().enrolment, Enrolment::None);
    assert_ne!(print, [0; 32]);
}

/// Power fails at random moments, in every kind of write. Nothing that the board promised is lost, nothing is accepted
/// twice, and with a generator that repeats itself no ephemeral key is used twice.
#[test]
fn power_cuts() {
    let boots = Cell::new(0);
    for seed in 0..40 {
        let net = Net::new(seed, Habits { chunk: 700, pause: 4, loss: 400 });
        let flash = Flash::new(seed);
        let mut dice = Splitmix(seed);
        let promised = RefCell::new(Vec::new());
        let heard = RefCell::new(Vec::new());
        net.world.borrow_mut().mailbox = (0..30).map(|n| format!("order {n}").into_bytes()).collect();
        for boot in 0..12 {
            boots.set(boots.get() + 1);
            let last = boot == 11;
            flash.power_on(if last { None } else { Some(dice.below(40)) });
            // The generator starts over at each boot, but for the ids.
            let Ok(board) = board(&flash, seed * 1000 + boot) else { continue };
            let code = Code::parse(&net.world.borrow().code()).unwrap();
            if let Err(BoardError::Flash(Dark)) = board.enrol(&code) {
                continue;
            }
            let mut turns = 0;
            run(&board, &net, |event| {
                turns += 1;
                match event {
                    Event::Message(message) => heard.borrow_mut().push(message.text().unwrap().to_owned()),
                    Event::Offline { reason: Offline::Flash, .. } => return ControlFlow::Break(()),
                    _ => {}
                }
                let Ok(status) = board.status() else { return ControlFlow::Continue(()) };
                if last {
                    let idle = status.waiting == 0 && net.world.borrow().acked == 30;
                    return stop_if(idle);
                }
                if turns % 5 == 0 && status.waiting < 3 {
                    let text = format!("report {}", promised.borrow().len());
                    match board.send(Target::parse("#room").unwrap(), &text) {
                        Ok(_) => promised.borrow_mut().push(text),
                        // The torn record may still be whole: then it counts as promised.
                        Err(BoardError::Flash(Dark)) => return ControlFlow::Break(()),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                stop_if(turns > 3_000)
            });
        }
        let world = net.world.borrow();
        assert_eq!(world.reused, 0, "seed {seed}: an ephemeral key was used twice");
        for text in promised.borrow().iter() {
            let times = world.accepted.iter().filter(|(_, accepted)| accepted == text).count();
            assert!(times >= 1, "seed {seed}: {text} was lost");
        }
        let ids: std::collections::HashSet<_> = world.accepted.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), world.accepted.len());
        let mut orders = heard.borrow().clone();
        orders.dedup();
        let expected: Vec<_> = (0..30).map(|n| format!("order {n}")).collect();
        assert_eq!(orders, expected, "seed {seed}");
    }
    assert!(boots.get() > 400);
}
