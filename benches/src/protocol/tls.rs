//! TLS around another protocol, by OpenSSL over memory.

use std::io::{self, Read, Write};

use anyhow::Result;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

use super::{Goal, Protocol, Seen, Whom};

/// Bytes from the socket that OpenSSL has not read, and bytes for it.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    used: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = (&self.input[self.used..]).read(buf)?;
        self.used += read;
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
        if read == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(read) }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// See the module.
pub struct Tls<P> {
    stream: SslStream<Pipe>,
    inner: P,
    goal: Goal,
    shaken: bool,
    plain: Vec<u8>,
    said: Vec<u8>,
}

impl<P: Protocol> Tls<P> {
    /// A client that has said nothing yet.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new(context: &SslContext, goal: Goal, inner: P) -> Result<Self> {
        let stream = SslStream::new(Ssl::new(context)?, Pipe::default())?;
        Ok(Self { stream, inner, goal, shaken: false, plain: Vec::new(), said: Vec::new() })
    }

    fn shake(&mut self, seen: &mut Vec<Seen>) -> Result<()> {
        if self.shaken {
            return Ok(());
        }
        match self.stream.connect() {
            Ok(()) => self.shaken = true,
            Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if self.goal == Goal::Handshake {
            seen.push(Seen::Ready);
            return Ok(());
        }
        self.inner.open(&mut self.said)
    }

    fn decrypt(&mut self) -> Result<()> {
        let mut part = [0; 16 * 1024];
        self.plain.clear();
        loop {
            match self.stream.ssl_read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(read) => self.plain.extend_from_slice(&part[..read]),
                // After the peer's goodbye the socket ends too; what came before it may say why.
                Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::ZERO_RETURN) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn encrypt(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if !self.said.is_empty() {
            self.stream.write_all(&self.said)?;
            self.said.clear();
        }
        out.append(&mut self.stream.get_mut().output);
        Ok(())
    }
}

impl<P: Protocol> Protocol for Tls<P> {
    fn open(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.shake(&mut Vec::new())?;
        self.encrypt(out)
    }

    fn receive(&mut self, input: &[u8], out: &mut Vec<u8>, seen: &mut Vec<Seen>) -> Result<()> {
        self.stream.get_mut().input.extend_from_slice(input);
        self.shake(seen)?;
        if self.shaken {
            self.decrypt()?;
            self.inner.receive(&self.plain, &mut self.said, seen)?;
        }
        self.encrypt(out)
    }

    fn say(&mut self, to: Whom<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.inner.say(to, body, &mut self.said)?;
        self.encrypt(out)
    }
}
