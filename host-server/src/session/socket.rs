//! A connection's socket, read only when there is something to read.

use std::{
    io::{self, Read as _},
    net::{Shutdown, TcpStream},
    pin::Pin,
    task::{Context, Poll, ready},
};

use smol::{Async, io::AsyncWrite as _};
use sordino_core::{RxBuf, TxBuf};

/// A session is mostly woken by the hub: to ask the kernel for bytes each time would cost more than to read those that
/// come.
pub(crate) struct Socket {
    stream: Async<TcpStream>,
    /// Whether there may be something to read. If not, the reactor says when there is.
    readable: bool,
}

impl Socket {
    pub const fn new(stream: Async<TcpStream>) -> Self {
        Self { stream, readable: true }
    }

    /// Ready when there may be something to read.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.readable {
            ready!(self.stream.poll_readable(context))?;
            self.readable = true;
        }
        Poll::Ready(Ok(()))
    }

    /// True if bytes or the end of the stream were read.
    pub fn poll_read(&mut self, rx: &mut RxBuf<'_>, context: &mut Context<'_>) -> io::Result<bool> {
        if rx.ended() {
            return Ok(false);
        }
        while self.poll_readable(context)?.is_ready() {
            let spare = rx.spare();
            let room = spare.len();
            match self.stream.get_ref().read(spare) {
                Ok(0) => {
                    rx.end();
                    return Ok(true);
                }
                Ok(read) => {
                    // Less than there was room for is all that there was.
                    self.readable = read == room;
                    rx.commit(read);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// True if bytes were written.
    pub fn poll_write(&mut self, tx: &mut TxBuf<'_>, context: &mut Context<'_>) -> io::Result<bool> {
        if tx.is_empty() {
            return Ok(false);
        }
        match Pin::new(&mut self.stream).poll_write(context, tx.pending()) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => result.map(|n| {
                tx.consume(n);
                true
            }),
        }
    }

    /// Ends this direction.
    pub fn end(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }
}
