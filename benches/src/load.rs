//! Messages at a load: at most so many in flight, or so many deliveries a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::accounting;
use crate::crowd::{Crowd, PATIENCE};
use crate::protocol::{Whom, body};
use crate::servers::name;

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many members of one room; everybody talks in turn.
    Room(usize),
    /// So many pairs; the even one of each talks to the odd one.
    Pairs(usize),
}

impl Shape {
    /// How many clients it takes.
    #[must_use]
    pub const fn clients(self) -> usize {
        match self {
            Self::Room(members) => members,
            Self::Pairs(pairs) => 2 * pairs,
        }
    }

    const fn lanes(self) -> usize {
        match self {
            Self::Room(_) => 1,
            Self::Pairs(pairs) => pairs,
        }
    }
}

/// How much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Closed loop: so many messages of the room, or of each pair, are on their way.
    InFlight(usize),
    /// Open loop: so many deliveries a second.
    Rate(u32),
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Who talks to whom.
    pub shape: Shape,
    /// How much at once.
    pub pace: Pace,
    /// The room of [`Shape::Room`].
    pub room: &'a str,
    /// Whether a sender receives its own messages too.
    pub echo: bool,
    /// Before measuring.
    pub warm: Duration,
    /// While measuring.
    pub time: Duration,
}

/// What a load has cost.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Copies that receivers got.
    pub deliveries: u64,
    /// CPU time of the server.
    pub cpu: Duration,
    /// How long it took.
    pub elapsed: Duration,
    /// From sending to hearing, in microseconds.
    pub latencies: Vec<f64>,
}

impl Outcome {
    /// Server CPU of a delivery, in microseconds.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

struct Flight {
    sent: Instant,
    left: usize,
    lane: usize,
}

/// A load under way.
struct Run<'a> {
    load: Load<'a>,
    crowd: &'a mut Crowd,
    flights: HashMap<u64, Flight>,
    next: u64,
    deliveries: u64,
    latencies: Option<Vec<f64>>,
}

/// Carries a load through a crowd that is ready, against the server of a process id.
///
/// # Errors
/// A connection ended, or messages are lost.
pub fn run(load: Load<'_>, crowd: &mut Crowd, pid: u32) -> Result<Outcome> {
    let mut run = Run { load, crowd, flights: HashMap::new(), next: 0, deliveries: 0, latencies: None };
    if let Pace::InFlight(most) = load.pace {
        (0..most * load.shape.lanes()).try_for_each(|at| run.send(at % load.shape.lanes()))?;
    }
    let due = run.go_on(Instant::now(), load.warm)?;
    run.latencies = Some(Vec::new());
    let (start, before, cpu) = (Instant::now(), run.deliveries, accounting::cpu(pid)?);
    run.go_on(due, load.time)?;
    let outcome = Outcome {
        deliveries: run.deliveries - before,
        cpu: accounting::cpu(pid)? - cpu,
        elapsed: start.elapsed(),
        latencies: run.latencies.take().unwrap_or_default(),
    };
    run.drain()?;
    Ok(outcome)
}

impl Run<'_> {
    fn send(&mut self, lane: usize) -> Result<()> {
        let number = self.next;
        self.next += 1;
        let others = |members: usize| members - usize::from(!self.load.echo);
        let (sender, left) = match self.load.shape {
            Shape::Room(members) => (number as usize % members, others(members)),
            Shape::Pairs(_) => (2 * lane, 1),
        };
        self.flights.insert(number, Flight { sent: Instant::now(), left, lane });
        match self.load.shape {
            Shape::Room(_) => self.crowd.say(sender, Whom::Room(self.load.room), &body(number)),
            Shape::Pairs(_) => self.crowd.say(sender, Whom::User(&name(2 * lane + 1)), &body(number)),
        }
    }

    /// Keeps the load up for a time; when the next message of an open loop is due.
    fn go_on(&mut self, mut due: Instant, time: Duration) -> Result<Instant> {
        let end = Instant::now() + time;
        let interval = match self.load.pace {
            Pace::InFlight(_) => None,
            Pace::Rate(rate) => Some(Duration::from_secs_f64(self.fan_out() / f64::from(rate))),
        };
        while Instant::now() < end {
            let mut wait = end.saturating_duration_since(Instant::now());
            if let Some(interval) = interval {
                while due <= Instant::now() {
                    self.send(self.next as usize % self.load.shape.lanes())?;
                    due += interval;
                }
                wait = wait.min(due.saturating_duration_since(Instant::now()));
            }
            self.turn(wait, true)?;
        }
        Ok(due)
    }

    fn fan_out(&self) -> f64 {
        match self.load.shape {
            Shape::Room(members) => (members - 1) as f64,
            Shape::Pairs(_) => 1.0,
        }
    }

    fn turn(&mut self, wait: Duration, again: bool) -> Result<()> {
        let heard = self.crowd.turn(wait)?.to_vec();
        let now = Instant::now();
        for (_, number) in heard {
            let Some(flight) = self.flights.get_mut(&number) else { continue };
            flight.left -= 1;
            self.deliveries += 1;
            if let Some(latencies) = &mut self.latencies {
                latencies.push((now - flight.sent).as_secs_f64() * 1e6);
            }
            if flight.left == 0 {
                let lane = flight.lane;
                self.flights.remove(&number);
                if again && matches!(self.load.pace, Pace::InFlight(_)) {
                    self.send(lane)?;
                }
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let late = Instant::now() + PATIENCE;
        while !self.flights.is_empty() {
            ensure!(Instant::now() < late, "{} messages were lost", self.flights.len());
            self.turn(Duration::from_millis(100), false)?;
        }
        Ok(())
    }
}
