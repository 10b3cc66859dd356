//! The async client over the same socket. There is no executor: everything is polled after each interrupt.

use crate::clock::now;
use crate::net::Net;
use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_io::{ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};
use sordino_embedded::{Clock, Connect};

/// Runs a future to its end, and `idle` before each sleep.
pub fn block_on(future: impl Future<Output = ()>, mut idle: impl FnMut()) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() {
        idle();
        cortex_m::asm::wfi();
    }
}

pub struct Uptime;

impl Clock for Uptime {
    fn now(&self) -> u64 {
        now()
    }

    fn sleep_until(&self, at: u64) -> impl Future<Output = ()> {
        poll_fn(move |_| if now() >= at { Poll::Ready(()) } else { Poll::Pending })
    }
}

pub struct AsyncNet(RefCell<Net>);

impl AsyncNet {
    pub fn new(net: Net) -> Self {
        Self(RefCell::new(net))
    }
}

impl Connect for AsyncNet {
    type Reader<'a> = Reader<'a>;
    type Writer<'a> = Writer<'a>;
    type Error = ErrorKind;

    async fn connect(&mut self, host: &str, port: u16) -> Result<(Reader<'_>, Writer<'_>), ErrorKind> {
        self.0.borrow_mut().begin(host, port)?;
        poll_fn(|_| self.0.borrow_mut().connected()).await?;
        Ok((Reader(&self.0), Writer(&self.0)))
    }
}

pub struct Reader<'n>(&'n RefCell<Net>);

impl ErrorType for Reader<'_> {
    type Error = ErrorKind;
}

impl Read for Reader<'_> {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| self.0.borrow_mut().read(out)).await
    }
}

pub struct Writer<'n>(&'n RefCell<Net>);

impl ErrorType for Writer<'_> {
    type Error = ErrorKind;
}

impl Write for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| self.0.borrow_mut().write(bytes)).await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.borrow_mut().poll();
        Ok(())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().close();
    }
}
