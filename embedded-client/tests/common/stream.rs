//! Streams to the server in memory, whole or in scripted pieces, blocking and async, on a virtual clock.

use super::Splitmix;
use super::server::{Link, World};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use embedded_io::ErrorKind;
use sordino_embedded::{Clock, Connect, blocking};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// How a stream misbehaves.
#[derive(Clone, Copy)]
pub struct Habits {
    /// Bytes moved at once, at most.
    pub chunk: usize,
    /// One of so many calls finds nothing ready; 0: never.
    pub pause: usize,
    /// One of so many calls loses the connection; 0: never.
    pub loss: usize,
}

/// The network of a test.
#[derive(Clone)]
pub struct Net {
    pub world: Rc<RefCell<World>>,
    pub now: Rc<Cell<u64>>,
    pub habits: Habits,
    pub dice: Rc<RefCell<Splitmix>>,
    pub reachable: Rc<Cell<bool>>,
    pub link: Rc<RefCell<Option<Link>>>,
}

impl Net {
    pub fn new(seed: u64, habits: Habits) -> Self {
        Self {
            world: Rc::new(RefCell::new(World::new(seed))),
            now: Rc::new(Cell::new(1)),
            habits,
            dice: Rc::new(RefCell::new(Splitmix(seed ^ 0xabcd))),
            reachable: Rc::new(Cell::new(true)),
            link: Rc::new(RefCell::new(None)),
        }
    }

    fn happens(&self, one_in: usize) -> bool {
        one_in > 0 && self.dice.borrow_mut().below(one_in) == 0
    }

    fn open(&self) -> Result<Stream, ErrorKind> {
        if !self.reachable.get() {
            return Err(ErrorKind::ConnectionRefused);
        }
        *self.link.borrow_mut() = Some(Link::new(self.now.get()));
        Ok(Stream(self.clone()))
    }
}

pub struct Stream(Net);

impl Stream {
    fn ready(&self) -> Result<bool, ErrorKind> {
        let Net { world, now, link, habits, .. } = &self.0;
        if self.0.happens(habits.loss) {
            *link.borrow_mut() = None;
        }
        let mut link = link.borrow_mut();
        let link = link.as_mut().ok_or(ErrorKind::ConnectionReset)?;
        Ok(!self.0.happens(habits.pause) && link.has_output(&mut world.borrow_mut(), now.get()))
    }

    fn take(&self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let Net { world, now, link, habits, .. } = &self.0;
        let mut link = link.borrow_mut();
        let link = link.as_mut().ok_or(ErrorKind::ConnectionReset)?;
        let limit = out.len().min(habits.chunk);
        let Some(bytes) = link.take(limit, &mut world.borrow_mut(), now.get()) else { return Ok(0) };
        out[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let Net { world, now, link, habits, .. } = &self.0;
        let mut link = link.borrow_mut();
        let link = link.as_mut().ok_or(ErrorKind::ConnectionReset)?;
        let part = &bytes[..bytes.len().min(habits.chunk)];
        link.feed(part, &mut world.borrow_mut(), now.get());
        Ok(part.len())
    }
}

impl embedded_io::ErrorType for Stream {
    type Error = ErrorKind;
}

impl embedded_io::Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        self.take(out)
    }
}

impl embedded_io::ReadReady for Stream {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        self.ready()
    }
}

impl embedded_io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.put(bytes)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl blocking::Connect for Net {
    type Stream<'a> = Stream;
    type Error = ErrorKind;

    fn connect(&mut self, host: &str, port: u16) -> Result<Stream, ErrorKind> {
        assert_eq!((host, port), ("server.example", 12345));
        self.open()
    }
}

/// A half of an async stream.
pub struct Half(Stream);

impl embedded_io::ErrorType for Half {
    type Error = ErrorKind;
}

impl embedded_io_async::Read for Half {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        core::future::poll_fn(|context| {
            match self.0.ready() {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await?;
        self.0.take(out)
    }
}

impl embedded_io_async::Write for Half {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.put(bytes)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Connect for Net {
    type Reader<'a> = Half;
    type Writer<'a> = Half;
    type Error = ErrorKind;

    async fn connect(&mut self, _: &str, _: u16) -> Result<(Half, Half), ErrorKind> {
        self.open().map(|stream| (Half(stream), Half(Stream(self.clone()))))
    }
}

/// Every look at the clock of a sleeper takes a millisecond.
impl Clock for Net {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn sleep_until(&self, at: u64) -> impl Future<Output = ()> {
        Sleep { now: self.now.clone(), at }
    }
}

struct Sleep {
    now: Rc<Cell<u64>>,
    at: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.now.set(self.now.get() + 1);
        context.waker().wake_by_ref();
        if self.now.get() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}
