//! Every acknowledged message arrives exactly once on its reader's screen, whatever happens to the server.

use std::{
    thread,
    time::{Duration, Instant},
};

use sordino_tests::e2e::{
    Host,
    crowd::{Crowd, Plan, Tally},
    host::WIDE_LIMITS,
};

use crate::PROGRAMS;

struct Ordeal {
    plan: Plan,
    kills: u32,
    /// Shortest and longest time from a start to the next kill.
    between: (Duration, Duration),
    /// For everything to arrive in the end.
    patience: Duration,
}

/// A moment that no test can be tuned to.
fn random_between((least, most): (Duration, Duration)) -> Duration {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("random bytes");
    least + (most - least).mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}

impl Ordeal {
    fn run(&self) -> Tally {
        let mut host = Host::start_with(PROGRAMS, WIDE_LIMITS);
        let start = Instant::now();
        let crowd = Crowd::gather(&host, self.plan);
        println!("{} clients entered in {:.1} s", self.plan.clients, start.elapsed().as_secs_f64());
        let (mut before, mut at_work) = (0, 0);
        for kill in 1..=self.kills {
            thread::sleep(random_between(self.between));
            host.kill();
            let accepted = crowd.accepted();
            let down = Instant::now();
            host.up();
            let back = down.elapsed().as_millis();
            println!("kill {kill}: {accepted} messages acknowledged so far; ready again after {back} ms");
            at_work += u32::from(accepted > before);
            before = accepted;
        }
        assert!(2 * at_work >= self.kills, "of {} kills only {at_work} met a server at work", self.kills);
        thread::sleep(random_between(self.between));
        let tally = crowd.settle(self.patience);
        let took = start.elapsed().as_secs_f64();
        let (clients, kills) = (self.plan.clients, self.kills);
        println!("{clients} clients, {kills} kills, {at_work} of them at work, {took:.1} s\n{tally}");
        host.terminate().exits(0);
        tally
    }
}

fn nothing_is_lost(tally: &Tally, ordeal: &Ordeal) {
    assert!(tally.accepted >= ordeal.plan.clients, "too little was said: {tally:?}");
    assert!(tally.reconnects >= ordeal.plan.clients, "the kills were not noticed: {tally:?}");
    let wrong = (tally.lost, tally.repeated, tally.strange, tally.refused);
    assert_eq!(wrong, (0, 0, 0, 0), "lost, repeated, strange, refused: {tally:#?}");
    assert_eq!(tally.shown, tally.owed);
}

#[test]
fn forty_clients_and_three_kills_lose_nothing() {
    let ordeal = Ordeal {
        plan: Plan { clients: 40, room: 8, pace: Duration::from_millis(100) },
        kills: 3,
        between: (Duration::from_millis(700), Duration::from_millis(2_500)),
        patience: Duration::from_secs(40),
    };
    nothing_is_lost(&ordeal.run(), &ordeal);
}

/// `cargo test --release -p sordino-tests --test e2e two_hundred -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; forty clients and three kills run each time"]
fn two_hundred_clients_and_twelve_kills_lose_nothing() {
    let ordeal = Ordeal {
        plan: Plan { clients: 200, room: 10, pace: Duration::from_millis(250) },
        kills: 12,
        between: (Duration::from_secs(2), Duration::from_secs(9)),
        patience: Duration::from_secs(120),
    };
    nothing_is_lost(&ordeal.run(), &ordeal);
}

/// A quarter of an hour; another number of kills is given by `SORDINO_TEST_KILLS`.
///
/// `cargo test --release -p sordino-tests --test e2e thousand_kills -- --ignored --nocapture`
#[test]
#[ignore = "takes a quarter of an hour; forty clients and three kills run each time"]
fn a_thousand_kills_under_load_lose_nothing() {
    let kills = std::env::var("SORDINO_TEST_KILLS");
    let ordeal = Ordeal {
        plan: Plan { clients: 32, room: 8, pace: Duration::from_millis(100) },
        kills: kills.map_or(1_000, |kills| kills.parse().expect("SORDINO_TEST_KILLS is a number")),
        between: (Duration::from_millis(300), Duration::from_millis(1_500)),
        patience: Duration::from_secs(300),
    };
    nothing_is_lost(&ordeal.run(), &ordeal);
}
