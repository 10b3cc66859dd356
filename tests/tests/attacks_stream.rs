//! Attack 11: the stream ends wherever it may.

use sordino_core::Error;
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::messages::CloseReason;
use sordino_tests::both_suites;
use sordino_tests::pair::script::{admit_all, log_in, talkative_client, talkative_server};
use sordino_tests::pair::{
    Lane, Machine, Memory, Outcome, Pair, Party, Recording, Script, Seen, Setup, lone_client, lone_server,
};

const NOW: u64 = 1_000;

both_suites! {
    attack_11_end_of_stream_at_every_byte
    attack_11_both_ends_come_to_an_end
    attack_11_end_behind_a_close
}

/// Ends the stream before each of its bytes, for a party that has received all bytes before that one.
fn end_everywhere<M: Machine>(
    mut party: Party<'_, M>,
    stream: &[u8],
    script: fn() -> Script<'static>,
    expected: (Vec<Seen>, Option<Outcome>),
) {
    let mut memory = Memory::default();
    party.settle(NOW);
    for (at, byte) in stream.iter().enumerate() {
        party.take(usize::MAX);
        let mut cut = party.fork(&mut memory, script());
        cut.end.rx.end();
        cut.settle(NOW);
        assert_eq!(cut.outcome, Some(Err(Error::Truncated)), "{at} bytes of {}", stream.len());
        assert!(cut.log.is_empty() && cut.end.tx.is_empty(), "{at} bytes: nothing is made of a part");
        assert_eq!(cut.machine.step(&mut cut.end, NOW), Err(Error::Truncated), "{at} bytes: the end stays");
        party.feed(std::slice::from_ref(byte), NOW);
    }
    assert_eq!((party.log, party.outcome), expected, "the whole stream");
}

/// Red if `need_input` asks for more after the end of the stream: the connection then waits for ever. Red if the
/// end of a stream between two records counts as a goodbye.
fn attack_11_end_of_stream_at_every_byte<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    let setup = Recording::setup();
    let mut memory = Memory::default();
    let server = lone_server::<S>(&mut memory, &setup, talkative_server());
    end_everywhere(server, &whole.up, || talkative_server(), whole.server);
    let mut memory = Memory::default();
    let client = lone_client::<S>(&mut memory, &setup, talkative_client());
    end_everywhere(client, &whole.down, || talkative_client(), whole.client);
}

/// Red, by a failed assertion or by not ending at all, if one end waits for ever when the wire is cut.
fn attack_11_both_ends_come_to_an_end<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    for upwards in [true, false] {
        let length = if upwards { whole.up.len() } else { whole.down.len() };
        for cut in (0..length).step_by(151) {
            let mut memory = Memory::default();
            let scripts = [talkative_client(), talkative_server()];
            let mut pair = Pair::<S>::new(&mut memory, &Recording::setup(), scripts);
            let lane: &mut Lane = if upwards { &mut pair.up } else { &mut pair.down };
            lane.cut = Some(cut);
            pair.run();
            let cut_end = if upwards { pair.server.outcome } else { pair.client.outcome };
            assert_eq!(cut_end, Some(Err(Error::Truncated)), "cut at {cut}, upwards: {upwards}");
            let ends = [pair.client.outcome, pair.server.outcome];
            assert!(ends.iter().all(Option::is_some), "cut at {cut}, upwards: {upwards}: {ends:?}");
        }
    }
}

/// Red if bytes, or the end, behind a CLOSE change how the connection has ended.
fn attack_11_end_behind_a_close<S: ServedSuite>() {
    for behind in [&b""[..], b"x", &[0xff; 500]] {
        let mut memory = Memory::default();
        let mut pair = Pair::<S>::new(&mut memory, &Setup::default(), [log_in(), admit_all()]);
        pair.run();
        let now = pair.now;
        let (client, server) = (&mut pair.client, &mut pair.server);
        client.end.with(now, |_, io| client.machine.conn().close(CloseReason::Bye, io));
        server.give(&client.take(usize::MAX));
        server.feed(behind, now);
        server.end.rx.end();
        for _ in 0..3 {
            let step = server.machine.step(&mut server.end, now);
            let closed = sordino_core::Step::Closed(Closed::ByPeer(CloseReason::Bye));
            assert_eq!(step, Ok(Some(closed)));
        }
        assert!(server.end.tx.is_empty(), "a CLOSE is not answered");
    }
}
