//! Encoding into and decoding from slices. All integers big endian.

use core::fmt;

/// A body is not of its type's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The output slice is too small, or a message is not of its own type's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Writes to the front of a slice, or only counts.
pub struct Writer<'b> {
    rest: Option<&'b mut [u8]>,
    written: usize,
}

impl<'b> Writer<'b> {
    /// Starts at the front of `out`.
    pub const fn new(out: &'b mut [u8]) -> Self {
        Self { rest: Some(out), written: 0 }
    }

    /// Writes nowhere: [`Self::written`] then tells how long an encoding is.
    pub const fn counting() -> Self {
        Self { rest: None, written: 0 }
    }

    /// Bytes written so far.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Overflow`]; the writer takes nothing more after that.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        if let Some(rest) = &mut self.rest {
            let (to, behind) = core::mem::take(rest).split_at_mut_checked(bytes.len()).ok_or(Overflow)?;
            to.copy_from_slice(bytes);
            *rest = behind;
        }
        self.written = self.written.saturating_add(bytes.len());
        Ok(())
    }

    /// Appends zeros until `len` bytes stand there.
    ///
    /// # Errors
    /// [`Overflow`], also if more than `len` were written already.
    pub fn pad_to(&mut self, len: usize) -> Result<(), Overflow> {
        let missing = len.checked_sub(self.written).ok_or(Overflow)?;
        for _ in 0..missing {
            self.put(&[0])?;
        }
        Ok(())
    }
}

/// Reads from the front of a slice.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    /// What was not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that all was read.
    ///
    /// # Errors
    /// [`Malformed`] if bytes are left.
    pub const fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// Checks that only zeros are left.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn finish_zeros(&self) -> Result<(), Malformed> {
        if self.rest.iter().all(|&b| b == 0) { Ok(()) } else { Err(Malformed) }
    }
}

/// A field of a message: knows its own form on the wire.
pub trait Field<'a>: Sized {
    /// Appends the field.
    ///
    /// # Errors
    /// [`Overflow`].
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow>;

    /// Reads the field.
    ///
    /// # Errors
    /// [`Malformed`].
    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed>;
}

macro_rules! integer_fields {
    ($($int:ident)*) => {$(
        impl Field<'_> for $int {
            fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
                out.put(&self.to_be_bytes())
            }

            fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                input.array().map(Self::from_be_bytes)
            }
        }
    )*};
}

integer_fields!(u8 u16 u32 u64);

impl Field<'_> for bool {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        u8::from(*self).encode(out)
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl<const N: usize> Field<'_> for [u8; N] {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        out.put(self)
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input.array()
    }
}

/// `str8`: UTF-8 of at most 255 bytes.
impl<'a> Field<'a> for &'a str {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        u8::try_from(self.len()).map_err(|_| Overflow)?.encode(out)?;
        out.put(self.as_bytes())
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let len = u8::decode(input)?;
        core::str::from_utf8(input.take(usize::from(len))?).map_err(|_| Malformed)
    }
}

/// `str16` of opaque bytes.
impl<'a> Field<'a> for &'a [u8] {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        u16::try_from(self.len()).map_err(|_| Overflow)?.encode(out)?;
        out.put(self)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let len = u16::decode(input)?;
        input.take(usize::from(len))
    }
}

/// `str16` of opaque bytes, which are never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opaque<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Opaque<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        self.0.encode(out)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        Field::decode(input).map(Self)
    }
}

impl fmt::Debug for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// `str16`: UTF-8 text of at most 65,535 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a>(pub &'a str);

impl<'a> Field<'a> for Text<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        self.0.as_bytes().encode(out)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        core::str::from_utf8(<&[u8]>::decode(input)?).map(Text).map_err(|_| Malformed)
    }
}

/// A `u16` count and so many items. Read lazily, but checked as a whole when decoded.
#[derive(Clone, Copy, Debug)]
pub enum List<'a, T> {
    /// Items to be encoded.
    Items(&'a [T]),
    /// Checked bytes of `count` items.
    Wire {
        /// Number of items.
        count: u16,
        /// Their encoding.
        bytes: &'a [u8],
    },
}

impl<'a, T: Field<'a> + Clone> List<'a, T> {
    /// The items, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let (items, mut reader) = match *self {
            Self::Items(items) => (items, Reader::new(&[])),
            Self::Wire { bytes, .. } => (&[][..], Reader::new(bytes)),
        };
        let wire = core::iter::from_fn(move || T::decode(&mut reader).ok());
        items.iter().cloned().chain(wire)
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Wire { count, .. } => usize::from(*count),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Field<'a> + Clone + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Field<'a> + Clone> Field<'a> for List<'a, T> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        u16::try_from(self.len()).map_err(|_| Overflow)?.encode(out)?;
        self.iter().try_for_each(|item| item.encode(out))
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = u16::decode(input)?;
        let start = input.rest();
        for _ in 0..count {
            T::decode(input)?;
        }
        let used = start.len().checked_sub(input.rest().len()).ok_or(Malformed)?;
        let bytes = start.get(..used).ok_or(Malformed)?;
        Ok(Self::Wire { count, bytes })
    }
}
