//! What one address may do with the default limits, and that no stranger locks a known device out.

use std::{
    thread,
    time::{Duration, Instant},
};

use sordino_core::{Suite, Suite1, Suite2};
use sordino_tests::e2e::{
    Host, PASSWORD, PATIENCE,
    probe::{Device, Ended, Memory, Probe},
};

use crate::PROGRAMS;

/// So many connections at the same time: how many were made, how many were refused because of a limit.
fn connect_at_once<S: Suite>(host: &Host, count: usize) -> (usize, usize) {
    let device = Device::<S>::new();
    let outcomes: Vec<Result<(), Ended>> = thread::scope(|scope| {
        let connect = |_| {
            let device = device.clone();
            scope.spawn(move || Probe::connect(&mut Memory::new(), host, device).map(|_| ()))
        };
        let threads: Vec<_> = (0..count).map(connect).collect();
        threads.into_iter().map(|t| t.join().expect("a connection doesn't panic")).collect()
    });
    let made = outcomes.iter().filter(|o| o.is_ok()).count();
    let refused = outcomes.iter().filter(|o| o.is_err_and(|e| e.is_limit())).count();
    assert_eq!(made + refused, count, "{outcomes:?}");
    (made, refused)
}

#[test]
fn twenty_new_connections_a_second_are_admitted_and_a_flood_is_not() {
    let host = Host::start(PROGRAMS);
    assert_eq!(connect_at_once::<Suite1>(&host, 20), (20, 0));
    thread::sleep(Duration::from_millis(1_100));
    assert_eq!(connect_at_once::<Suite2>(&host, 20), (20, 0));
    let (_, refused) = connect_at_once::<Suite1>(&host, 200);
    assert!(refused > 50, "only {refused} of 200 were refused");
    thread::sleep(Duration::from_millis(1_100));
    host.member("alice").send("@alice", "the server is well");
}

#[test]
fn thirty_registrations_a_minute_are_admitted_and_then_exit_5() {
    let host = Host::start(PROGRAMS);
    for at in 0..30 {
        host.member(&format!("user{at}"));
    }
    // One place comes back every two seconds, so that a slow machine needs more attempts.
    let client = host.client("another");
    let codes = (30..90).map(|at| client.enter("register", &format!("user{at}"), PASSWORD).code);
    let first = codes.into_iter().find(|code| *code != Some(0));
    assert_eq!(first, Some(Some(5)));
}

#[test]
fn a_stranger_who_guesses_is_slowed_and_a_known_device_is_not_locked_out() {
    let host =
        Host::start_with(PROGRAMS, "[limits]\nlogin_failures_account = 3\nlogin_failures_address = 5\n");
    let alice = host.member("alice");
    let stranger = host.client("stranger");
    let guesses: Vec<_> =
        (0..8).map(|at| stranger.enter("login", "alice", &format!("guess {at}")).code).collect();
    assert_eq!(guesses[..3], [Some(6); 3], "{guesses:?}");
    assert!(guesses[3..].contains(&Some(5)), "{guesses:?}");
    let unknown: Vec<_> = (0..8).map(|_| stranger.enter("login", "nobody", "guess").code).collect();
    assert!(unknown.contains(&Some(5)), "unknown users count for the address: {unknown:?}");
    alice.send("@alice", "my device key still works");
    alice.log_in("alice");
    let locked = host.client("new").enter("login", "alice", PASSWORD).code;
    assert_eq!(locked, Some(5), "a new device waits like the stranger");
}

#[test]
fn idle_connections_are_counted_until_they_end() {
    let host = Host::start_with(PROGRAMS, "[limits]\nconnections_per_address = 3\n");
    let device = Device::<Suite1>::new();
    let mut memories = [Memory::new(), Memory::new(), Memory::new()];
    let idle = memories
        .each_mut()
        .map(|memory| Probe::connect(memory, &host, device.clone()).expect("a connection"));
    let again = || Probe::connect(&mut Memory::new(), &host, device.clone()).map(|_| ());
    let refused = again();
    assert!(refused.is_err_and(|e| e.is_limit()), "{refused:?}");
    drop(idle);
    let freed = Instant::now();
    while again().is_err() {
        assert!(freed.elapsed() < PATIENCE, "connections that have ended still count");
        thread::sleep(Duration::from_millis(100));
    }
}
