//! Counts instructions and stack on the machine, under QEMU's `-icount shift=0`. One `name value` a line.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;
use cortex_m as _;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use sordino_core::bytes::Bytes;
use sordino_core::config::Timeouts;
use sordino_core::dh::Group;
use sordino_core::entropy::Entropy;
use sordino_core::identity::{ServedSuite, ServerIdentity, StaticKey, Trust};
use sordino_core::key_request::KeyRequest;
use sordino_core::messages::{Auth, AuthCode, AuthResult, Deliver, Send};
use sordino_core::name::{Target, Username};
use sordino_core::suite::{SecretKey, Suite};
use sordino_core::wire::Opaque;
use sordino_core::{
    Accept, Acceptor, Answer, Client, ClientConfig, Conn, Error, Event, Io, Message, RxBuf, ServerConfig,
    Step, Suite1, Suite2, SuiteList, TxBuf,
};
use sordino_embedded::{Board, Memory};
use sordino_figures::{Device, look};

/// CMSDK timer 0 counts down at 25 MHz; under `-icount shift=0` an instruction takes a nanosecond.
const TIMER: *mut u32 = core::ptr::with_exposed_provenance_mut(0x4000_0000);
const INSTRUCTIONS_PER_TICK: u64 = 40;
const PAINT: u32 = 0xa5a5_a5a5;
/// Bytes of a board's receive or send buffer.
const MEMORY: usize = 2200;
/// As far down as is painted, in bytes.
const DEPTH: usize = 24 * 1024;

struct Cost {
    instructions: u64,
    stack: usize,
}

impl Cost {
    const NOTHING: Self = Self { instructions: 0, stack: 0 };

    fn add(&mut self, other: &Self) {
        self.instructions += other.instructions;
        self.stack = self.stack.max(other.stack);
    }
}

fn ticks() -> u32 {
    // SAFETY: the timer's VALUE register.
    unsafe { TIMER.add(1).read_volatile() }
}

#[inline(never)]
fn call<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// What `work` costs, its own frame included.
#[inline(never)]
fn cost<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let top = cortex_m::register::msp::read() as usize;
    let bottom = top - DEPTH;
    let word = |address| core::ptr::with_exposed_provenance_mut::<u32>(address);
    for address in (bottom..top - 32).step_by(4) {
        // SAFETY: RAM below the stack pointer, which nothing uses: there are no interrupts.
        unsafe { word(address).write_volatile(PAINT) };
    }
    let start = ticks();
    let result = call(work);
    let end = ticks();
    // SAFETY: as above.
    let untouched = (bottom..top).step_by(4).take_while(|a| unsafe { word(*a).read_volatile() } == PAINT);
    let stack = DEPTH - untouched.count() * 4;
    (result, Cost { instructions: u64::from(start.wrapping_sub(end)) * INSTRUCTIONS_PER_TICK, stack })
}

struct Counter(u32);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (self.0 >> 24) as u8;
        }
        Ok(())
    }
}

struct End<'b> {
    rx: RxBuf<'b>,
    tx: TxBuf<'b>,
    rng: Counter,
}

impl<'b> End<'b> {
    fn with<T>(&mut self, f: impl FnOnce(&mut RxBuf<'b>, &mut Io<'_, 'b>) -> T) -> T {
        let mut io = Io { now: 0, tx: &mut self.tx, rng: &mut self.rng };
        f(&mut self.rx, &mut io)
    }

    fn carry(&mut self, to: &mut End<'_>) {
        let len = self.tx.pending().len();
        to.rx.spare()[..len].copy_from_slice(self.tx.pending());
        to.rx.commit(len);
        self.tx.consume(len);
    }
}

type Fallible<T> = Result<T, ()>;

/// Key answer, handshake and messages of one suite.
fn suite<S: ServedSuite>(identity: &ServerIdentity) -> Fallible<()> {
    let mut memory = [[0; MEMORY]; 4];
    let [a, b, c, d] = &mut memory;
    let mut board = End { rx: RxBuf::new(a), tx: TxBuf::new(b), rng: Counter(1) };
    let mut server = End { rx: RxBuf::new(c), tx: TxBuf::new(d), rng: Counter(2) };
    let config = ServerConfig { max_record: 1024, bundles: true, counter: 1, time: 0 };
    let mut acceptor = Acceptor::new(config, Timeouts::SERVER, 0);

    let request = board.with(|_, io| KeyRequest::<S>::send(io)).map_err(drop)?;
    board.carry(&mut server);
    server.with(|rx, io| acceptor.step(identity, rx, io)).map_err(drop)?;
    server.carry(&mut board);
    let (answer, key_cost) = cost(|| request.receive(&mut board.rx, Trust::FirstUse));
    let (_, key) = answer.map_err(drop)?.ok_or(())?;
    report::<S>("key answer", &key_cost);

    let device = SecretKey::<S>::generate(&mut board.rng).map_err(drop)?;
    let device_public = device.public();
    let suites = SuiteList::new(&[S::ID]).ok_or(())?;
    let config = ClientConfig {
        server: key,
        device,
        device_public,
        suites,
        max_record: 1024,
        bundles: true,
        counter: 1,
    };
    let mut client = Conn::<Client, S>::client(config, Timeouts::CLIENT, 0).map_err(drop)?;
    let mut total = Cost::NOTHING;
    step(&mut client, &mut board, &mut total)?;
    board.carry(&mut server);
    while !matches!(
        server.with(|rx, io| acceptor.step(identity, rx, io)).map_err(drop)?,
        Accept::Suite1 | Accept::Suite2
    ) {}
    let mut peer = acceptor.connection::<S>(identity).map_err(drop)?;
    loop {
        match server.with(|rx, io| peer.step(rx, io)).map_err(drop)? {
            Step::Event(id) => match peer.event(&server.rx, id).map_err(drop)? {
                Event::Admit { ticket, .. } => {
                    server.with(|_, io| peer.answer(ticket, Answer::Admit, io)).map_err(drop)?
                }
                Event::Established(_) => break,
                Event::Auth { .. } | Event::Message(_) => return Err(()),
            },
            Step::NeedInput => {
                server.carry(&mut board);
                while !matches!(step(&mut client, &mut board, &mut total)?, Step::Event(_)) {}
                board.carry(&mut server);
            }
            _ => {}
        }
    }
    report::<S>("handshake", &total);

    board.with(|_, io| client.send(&Message::Auth(Auth::DEVICE), io)).map_err(drop)?;
    board.carry(&mut server);
    let ticket = loop {
        if let Step::Event(id) = server.with(|rx, io| peer.step(rx, io)).map_err(drop)?
            && let Event::Auth { ticket, .. } = peer.event(&server.rx, id).map_err(drop)?
        {
            break ticket;
        }
    };
    let result = AuthResult { code: AuthCode::Ok, retry_after: 0, device: 1, pending: 0, username: "board" };
    server.with(|_, io| peer.answer(ticket, Answer::Auth(result), io)).map_err(drop)?;
    let name = Username::new("board").ok_or(())?;
    let part = Opaque(&[0x61; 200]);
    let deliver = Deliver {
        number: 1,
        id: [1; 16],
        time: 0,
        sender: name,
        target: Target::User(name),
        format: 0,
        total: 200,
        offset: 0,
        part,
    };
    server.carry(&mut board);
    let mut login = Cost::NOTHING;
    while !matches!(step(&mut client, &mut board, &mut login)?, Step::Event(_)) {}
    server.with(|_, io| peer.send(&Message::Deliver(deliver), io)).map_err(drop)?;
    server.carry(&mut board);
    // Drops the event before.
    let mut open = Cost::NOTHING;
    step(&mut client, &mut board, &mut open)?;
    report::<S>("open 256-byte record", &open);
    let send = Send { id: [1; 16], target: Target::User(name), format: 0, body: part };
    let (sent, seal) = cost(|| board.with(|_, io| client.send(&Message::Send(send), io)));
    sent.map_err(drop)?;
    report::<S>("seal 256-byte record", &seal);
    hprintln!("suite {} connection bytes {}", S::ID, size_of::<Conn<Client, S>>());
    Ok(())
}

fn step<S: Suite>(client: &mut Conn<Client, S>, board: &mut End<'_>, total: &mut Cost) -> Fallible<Step> {
    let (result, spent) = cost(|| board.with(|rx, io| client.step(rx, io)));
    total.add(&spent);
    result.map_err(drop)
}

fn report<S: Suite>(name: &str, cost: &Cost) {
    hprintln!("suite {} {} instructions {}", S::ID, name, cost.instructions);
    hprintln!("suite {} {} stack {}", S::ID, name, cost.stack);
}

/// One exponentiation, for exponents of all zeros (clamped), without pattern, and all ones.
fn exponents<G: Group>(suite: u8) {
    let mut zeros = G::Exponent::zeroed();
    let mut ones = G::Exponent::zeroed();
    ones.as_mut().fill(0xff);
    let mut random = G::Exponent::zeroed();
    let _never_fails = Counter(9).fill(random.as_mut());
    let mut random_too = G::Exponent::zeroed();
    let _never_fails = Counter(10).fill(random_too.as_mut());
    for (name, exponent) in [("zeros", &mut zeros), ("random", &mut random), ("ones", &mut ones)] {
        exponent.as_mut()[0] |= 0x80;
        let (base, own) = cost(|| G::generator_power(black_box(exponent)));
        let mut shared = [G::Public::zeroed(), G::Public::zeroed()];
        let mut scratch = [0; MEMORY];
        let (done, any) =
            cost(|| G::power(black_box(&base), black_box(exponent), &mut shared[0], &mut scratch));
        black_box((done, &shared));
        let (done, two) = cost(|| {
            let exponents = [black_box(&*exponent), black_box(&random_too)];
            G::powers(black_box(&base), exponents, shared.each_mut(), &mut scratch)
        });
        black_box((done, shared));
        hprintln!("suite {} power of 2, exponent {} instructions {}", suite, name, own.instructions);
        hprintln!("suite {} power, exponent {} instructions {}", suite, name, any.instructions);
        hprintln!("suite {} power, exponent {} stack {}", suite, name, any.stack);
        hprintln!("suite {} two powers, exponent {} instructions {}", suite, name, two.instructions);
    }
}

/// The async client's whole future: connection, driver, session and scratch.
fn client<'a, S: Suite>(
    board: &'a Board<Device, Device, S>,
    connector: &'a mut Device,
    clock: &'a Device,
    memory: &'a mut Memory,
) -> impl Future<Output = ()> + 'a {
    board.run(connector, clock, memory, look)
}

fn size_of_result<A, B, C, D, T>(_: impl FnOnce(A, B, C, D) -> T) -> usize {
    size_of::<T>()
}

fn sizes<S: Suite>() {
    let memory = size_of::<Memory>();
    let board = size_of::<Board<Device, Device, S>>();
    let future = size_of_result(client::<S>);
    hprintln!("suite {} board bytes {}", S::ID, board);
    hprintln!("suite {} buffers bytes {}", S::ID, memory);
    hprintln!("suite {} client bytes {}", S::ID, future);
    hprintln!("suite {} session bytes {}", S::ID, board + memory + future);
}

#[entry]
fn main() -> ! {
    // SAFETY: timer 0 of mps2-an386: RELOAD, VALUE, CTRL.
    unsafe {
        TIMER.add(2).write_volatile(u32::MAX);
        TIMER.add(1).write_volatile(u32::MAX);
        TIMER.write_volatile(1);
    }
    let mut rng = Counter(3);
    let identity = SecretKey::<Suite1>::generate(&mut rng).ok().and_then(|one| {
        let two = SecretKey::<Suite2>::generate(&mut rng).ok()?;
        ServerIdentity::sign(&[9; 32], 1, 0, Some(StaticKey::new(one)), Some(StaticKey::new(two))).ok()
    });
    let done = identity
        .is_some_and(|identity| suite::<Suite1>(&identity).and_then(|()| suite::<Suite2>(&identity)).is_ok());
    exponents::<<Suite1 as Suite>::Group>(1);
    exponents::<<Suite2 as Suite>::Group>(2);
    sizes::<Suite1>();
    sizes::<Suite2>();
    debug::exit(if done { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{info}");
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
