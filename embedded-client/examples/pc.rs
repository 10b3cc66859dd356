//! A board without a board: the blocking client over `std::net::TcpStream`, flash in a file.
//!
//! ```text
//! cargo run -p sordino-embedded --example pc -- board.flash 'sordino://…'      once, with a code
//! cargo run -p sordino-embedded --example pc -- board.flash
//! ```
//! Every line on standard input, `@user text` or `#room text`, is sent.
#![expect(clippy::arithmetic_side_effects, reason = "offsets in a file of 8 KiB")]

use embedded_io::{ErrorType, Read, ReadReady, Write};
use getrandom::SysRng;
use sordino_embedded::{Block, Board, Code, Event, Memory, Storage, Target, blocking};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read as _, Seek, SeekFrom, Write as _};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;

/// Two blocks in a file.
struct FileFlash(File);

impl FileFlash {
    fn open(path: &str) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < 2 * BLOCK as u64 {
            file.write_all(&[0xff; 2 * BLOCK])?;
        }
        Ok(Self(file))
    }

    fn at(&mut self, block: Block, offset: usize) -> io::Result<&mut File> {
        self.0.seek(SeekFrom::Start((block as usize * BLOCK + offset) as u64))?;
        Ok(&mut self.0)
    }
}

impl Storage for FileFlash {
    type Error = io::Error;

    const WRITE_SIZE: usize = 1;

    fn block_size(&self) -> usize {
        BLOCK
    }

    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> io::Result<()> {
        self.at(block, offset)?.read_exact(out)
    }

    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.at(block, offset)?.write_all(bytes)?;
        self.0.sync_data()
    }

    fn erase(&mut self, block: Block) -> io::Result<()> {
        self.at(block, 0)?.write_all(&[0xff; BLOCK])?;
        self.0.sync_data()
    }
}

struct Tcp(TcpStream);

impl ErrorType for Tcp {
    type Error = io::Error;
}

impl Read for Tcp {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ReadReady for Tcp {
    fn read_ready(&mut self) -> io::Result<bool> {
        self.0.set_nonblocking(true)?;
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false)?;
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            other => other.map(|_| true),
        }
    }
}

struct Connector;

impl blocking::Connect for Connector {
    type Stream<'a> = Tcp;
    type Error = io::Error;

    fn connect(&mut self, host: &str, port: u16) -> io::Result<Tcp> {
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        Ok(Tcp(stream))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: pc FILE [CODE]")?;
    let board: Board<_, _> =
        Board::open(FileFlash::open(&path)?, SysRng).map_err(|error| error.to_string())?;
    if let Some(code) = arguments.next() {
        let code = Code::parse(&code).map_err(|error| error.to_string())?;
        board.enrol(&code).map_err(|error| error.to_string())?;
    }
    println!("{:?}", board.status().map_err(|error| error.to_string())?);
    let (lines, typed) = mpsc::channel();
    std::thread::spawn(move || {
        io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    let start = Instant::now();
    let now = move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    board.run_blocking(&mut Connector, now, &mut Memory::new(), |event| {
        match event {
            Event::Message(message) => match message.text() {
                Some(text) => println!("{} → {}: {text}", message.from, message.to),
                None => println!("{} → {}: {} bytes", message.from, message.to, message.part.len()),
            },
            Event::Idle => {
                std::thread::sleep(Duration::from_millis(10));
                if let Ok(line) = typed.try_recv() {
                    let (target, text) = line.split_once(' ').unwrap_or((&line, ""));
                    match Target::parse(target).map(|target| board.send(target, text)) {
                        Some(Ok(number)) => println!("message {number} waits"),
                        Some(Err(error)) => println!("{error}"),
                        None => println!("@user text, or #room text"),
                    }
                }
            }
            Event::Online { username, pending } => println!("online as @{username}, {pending} waiting"),
            Event::Enrolled { owner } => println!("enrolled by @{owner}"),
            Event::Offline { reason, retry_in } => {
                println!("offline: {reason}; next attempt in {} s", retry_in / 1000);
            }
            Event::Accepted(number) => println!("message {number} accepted"),
            Event::Refused(number, code) => println!("message {number} refused: {code:?}"),
            Event::Notice(text) => println!("server: {text}"),
        }
        ControlFlow::Continue(())
    });
    Ok(())
}
