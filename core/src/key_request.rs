//! The client's first contact: asks for the server's key of one suite.

use crate::buf::RxBuf;
use crate::config::HEADER_LEN;
use crate::conn::need_input;
use crate::error::{Distrust, Error, ErrorCode, PeerFault};
use crate::handshake::{Header, Kind};
use crate::identity::{MAX_STATEMENT, Pin, ROOT_LEN, ServerKey, Trust, check_key_answer};
use crate::io::Io;
use crate::suite::{Suite, dh_len};
use core::marker::PhantomData;

/// A key request that was sent. On success the connection goes on with message 1, in the same buffers.
#[derive(Debug)]
pub struct KeyRequest<S: Suite> {
    suite: PhantomData<S>,
}

impl<S: Suite> KeyRequest<S> {
    /// Writes the request. The caller limits the time.
    ///
    /// # Errors
    /// [`crate::error::Misuse::BufferTooSmall`].
    pub fn send(io: &mut Io<'_, '_>) -> Result<Self, Error> {
        let header = Header::new(Kind::KeyRequest, S::ID, 0).encode();
        io.put(|out| out.put(&header))?;
        Ok(Self { suite: PhantomData })
    }

    /// Checks the answer once it is whole: the pin to keep from now on, and the key. `None`: more input is needed.
    ///
    /// # Errors
    /// [`Error::Untrusted`], [`Error::Refused`], [`Error::Peer`], [`Error::Truncated`].
    pub fn receive(
        &self,
        rx: &mut RxBuf<'_>,
        trust: Trust<'_>,
    ) -> Result<Option<(Pin, ServerKey<S>)>, Error> {
        let Some(header) = Header::read(rx.unconsumed())? else {
            return need_input(rx, HEADER_LEN).map(|()| None);
        };
        let longest = match header.kind {
            Kind::KeyAnswer => ROOT_LEN.saturating_add(2 + MAX_STATEMENT + 64).saturating_add(dh_len::<S>()),
            Kind::Error => 1,
            _ => return Err(Error::Peer(PeerFault::UnexpectedType)),
        };
        if header.length > longest {
            return Err(Error::Untrusted(Distrust::Malformed));
        }
        let Some(body) = rx.unconsumed().get(HEADER_LEN..header.total()) else {
            return need_input(rx, header.total()).map(|()| None);
        };
        if header.kind == Kind::Error {
            let code = body.first().copied().and_then(ErrorCode::from_u8);
            return Err(code.map_or(Error::Peer(PeerFault::Length), Error::Refused));
        }
        if header.suite != S::ID {
            return Err(Error::Peer(PeerFault::Header));
        }
        let trusted = check_key_answer::<S>(body, trust)?;
        rx.consume(header.total());
        Ok(Some(trusted))
    }
}
