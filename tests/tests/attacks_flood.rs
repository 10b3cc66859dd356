//! Attack 6 in memory: a hundred thousand recorded first messages, and garbage, while honest clients connect.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;

use sordino_core::dh::Group;
use sordino_core::error::{Error, ErrorCode, PeerFault};
use sordino_core::event::{Answer, Event};
use sordino_core::identity::ServedSuite;
use sordino_core::suite::dh_len;
use sordino_tests::both_suites;
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::script::{Act, admit_all};
use sordino_tests::pair::setup::{Seeded, static_key, static_secret};
use sordino_tests::pair::{Machine, Memory, Outcome, Pair, Seen, Setup, lone_server};

const NOW: u64 = 1_000;
/// For each of two suites.
const REPLAYS: usize = 50_000;
const GARBAGE: usize = 10_000;
const FULL: usize = 200;
/// Honest clients among them.
const HONEST: usize = 10;
/// Header and gate.
const BEFORE_E: usize = 8 + 16;

both_suites! {
    attack_06_replays_and_garbage_cost_no_exponentiation
    attack_06_an_admitted_replay_leads_nowhere
}

/// The application's part as servers have it: nobody's ephemeral key begins two handshakes.
#[derive(Default)]
struct Door {
    seen: HashSet<Vec<u8>>,
    asked: Cell<usize>,
    admitted: usize,
}

impl Door {
    fn decide(&mut self, event: &Event<'_>) -> Vec<Act> {
        let Event::Admit { ephemeral, .. } = event else { return Vec::new() };
        self.asked.set(self.asked.get() + 1);
        let new = self.seen.insert(ephemeral.to_vec());
        self.admitted += usize::from(new);
        vec![Act::Answer(if new { Answer::Admit } else { Answer::Busy })]
    }
}

/// How a server of its own ends that hears these bytes and then the end; whether anything was established.
fn hears<S: ServedSuite>(bytes: &[u8], memory: &mut Memory, door: &mut Door) -> (Option<Outcome>, Vec<u8>) {
    let script = Box::new(|event: &Event<'_>| door.decide(event));
    let mut server = lone_server::<S>(memory, &Setup::default(), script);
    server.feed(bytes, NOW);
    if server.outcome.is_none() {
        server.end.rx.end();
        server.settle(NOW);
    }
    assert!(server.log.iter().all(|seen| *seen == Seen::Admit), "{:?}", server.log);
    (server.outcome, server.take(usize::MAX))
}

/// The CPU time of this thread, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// In pages.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).expect("resident pages").parse().expect("a number")
}

fn recorded<S: ServedSuite>() -> [Vec<u8>; 2] {
    let mut memory = Memory::default();
    let pair = Pair::<S>::ready(&mut memory, &Setup::default());
    let up = frames(&pair.up.sent, 2);
    [up[0].to_vec(), up[1].to_vec()]
}

fn an_honest_client_connects<S: ServedSuite>(at: usize) {
    let mut memory = Memory::default();
    let seed = at as u64 * 2;
    Pair::<S>::ready(&mut memory, &Setup { seeds: [seed + 100, seed + 101], ..Setup::default() });
}

/// Bytes as a scanner sends them, or a first message with a byte altered: never let in for what it is.
fn garbage<S: ServedSuite>(first: &[u8], random: &mut Seeded) -> Vec<u8> {
    use sordino_core::entropy::Entropy as _;
    let mut dice = [0; 8];
    random.fill(&mut dice).expect("it never fails");
    let [kind, length @ .., value] = dice;
    let number = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    match kind % 4 {
        0 => {
            let mut bytes = vec![0; number % 1500];
            random.fill(&mut bytes).expect("it never fails");
            bytes
        }
        1 => {
            [&[b'S', b'O', 1, value, S::ID, 0, length[0], length[1]][..], &vec![value; number % 900]].concat()
        }
        2 => first[..number % first.len()].to_vec(),
        _ => {
            let mut altered = first.to_vec();
            // The suite stays: this server is looked at as one of `S`.
            let at = number % (BEFORE_E + dh_len::<S>());
            altered[if at == 4 { 5 } else { at }] ^= value | 1;
            altered
        }
    }
}

/// Red, by time, if anything is computed before the application admits the client; by its assertions if the gate isn't
/// compared (garbage is admitted), if a refused client isn't told, or if a server that was refused goes on.
fn attack_06_replays_and_garbage_cost_no_exponentiation<S: ServedSuite>() {
    let [first, third] = recorded::<S>();
    let (mut memory, mut door) = (Memory::sized(2048, 2048), Door::default());
    let refused = [b'S', b'O', 1, 6, S::ID, 0, 0, 1, ErrorCode::Busy as u8];

    let before = ticks();
    let exponentiations: u64 = 400;
    let mut scratch = vec![0; <S::Group as Group>::MOST_SCRATCH];
    for _ in 0..exponentiations {
        static_secret::<S>().agree(static_key::<S>(), &mut scratch).expect("enough scratch");
    }
    let one = (ticks() - before).max(1) as f64 / exponentiations as f64;

    assert_eq!(
        hears::<S>(&first, &mut memory, &mut door).0,
        Some(Err(Error::Truncated)),
        "the first is admitted"
    );
    let pages = resident();
    let before = ticks();
    for at in 0..REPLAYS {
        let (_, answer) = hears::<S>(&[&first[..], &third].concat(), &mut memory, &mut door);
        assert_eq!(answer, refused, "replay {at}");
    }
    let mut random = Seeded(6);
    for at in 0..GARBAGE {
        let bytes = garbage::<S>(&first, &mut random);
        let (outcome, _) = hears::<S>(&bytes, &mut memory, &mut door);
        assert!(matches!(outcome, Some(Err(_))), "garbage {at} goes on: {outcome:?}: {bytes:02x?}");
    }
    let each = (ticks() - before) as f64 / (REPLAYS + GARBAGE) as f64;
    println!("suite {}: one exponentiation {one:.4} ticks, a replay or garbage {each:.5}", S::ID);
    assert!(each * 3.0 < one, "{each} ticks for each; an exponentiation takes {one}");
    assert_eq!((door.asked.get(), door.admitted), (1 + REPLAYS, 1), "garbage passes no gate");
    assert!(resident() < pages + 4096, "the memory of {pages} pages has grown to {}", resident());
    (0..HONEST).for_each(an_honest_client_connects::<S>);
}

/// Red if nothing of message 2 is fresh: the recorded message 3 then fits, and the thief is in.
fn attack_06_an_admitted_replay_leads_nowhere<S: ServedSuite>() {
    let [first, third] = recorded::<S>();
    let mut memory = Memory::sized(2048, 2048);
    for at in 0..FULL {
        let setup = Setup { seeds: [1, 1000 + at as u64], ..Setup::default() };
        let mut server = lone_server::<S>(&mut memory, &setup, admit_all());
        server.feed(&first, NOW);
        assert!(server.machine.conn().is_handshaking() && !server.take(usize::MAX).is_empty());
        server.feed(&third, NOW);
        assert_eq!(server.outcome, Some(Err(Error::Peer(PeerFault::Handshake))), "replay {at}");
        assert_eq!(server.log, [Seen::Admit]);
        if at % (FULL / HONEST) == 0 {
            an_honest_client_connects::<S>(at);
        }
    }
}
