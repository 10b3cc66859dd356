//! Flash, as the maker supplies it.

/// One of the two erase blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The first.
    A,
    /// The second.
    B,
}

impl Block {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two erase blocks of flash that nothing else uses, each of at least 4 KiB.
///
/// Erased bytes read as `FF`, and a byte is written once between two erasures. Power may fail during every call:
/// then the bytes of that call are undefined, and no others.
pub trait Storage {
    /// What may fail.
    type Error: core::fmt::Debug;

    /// Writes begin at a multiple of this many bytes and have a multiple of it: a power of two up to 32.
    const WRITE_SIZE: usize;

    /// Bytes in each block; beyond 64 KiB the rest stays unused.
    fn block_size(&self) -> usize;

    /// Reads from any place.
    ///
    /// # Errors
    /// The flash failed.
    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Writes to erased bytes, and returns when they are durable.
    ///
    /// # Errors
    /// The flash failed.
    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Erases a whole block.
    ///
    /// # Errors
    /// The flash failed.
    fn erase(&mut self, block: Block) -> Result<(), Self::Error>;
}

/// Two neighbouring blocks of a NOR flash.
#[cfg(feature = "embedded-storage")]
#[derive(Debug)]
pub struct NorBlocks<F> {
    flash: F,
    start: u32,
    size: u32,
}

#[cfg(feature = "embedded-storage")]
impl<F: embedded_storage::nor_flash::NorFlash> NorBlocks<F> {
    /// Uses 2 · `size` bytes from `start`; both are multiples of the flash's erase size.
    pub const fn new(flash: F, start: u32, size: u32) -> Self {
        Self { flash, start, size }
    }

    const fn base(&self, block: Block) -> u32 {
        match block {
            Block::A => self.start,
            Block::B => self.start.saturating_add(self.size),
        }
    }

    fn address(&self, block: Block, offset: usize) -> u32 {
        self.base(block).saturating_add(u32::try_from(offset).unwrap_or(u32::MAX))
    }
}

#[cfg(feature = "embedded-storage")]
impl<F: embedded_storage::nor_flash::NorFlash> Storage for NorBlocks<F> {
    type Error = F::Error;

    const WRITE_SIZE: usize = F::WRITE_SIZE;

    fn block_size(&self) -> usize {
        self.size as usize
    }

    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> Result<(), F::Error> {
        let address = self.address(block, offset);
        self.flash.read(address, out)
    }

    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> Result<(), F::Error> {
        let address = self.address(block, offset);
        self.flash.write(address, bytes)
    }

    fn erase(&mut self, block: Block) -> Result<(), F::Error> {
        let from = self.base(block);
        self.flash.erase(from, from.saturating_add(self.size))
    }
}
