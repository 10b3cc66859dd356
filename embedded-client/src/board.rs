//! The board: what lasts from one connection to the next.

use crate::backoff::Backoff;
use crate::code::Code;
use crate::signal::Signal;
use crate::state::{State, StateError};
use crate::storage::Storage;
use crate::{MAX_ADDRESS, MAX_TEXT};
use core::cell::{RefCell, RefMut};
use core::fmt;
use core::marker::PhantomData;
use heapless::String;
use rand_core::TryCryptoRng;
use sordino_core::bytes::Secret;
use sordino_core::config::{CONTROL_RECORD, MAX_USERNAME, MIN_RECORD, RECORD_OVERHEAD};
use sordino_core::entropy::Entropy;
use sordino_core::identity::{Fingerprint, device_fingerprint};
use sordino_core::messages::Send;
use sordino_core::name::Target;
use sordino_core::suite::{SecretKey, Suite, Suite1};
use sordino_core::wire::Opaque;

/// Records of 1 KiB are announced.
const RX: usize = MIN_RECORD as usize + RECORD_OVERHEAD;
const TX: usize = MIN_RECORD as usize + RECORD_OVERHEAD + CONTROL_RECORD;

/// Buffers of a connection: 2.2 KiB.
pub struct Memory {
    pub(crate) rx: [u8; RX],
    pub(crate) tx: [u8; TX],
}

impl Memory {
    /// Zeros.
    pub const fn new() -> Self {
        Self { rx: [0; RX], tx: [0; TX] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// How far an enrolment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// Not begun: [`Board::enrol`].
    None,
    /// The code is in flash and was not used yet.
    Pending,
    /// The board has its account.
    Done,
}

/// What a board knows of itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// How far the enrolment has come.
    pub enrolment: Enrolment,
    /// The board's account, without `@`.
    pub username: String<MAX_USERNAME>,
    /// Who enrolled it.
    pub owner: String<MAX_USERNAME>,
    /// Where the server is.
    pub address: String<MAX_ADDRESS>,
    /// Whether it is logged in now.
    pub online: bool,
    /// Messages in the outbox.
    pub waiting: usize,
    /// Messages that the outbox has lost for want of room, since the factory reset.
    pub dropped: u32,
}

/// Why the board could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardError<E> {
    /// The flash failed.
    Flash(E),
    /// The blocks are smaller than 4 KiB.
    FlashTooSmall,
    /// All messages in the outbox are on their way, and there is no room for another.
    Full,
    /// The text is longer than [`MAX_TEXT`], or empty.
    Length,
    /// The random number generator failed.
    Entropy,
    /// The board has an account already: reset it first.
    Enrolled,
    /// Called from within itself.
    Reentrant,
}

impl<E> From<StateError<E>> for BoardError<E> {
    fn from(error: StateError<E>) -> Self {
        match error {
            StateError::Flash(error) => Self::Flash(error),
            StateError::Full => Self::Full,
            StateError::TooSmall => Self::FlashTooSmall,
        }
    }
}

impl<E: fmt::Debug> fmt::Display for BoardError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flash(_) => "the flash failed",
            Self::FlashTooSmall => "the flash blocks are too small",
            Self::Full => "the outbox is full",
            Self::Length => "the text is empty or too long",
            Self::Entropy => "the random number generator failed",
            Self::Enrolled => "this board is enrolled already: reset it first",
            Self::Reentrant => "the board is busy",
        })
    }
}

/// A board of suite `S` with its flash `F` and random number generator `G`.
///
/// All methods take `&self`, so that a console, a sensor and [`Self::run`] can share it in one executor.
pub struct Board<F: Storage, G, S: Suite = Suite1> {
    inner: RefCell<Inner<F, G>>,
    pub(crate) changed: Signal,
    suite: PhantomData<S>,
}

pub(crate) struct Inner<F, G> {
    pub state: State<F>,
    rng: G,
    pub backoff: Backoff,
    pub online: bool,
    /// Grows with each enrolment and reset: a connection of an older one ends.
    pub generation: u32,
    /// The cached static key of the server is not current.
    pub stale_key: bool,
}

impl<F: Storage, G: TryCryptoRng> Inner<F, G> {
    /// Random bytes.
    pub fn draw<const N: usize>(&mut self) -> Option<Secret<[u8; N]>> {
        let mut bytes = Secret::zeroed();
        self.rng.try_fill_bytes(bytes.expose_mut()).ok()?;
        Some(bytes)
    }

    /// For jitter: 0 if the generator fails, which then shows elsewhere.
    pub fn dice(&mut self) -> u32 {
        self.draw::<4>().and_then(|b| b.expose().first_chunk().copied()).map_or(0, u32::from_be_bytes)
    }
}

type Access<'a, F, G> = Result<RefMut<'a, Inner<F, G>>, BoardError<<F as Storage>::Error>>;

impl<F: Storage, G: TryCryptoRng, S: Suite> Board<F, G, S> {
    /// Reads the flash, and formats it if it is blank.
    ///
    /// # Errors
    /// [`BoardError::Flash`], [`BoardError::FlashTooSmall`].
    pub fn open(flash: F, rng: G) -> Result<Self, BoardError<F::Error>> {
        let state = State::mount(flash)?;
        let backoff = Backoff::default();
        let inner = Inner { state, rng, backoff, online: false, generation: 0, stale_key: false };
        Ok(Self { inner: RefCell::new(inner), changed: Signal::default(), suite: PhantomData })
    }

    pub(crate) fn inner(&self) -> Access<'_, F, G> {
        self.inner.try_borrow_mut().map_err(|_| BoardError::Reentrant)
    }

    /// Makes the board's keys and stores them with the code; the running client then uses it.
    ///
    /// The same code again goes on with the same keys. Costs one exponentiation.
    ///
    /// # Errors
    /// [`BoardError::Enrolled`], [`BoardError::Entropy`], [`BoardError::Flash`].
    pub fn enrol(&self, code: &Code) -> Result<(), BoardError<F::Error>> {
        let mut inner = self.inner()?;
        if inner.state.account().is_some() {
            return Err(BoardError::Enrolled);
        }
        if inner.state.secret().is_none_or(|old| old.expose() != code.secret.expose()) {
            let device =
                SecretKey::<S>::generate(&mut Source(&mut inner.rng)).map_err(|_| BoardError::Entropy)?;
            inner.state.begin_enrolment::<S>(&device, code)?;
        }
        self.turn(&mut inner);
        Ok(())
    }

    /// Forgets everything: keys, account, outbox. The owner should revoke the board too.
    ///
    /// # Errors
    /// [`BoardError::Flash`].
    pub fn factory_reset(&self) -> Result<(), BoardError<F::Error>> {
        let mut inner = self.inner()?;
        inner.state.reset()?;
        self.turn(&mut inner);
        Ok(())
    }

    /// A connection under the old keys must end.
    fn turn(&self, inner: &mut Inner<F, G>) {
        inner.generation = inner.generation.wrapping_add(1);
        inner.backoff.reset();
        self.changed.raise();
    }

    /// Puts a text into the outbox, in flash: it reaches the server also after a reboot. A room is joined if
    /// need be. When the outbox is full its oldest message is dropped and counted. The message's number, which
    /// comes back in [`crate::Event::Accepted`].
    ///
    /// # Errors
    /// [`BoardError::Length`], [`BoardError::Full`], [`BoardError::Entropy`], [`BoardError::Flash`].
    pub fn send(&self, target: Target<'_>, text: &str) -> Result<u32, BoardError<F::Error>> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(BoardError::Length);
        }
        let mut inner = self.inner()?;
        let id = inner.draw::<16>().ok_or(BoardError::Entropy)?;
        let number =
            inner.state.push(&Send { id: *id.array(), target, format: 0, body: Opaque(text.as_bytes()) })?;
        self.changed.raise();
        Ok(number)
    }

    /// Fingerprint of the board's key, for the owner to compare. `None` before [`Self::enrol`].
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let (_, public) = self.inner().ok()?.state.identity::<S>()?;
        Some(device_fingerprint::<S>(&public))
    }

    /// What the board knows of itself.
    ///
    /// # Errors
    /// [`BoardError::Reentrant`].
    pub fn status(&self) -> Result<Status, BoardError<F::Error>> {
        let mut inner = self.inner()?;
        let online = inner.online;
        let state = &mut inner.state;
        let account = state.account();
        let enrolment = match (&account, state.secret()) {
            (Some(_), _) => Enrolment::Done,
            (None, Some(_)) => Enrolment::Pending,
            (None, None) => Enrolment::None,
        };
        Ok(Status {
            enrolment,
            username: account.unwrap_or_default(),
            owner: state.owner().unwrap_or_default(),
            address: state.server().map(|(address, _)| address).unwrap_or_default(),
            online,
            waiting: state.waiting(),
            dropped: state.dropped,
        })
    }
}

struct Source<'g, G>(&'g mut G);

impl<G: TryCryptoRng> Entropy for Source<'_, G> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), sordino_core::Error> {
        self.0.try_fill_bytes(out).map_err(|_| sordino_core::Error::Entropy)
    }
}
