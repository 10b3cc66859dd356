//! What a server costs: Sordino beside its peers, in the same run.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench server -- [--rounds N] [--seconds S] [ROW …]`, where ROW is
//! a part of a row's name. Prints Markdown.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sordino_benches::accounting;
use sordino_benches::figures::{Table, median, quantile, short};
use sordino_benches::load::{self, Load, Outcome, Pace, Shape};
use sordino_benches::protocol::Goal;
use sordino_benches::servers::{Kind, Server};
use sordino_core::dh::{self, Group};
use sordino_core::suite::{PublicKey, SecretKey, Suite1, Suite2};

/// Connections of one measurement of handshakes.
const HANDSHAKES: usize = 200;
/// Idle connections.
const IDLE: [usize; 3] = [1000, 5000, 10_000];
/// Files of a process besides its connections.
const FILES: usize = 100;
/// A message takes time to come through when the machine is busy; what comes before is not measured.
const WARM: Duration = Duration::from_secs(1);

/// A row whose figure is CPU time of the server for each delivery.
struct Row {
    name: &'static str,
    shape: Shape,
    pace: Pace,
}

const ROWS: [Row; 7] = [
    Row { name: "room of 50, max", shape: Shape::Room(50), pace: Pace::InFlight(16) },
    Row { name: "room of 200, max", shape: Shape::Room(200), pace: Pace::InFlight(16) },
    Row { name: "room of 50, 50,000/s", shape: Shape::Room(50), pace: Pace::Rate(50_000) },
    Row { name: "room of 200, 50,000/s", shape: Shape::Room(200), pace: Pace::Rate(50_000) },
    Row { name: "room of 50, rated", shape: Shape::Room(50), pace: Pace::Rate(1000) },
    Row { name: "50 pairs, max", shape: Shape::Pairs(50), pace: Pace::InFlight(4) },
    Row { name: "50 pairs, rated", shape: Shape::Pairs(50), pace: Pace::Rate(1000) },
];

struct Options {
    rounds: usize,
    time: Duration,
    rows: Vec<String>,
    only: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options =
            Self { rounds: 3, time: Duration::from_secs(4), rows: Vec::new(), only: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                // From cargo.
                "--bench" => {}
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.time = Duration::from_secs_f64(value()?.parse()?),
                "--only" => options.only.push(value()?),
                other if other.starts_with('-') => bail!("{other} is unknown"),
                row => options.rows.push(row.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|part| row.contains(part.as_str()))
    }

    fn runs(&self, kind: Kind) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| kind.title().contains(part.as_str()))
    }
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let files = raise_file_limit()?;
    let mut servers = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| options.runs(*kind)) {
        match Server::start(kind) {
            Ok(server) => servers.push(server),
            Err(error) if kind.is_peer() => println!("{} is left out: {error:#}\n", kind.title()),
            Err(error) => return Err(error),
        }
    }
    handshakes(&options, &mut servers)?;
    for row in ROWS.iter().filter(|row| options.wants(row.name)) {
        loads(&options, row, &mut servers)?;
    }
    idle(&options, files, &mut servers)
}

/// As many files as the system allows to this process and those that it starts.
fn raise_file_limit() -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)))
}

// ---- handshakes ----

/// Milliseconds of CPU that one exponentiation takes on a thread of this process.
fn exponentiation<G: Group>(secret: &dh::SecretKey<G>, peer: &dh::PublicKey<G>) -> f64 {
    const TIMES: u32 = 20;
    let mut scratch = vec![0; G::MOST_SCRATCH];
    let start = accounting::own_thread();
    for _ in 0..TIMES {
        std::hint::black_box(secret.agree(std::hint::black_box(peer), &mut scratch).ok());
    }
    (accounting::own_thread() - start).as_secs_f64() * 1e3 / f64::from(TIMES)
}

/// Exponentiations of both suites, taken in between.
struct Units {
    one: (SecretKey<Suite1>, PublicKey<Suite1>),
    two: (SecretKey<Suite2>, PublicKey<Suite2>),
    figures: [Vec<f64>; 2],
}

impl Units {
    fn new() -> Result<Self> {
        let one = SecretKey::<Suite1>::from_bytes(&[0xa5; 32]).ok().context("an exponent")?;
        let two = SecretKey::<Suite2>::from_bytes(&[0xa5; 40]).ok().context("an exponent")?;
        let (first, second) = (one.public(), two.public());
        Ok(Self { one: (one, first), two: (two, second), figures: Default::default() })
    }

    fn take(&mut self) {
        self.figures[0].push(exponentiation(&self.one.0, &self.one.1));
        self.figures[1].push(exponentiation(&self.two.0, &self.two.1));
    }

    fn of(&self, kind: Kind) -> f64 {
        median(&self.figures[usize::from(kind == Kind::Sordino(2))])
    }
}

fn handshakes(options: &Options, servers: &mut [Server]) -> Result<()> {
    let rows = [("handshake", Goal::Handshake), ("handshake + login", Goal::Login)];
    for (name, goal) in rows.into_iter().filter(|(name, _)| options.wants(name)) {
        let mut units = Units::new()?;
        let mut figures: Vec<[Vec<f64>; 2]> = servers.iter().map(|_| Default::default()).collect();
        for server in servers.iter_mut() {
            server.register(HANDSHAKES)?;
        }
        for _ in 0..options.rounds {
            for (server, figures) in servers.iter().zip(&mut figures) {
                units.take();
                let (start, cpu) = (Instant::now(), accounting::cpu(server.pid())?);
                let crowd = server.crowd(HANDSHAKES, &goal)?;
                let wall = start.elapsed().as_secs_f64();
                drop(crowd);
                std::thread::sleep(Duration::from_millis(300));
                let cpu = (accounting::cpu(server.pid())? - cpu).as_secs_f64();
                figures[0].push(cpu * 1e3 / HANDSHAKES as f64);
                figures[1].push(HANDSHAKES as f64 / wall);
            }
        }
        println!("### {name}\n");
        let best = best(servers, &figures.iter().map(|f| median(&f[0])).collect::<Vec<_>>());
        let mut table =
            Table::new(&["server", "ms CPU", "exponentiations", "ratio to the best peer", "a second here"]);
        for (server, figures) in servers.iter().zip(&figures) {
            let ms = median(&figures[0]);
            let units = if server.kind.is_peer() { "—".into() } else { short(ms / units.of(server.kind)) };
            let title = server.kind.title().to_owned();
            table.row(vec![title, short(ms), units, short(ms / best), short(median(&figures[1]))]);
        }
        table.print();
        println!(
            "One exponentiation in the same run: {} ms (suite 1), {} ms (suite 2).\n",
            short(units.of(Kind::Sordino(1))),
            short(units.of(Kind::Sordino(2)))
        );
    }
    Ok(())
}

/// The least figure of a peer; NaN without one.
fn best(servers: &[Server], figures: &[f64]) -> f64 {
    let peers = servers.iter().zip(figures).filter(|(server, _)| server.kind.is_peer());
    peers.map(|(_, figure)| *figure).fold(f64::NAN, f64::min)
}

// ---- loads ----

fn loads(options: &Options, row: &Row, servers: &mut [Server]) -> Result<()> {
    let clients = row.shape.clients();
    let room = format!("room{clients}");
    let goal = match row.shape {
        Shape::Room(_) => Goal::Room(room.clone()),
        Shape::Pairs(_) => Goal::Direct,
    };
    let mut outcomes: Vec<Vec<Outcome>> = servers.iter().map(|_| Vec::new()).collect();
    for server in servers.iter_mut() {
        server.register(clients)?;
    }
    for _ in 0..options.rounds {
        for (server, outcomes) in servers.iter().zip(&mut outcomes) {
            let mut crowd = server.crowd(clients, &goal)?;
            let load = Load {
                shape: row.shape,
                pace: row.pace,
                room: &room,
                echo: server.kind.echoes(),
                warm: WARM,
                time: options.time,
            };
            let outcome = load::run(load, &mut crowd, server.pid());
            outcomes.push(outcome.with_context(|| format!("{} with {}", row.name, server.kind.title()))?);
        }
    }
    print_loads(row, servers, &outcomes);
    Ok(())
}

fn print_loads(row: &Row, servers: &[Server], outcomes: &[Vec<Outcome>]) {
    let of = |outcomes: &[Outcome], figure: &dyn Fn(&Outcome) -> f64| {
        median(&outcomes.iter().map(figure).collect::<Vec<_>>())
    };
    let costs: Vec<f64> = outcomes.iter().map(|outcomes| of(outcomes, &Outcome::cost)).collect();
    let best = best(servers, &costs);
    println!("### {}\n", row.name);
    let headings =
        ["server", "µs CPU/delivery", "min–max", "ratio to the best peer", "deliveries/s", "p50/p99 µs"];
    let mut table = Table::new(&headings);
    for ((server, outcomes), cost) in servers.iter().zip(outcomes).zip(&costs) {
        let spread: Vec<f64> = outcomes.iter().map(Outcome::cost).collect();
        let rate = of(outcomes, &|o| o.deliveries as f64 / o.elapsed.as_secs_f64());
        let [p50, p99] = [0.5, 0.99].map(|share| of(outcomes, &|o| quantile(&o.latencies, share)));
        table.row(vec![
            server.kind.title().to_owned(),
            short(*cost),
            format!("{}–{}", short(quantile(&spread, 0.0)), short(quantile(&spread, 1.0))),
            short(cost / best),
            short(rate),
            format!("{}/{}", short(p50), short(p99)),
        ]);
    }
    table.print();
}

// ---- idle ----

fn idle(options: &Options, files: usize, servers: &mut [Server]) -> Result<()> {
    let fits = |size: &usize| size + FILES <= files && options.wants(&format!("idle {},000", size / 1000));
    let sizes: Vec<usize> = IDLE.into_iter().filter(fits).collect();
    if sizes.is_empty() {
        return Ok(());
    }
    println!("### idle connections, logged in\n");
    let headings = ["server", "connections", "base RSS, MiB", "KiB RSS/connection", "logins/s here"];
    let mut table = Table::new(&headings);
    // Memory doesn't depend on where the database is.
    for server in servers.iter_mut().filter(|server| server.kind != Kind::Memory) {
        for size in &sizes {
            let title = server.kind.title();
            match idle_at(server, *size) {
                Ok(figures) => {
                    let figures = figures.map(short);
                    table.row([title.to_owned(), size.to_string()].into_iter().chain(figures).collect());
                }
                Err(error) if server.kind.is_peer() => println!("{title} at {size} is left out: {error:#}\n"),
                Err(error) => return Err(error),
            }
        }
    }
    table.print();
    Ok(())
}

/// MiB without connections, KiB for each, logins a second.
fn idle_at(server: &mut Server, size: usize) -> Result<[f64; 3]> {
    server.register(size)?;
    server.restart()?;
    let base = accounting::resident(server.pid())? as f64;
    let start = Instant::now();
    let crowd = server.crowd(size, &Goal::Direct)?;
    let rate = size as f64 / start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(1));
    let each = (accounting::resident(server.pid())? as f64 - base) / size as f64;
    drop(crowd);
    Ok([base / 1024.0, each, rate])
}
