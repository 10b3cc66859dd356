//! The client driver over a scripted stream: short reads and writes, pauses, errors, dropped futures. No executor: the
//! test polls, and moves the virtual clock when nothing else moves.

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use sordino_core::config::{MAX_LIFETIME, Timeouts};
use sordino_core::drive::{Clock, Drive, DriveError, Link, Next};
use sordino_core::error::{Deadline, Error, ErrorCode, SendError};
use sordino_core::event::Closed;
use sordino_core::identity::ServedSuite;
use sordino_core::identity::{Trust, server_fingerprint};
use sordino_core::messages::{CloseReason, Message, Ping};
use sordino_tests::both_suites;
use sordino_tests::pair::forge::framed;
use sordino_tests::pair::lane::frames;
use sordino_tests::pair::party::ServerSide;
use sordino_tests::pair::script::{Act, PASSWORD_AUTH, admit_all, send, talkative_client, talkative_server};
use sordino_tests::pair::setup::Seeded;
use sordino_tests::pair::{Memory, Party, Recording, Script, Seen, Setup, identity, lone_server};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const START: u64 = 1_000;

both_suites! {
    whole_conversation_in_any_pieces
    dropped_futures_lose_nothing
    stream_errors
    refusal_is_heard_although_writing_fails
    room_comes_back
    goodbye_is_limited
    silence_is_noticed
    busy_stream_does_not_put_off_deadlines
}

/// How the stream behaves.
#[derive(Clone, Copy)]
struct Manner {
    /// Bytes that a read or a write takes at most.
    piece: usize,
    /// Polls that find nothing ready before one that does.
    pauses: usize,
    /// The writer keeps bytes until it is flushed.
    buffers: bool,
}

const SMOOTH: Manner = Manner { piece: usize::MAX, pauses: 0, buffers: false };

/// What the stream does in the place of reading or writing.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Fails.
    Error,
    /// The other side has ended its direction, or takes no more.
    End,
    /// Never becomes ready.
    Stuck,
}

/// A stream to a real server, in one thread.
struct World<'m, S: ServedSuite> {
    now: Cell<u64>,
    manner: Manner,
    /// Polls of reading, writing and flushing.
    polls: [Cell<usize>; 3],
    reading: Cell<Fault>,
    writing: Cell<Fault>,
    server: RefCell<Party<'m, ServerSide<S>>>,
    buffered: RefCell<Vec<u8>>,
    arriving: RefCell<VecDeque<u8>>,
    /// Everything that was written and flushed.
    written: RefCell<Vec<u8>>,
    /// There is always something to read: a PING, and a minute has passed.
    busy: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Broken;

impl embedded_io_async::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl<'m, S: ServedSuite> World<'m, S> {
    fn new(memory: &'m mut Memory, setup: &Setup, script: Script<'m>, manner: Manner) -> Self {
        Self {
            now: Cell::new(START),
            manner,
            polls: [const { Cell::new(0) }; 3],
            reading: Cell::new(Fault::None),
            writing: Cell::new(Fault::None),
            server: RefCell::new(lone_server(memory, setup, script)),
            buffered: RefCell::default(),
            arriving: RefCell::default(),
            written: RefCell::default(),
            busy: Cell::new(false),
        }
    }

    /// Whether this poll of reading (0), writing (1) or flushing (2) is a pause.
    fn pauses(&self, operation: usize) -> bool {
        let polls = self.polls[operation].get();
        self.polls[operation].set(polls + 1);
        polls % (self.manner.pauses + 1) != self.manner.pauses
    }

    fn reach_server(&self, bytes: &[u8]) {
        self.written.borrow_mut().extend(bytes);
        let mut server = self.server.borrow_mut();
        server.feed(bytes, self.now.get());
        self.arriving.borrow_mut().extend(server.take(usize::MAX));
    }

    fn link<'b>(&'b self, rx: &'b mut [u8], tx: &'b mut [u8]) -> TestLink<'b, 'm, S> {
        Link::new(Stream(self), Stream(self), rx, tx, TestClock(self), Seeded(Setup::default().seeds[0]))
    }

    fn moved(&self) -> [usize; 3] {
        [self.written.borrow().len(), self.buffered.borrow().len(), self.arriving.borrow().len()]
    }

    /// Polls to the end; the clock moves to the next deadline when nothing else does.
    fn run<F: Future>(&self, future: F) -> F::Output {
        self.run_for(future, 1_000_000).expect("the future neither ends nor waits for a deadline")
    }

    /// Polls at most so many times.
    fn run_for<F: Future>(&self, future: F, most: usize) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        let mut quiet = 0;
        for _ in 0..most {
            let before = self.moved();
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            // Some polls may only be pauses.
            quiet = if self.moved() == before { quiet + 1 } else { 0 };
            if quiet > 4 * (self.manner.pauses + 1) {
                self.now.set(self.now.get() + 500);
            }
        }
        None
    }
}

type TestLink<'b, 'm, S> = Link<'b, Stream<'b, 'm, S>, Stream<'b, 'm, S>, TestClock<'b, 'm, S>, Seeded>;
type TestDrive<'b, 'm, S> = Drive<'b, S, Stream<'b, 'm, S>, Stream<'b, 'm, S>, TestClock<'b, 'm, S>, Seeded>;

struct Stream<'b, 'm, S: ServedSuite>(&'b World<'m, S>);
struct TestClock<'b, 'm, S: ServedSuite>(&'b World<'m, S>);

impl<S: ServedSuite> Clock for TestClock<'_, '_, S> {
    fn now(&self) -> u64 {
        self.0.now.get()
    }

    async fn sleep_until(&self, at: u64) {
        poll_fn(|_| if self.0.now.get() >= at { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl<S: ServedSuite> ErrorType for Stream<'_, '_, S> {
    type Error = Broken;
}

impl<S: ServedSuite> Read for Stream<'_, '_, S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        let world = self.0;
        poll_fn(|_| {
            if world.pauses(0) || world.reading.get() == Fault::Stuck {
                return Poll::Pending;
            }
            if world.busy.get() && world.arriving.borrow().is_empty() {
                world.now.set(world.now.get() + 60_000);
                assert!(world.now.get() < 2 * u64::from(MAX_LIFETIME), "it goes on beyond every deadline");
                let mut server = world.server.borrow_mut();
                server.act(Act::Send(Message::Ping(Ping { token: 1 })), START);
                world.arriving.borrow_mut().extend(server.take(usize::MAX));
            }
            let mut arriving = world.arriving.borrow_mut();
            let len = arriving.len().min(buf.len()).min(world.manner.piece);
            match world.reading.get() {
                _ if len > 0 => {}
                Fault::Error => return Poll::Ready(Err(Broken)),
                Fault::End => return Poll::Ready(Ok(0)),
                _ => return Poll::Pending,
            }
            buf[..len].iter_mut().zip(arriving.drain(..len)).for_each(|(to, from)| *to = from);
            Poll::Ready(Ok(len))
        })
        .await
    }
}

impl<S: ServedSuite> Write for Stream<'_, '_, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        let world = self.0;
        poll_fn(|_| {
            if world.pauses(1) {
                return Poll::Pending;
            }
            match world.writing.get() {
                Fault::None => {}
                Fault::Error => return Poll::Ready(Err(Broken)),
                Fault::End => return Poll::Ready(Ok(0)),
                Fault::Stuck => return Poll::Pending,
            }
            let taken = &buf[..buf.len().min(world.manner.piece)];
            if world.manner.buffers {
                world.buffered.borrow_mut().extend(taken);
            } else {
                world.reach_server(taken);
            }
            Poll::Ready(Ok(taken.len()))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        let world = self.0;
        poll_fn(|_| if world.pauses(2) { Poll::Pending } else { Poll::Ready(()) }).await;
        let bytes = world.buffered.take();
        if !bytes.is_empty() {
            world.reach_server(&bytes);
        }
        Ok(())
    }
}

fn buffers() -> [Vec<u8>; 2] {
    [vec![0; 2048], vec![0; 2048]]
}

/// Carries out what a script decides, and tells what it saw.
async fn converse<S: ServedSuite>(
    drive: &mut TestDrive<'_, '_, S>,
    script: &mut Script<'_>,
) -> (Vec<Seen>, Result<Closed, DriveError<Broken>>) {
    let mut log = Vec::new();
    loop {
        let id = match drive.next().await {
            Ok(Next::Event(id)) => id,
            Ok(Next::Room) => continue,
            Ok(Next::Closed(closed)) => return (log, Ok(closed)),
            Err(error) => return (log, Err(error)),
        };
        let event = drive.event(id).unwrap();
        log.push(Seen::of(&event));
        for act in script(&event) {
            match act {
                Act::Send(message) => drive.send(&message).unwrap(),
                Act::Close(reason) => {
                    drive.close(reason).await;
                    return (log, Ok(Closed::Here(reason)));
                }
                Act::Answer(_) => unreachable!(),
            }
        }
    }
}

/// A driver behind a key request, as in [`Recording`].
async fn connected<'b, 'm, S: ServedSuite>(
    mut link: TestLink<'b, 'm, S>,
) -> Result<TestDrive<'b, 'm, S>, DriveError<Broken>> {
    let trust = Trust::Fingerprint(server_fingerprint(identity().root()), 0);
    let (_, key) = link.fetch_key::<S>(trust, 10_000).await?;
    Ok(link.connect(Setup::default().client(key), Timeouts::CLIENT)?)
}

/// Red if bytes are lost or doubled between two polls, or if the driver waits without having flushed.
fn whole_conversation_in_any_pieces<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    for piece in [1, 2, 7, 64, 500, usize::MAX] {
        for (pauses, buffers_writes) in [(0, false), (1, false), (0, true), (3, true)] {
            let (mut memory, [mut rx, mut tx]) = (Memory::default(), buffers());
            let manner = Manner { piece, pauses, buffers: buffers_writes };
            let world = World::<S>::new(&mut memory, &Recording::setup(), talkative_server(), manner);
            let (log, end) = world.run(async {
                let mut drive = connected(world.link(&mut rx, &mut tx)).await.unwrap();
                converse(&mut drive, &mut talkative_client()).await
            });
            assert_eq!(log, whole.client.0[1..], "pieces of {piece}");
            assert_eq!(end, Ok(Closed::Here(CloseReason::Bye)));
            assert!(*world.written.borrow() == whole.up, "pieces of {piece}: other bytes");
            let server = world.server.borrow();
            assert_eq!((&server.log, server.outcome), (&whole.server.0, whole.server.1));
            assert_eq!(world.now.get(), START, "without waiting for a deadline");
        }
    }
}

/// Red if a dropped `next` takes bytes with it.
fn dropped_futures_lose_nothing<S: ServedSuite>() {
    let whole = Recording::of_suite::<S>();
    for polls in 1..4 {
        let (mut memory, [mut rx, mut tx]) = (Memory::default(), buffers());
        let manner = Manner { piece: 5, pauses: 1, buffers: false };
        let world = World::<S>::new(&mut memory, &Recording::setup(), talkative_server(), manner);
        let mut drive = world.run(connected(world.link(&mut rx, &mut tx))).unwrap();
        let (mut script, mut log, mut dropped) = (talkative_client(), Vec::new(), 0);
        let end = 'conversation: loop {
            let Some(next) = world.run_for(drive.next(), polls) else {
                dropped += 1;
                assert!(dropped < 100_000, "something was lost");
                continue;
            };
            let Next::Event(id) = next.unwrap() else { panic!("it goes on") };
            let event = drive.event(id).unwrap();
            log.push(Seen::of(&event));
            for act in script(&event) {
                match act {
                    Act::Send(message) => drive.send(&message).unwrap(),
                    Act::Close(reason) => break 'conversation reason,
                    Act::Answer(_) => unreachable!(),
                }
            }
        };
        world.run(drive.close(end));
        assert_eq!(log, whole.client.0[1..]);
        assert!(*world.written.borrow() == whole.up, "after {polls} polls");
    }
}

/// Red if an error of the stream is taken for the peer's, or the other way round.
fn stream_errors<S: ServedSuite>() {
    let cases = [
        (Fault::Error, Fault::None, DriveError::Stream(Broken)),
        (Fault::End, Fault::None, DriveError::Protocol(Error::Truncated)),
        (Fault::None, Fault::End, DriveError::Protocol(Error::Truncated)),
        (Fault::Error, Fault::Error, DriveError::Stream(Broken)),
        (Fault::End, Fault::Error, DriveError::Stream(Broken)),
    ];
    for (reading, writing, expected) in cases {
        for logged_in in [false, true] {
            let (mut memory, [mut rx, mut tx]) = (Memory::default(), buffers());
            let world = World::<S>::new(&mut memory, &Recording::setup(), admit_all(), SMOOTH);
            let link = world.link(&mut rx, &mut tx);
            if !logged_in {
                world.reading.set(reading);
                // A request that arrived would be answered.
                world.writing.set(if writing == Fault::None { Fault::Stuck } else { writing });
                assert_eq!(world.run(connected(link)).err(), Some(expected));
                continue;
            }
            let mut drive = world.run(connected(link)).unwrap();
            world.run(async { assert!(matches!(drive.next().await, Ok(Next::Event(_)))) });
            world.reading.set(reading);
            world.writing.set(writing);
            drive.send(&Message::Auth(PASSWORD_AUTH)).unwrap();
            // The answer to a login that still got through may come first.
            let end = world.run(async {
                loop {
                    if let Err(error) = drive.next().await {
                        return error;
                    }
                }
            });
            assert_eq!(end, expected);
            assert!(world.run(drive.next()).is_err(), "it stays over");
        }
    }
}

/// Red if a failed write hides the reason that the server gave before it closed.
fn refusal_is_heard_although_writing_fails<S: ServedSuite>() {
    let (mut memory, [mut rx, mut tx]) = (Memory::default(), buffers());
    let world = World::<S>::new(&mut memory, &Recording::setup(), admit_all(), SMOOTH);
    let mut drive = world.run(connected(world.link(&mut rx, &mut tx))).unwrap();
    world.arriving.borrow_mut().extend(framed(6, S::ID, &[ErrorCode::Busy as u8]));
    world.writing.set(Fault::Error);
    let end = world.run(drive.next()).err();
    assert_eq!(end, Some(DriveError::Protocol(Error::Refused(ErrorCode::Busy))));
}

/// A driver that has logged in.
fn ready<'b, 'm, S: ServedSuite>(
    world: &'b World<'m, S>,
    [rx, tx]: &'b mut [Vec<u8>; 2],
) -> TestDrive<'b, 'm, S> {
    world.run(async {
        let mut drive = connected(world.link(rx, tx)).await.unwrap();
        while !drive.conn().is_ready() {
            if let Next::Event(_) = drive.next().await.unwrap()
                && !drive.conn().is_ready()
            {
                drive.send(&Message::Auth(PASSWORD_AUTH)).unwrap();
            }
        }
        drive
    })
}

/// Red if `next` doesn't return when a message that found no room can be sent.
fn room_comes_back<S: ServedSuite>() {
    let (mut memory, mut space) = (Memory::default(), buffers());
    let world =
        World::<S>::new(&mut memory, &Recording::setup(), admit_all(), Manner { piece: 100, ..SMOOTH });
    let mut drive = ready(&world, &mut space);
    let mut sent = 0;
    while sent < 200 {
        match drive.send(&send(b"one of many")) {
            Ok(()) => sent += 1,
            Err(SendError::NoRoom(_)) => assert_eq!(world.run(drive.next()), Ok(Next::Room)),
            Err(other) => panic!("{other:?}"),
        }
    }
    world.run(drive.close(CloseReason::Bye));
    let server = world.server.borrow();
    assert_eq!(server.log.len(), 3 + sent, "Admit, device, AUTH and every message");
    assert!(server.was_closed(CloseReason::Bye));
}

/// Red if `close` waits for ever on a peer that reads nothing.
fn goodbye_is_limited<S: ServedSuite>() {
    for stuck in [Fault::Stuck, Fault::Error, Fault::End] {
        let (mut memory, mut space) = (Memory::default(), buffers());
        let world = World::<S>::new(&mut memory, &Recording::setup(), admit_all(), SMOOTH);
        let mut drive = ready(&world, &mut space);
        world.writing.set(stuck);
        drive.send(&send(b"never read")).unwrap();
        world.run(drive.close(CloseReason::Bye));
        assert!(world.now.get() - START <= 3_000, "{} ms", world.now.get() - START);
        assert_eq!(drive.send(&send(b"x")), Err(SendError::Closed));
        assert_eq!(world.run(drive.next()), Ok(Next::Closed(Closed::Here(CloseReason::Bye))));
    }
}

/// Red if the driver doesn't ask `poll_timeout`: no PING leaves, and silence lasts for ever.
fn silence_is_noticed<S: ServedSuite>() {
    let (mut memory, mut space) = (Memory::default(), buffers());
    let world = World::<S>::new(&mut memory, &Recording::setup(), admit_all(), SMOOTH);
    let mut drive = ready(&world, &mut space);
    world.reading.set(Fault::Stuck);
    let end = world.run(drive.next()).err();
    assert_eq!(end, Some(DriveError::Protocol(Error::Timeout(Deadline::Idle))));
    let waited = world.now.get() - START;
    assert!((90_000..92_000).contains(&waited), "{waited} ms");
    // Key request, messages 1 and 3, login, PING, CLOSE.
    assert_eq!(frames(&world.written.borrow(), 3).len(), 6);
}

/// Red if a deadline is looked at only when the stream has nothing to do.
fn busy_stream_does_not_put_off_deadlines<S: ServedSuite>() {
    let (mut memory, mut space) = (Memory::default(), buffers());
    let world = World::<S>::new(&mut memory, &Recording::setup(), admit_all(), SMOOTH);
    let mut drive = ready(&world, &mut space);
    world.busy.set(true);
    let end = world.run(drive.next());
    assert_eq!(end, Ok(Next::Closed(Closed::Here(CloseReason::Expired))));
    let lived = world.now.get() - START;
    let limit = u64::from(Timeouts::CLIENT.lifetime);
    assert!((limit..limit + 120_000).contains(&lived), "{lived} ms");
}
