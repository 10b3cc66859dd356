//! What QEMU lacks, borrowed from the host over semihosting: flash, randomness, arguments.

use core::ffi::CStr;
use cortex_m_semihosting::{nr, syscall};
use sordino_embedded::rand_core::{TryCryptoRng, TryRng};
use sordino_embedded::{Block, Storage};

/// An erase block, in bytes.
const BLOCK: usize = 4096;
/// A write or erasure happens in pieces of this many bytes, so that a power cut can fall between them.
const PIECE: usize = 64;

/// A file on the host failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError;

impl core::fmt::Display for HostError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a file of the host can't be used")
    }
}

impl core::error::Error for HostError {}

/// An open file of the host.
struct HostFile(usize);

/// Modes of SYS_OPEN, those of `fopen`.
const READ: usize = 1;
const READ_WRITE: usize = 3;
const CREATE: usize = 7;

impl HostFile {
    fn open(path: &CStr, mode: usize) -> Option<Self> {
        // SAFETY: the parameter block outlives the call, and the path ends with a zero.
        let handle = unsafe { syscall!(OPEN, path.as_ptr(), mode, path.to_bytes().len()) };
        (handle != usize::MAX).then_some(Self(handle))
    }

    fn seek(&self, offset: usize) -> Result<(), HostError> {
        // SAFETY: the parameter block outlives the call.
        let failed = unsafe { syscall!(SEEK, self.0, offset) };
        if failed == 0 { Ok(()) } else { Err(HostError) }
    }

    fn read(&self, out: &mut [u8]) -> Result<(), HostError> {
        // SAFETY: `out` is valid for writes of its length.
        let missing = unsafe { syscall!(READ, self.0, out.as_mut_ptr(), out.len()) };
        if missing == 0 { Ok(()) } else { Err(HostError) }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), HostError> {
        // SAFETY: `bytes` is valid for reads of its length.
        let missing = unsafe { syscall!(WRITE, self.0, bytes.as_ptr(), bytes.len()) };
        if missing == 0 { Ok(()) } else { Err(HostError) }
    }
}

/// Two erase blocks in a file. A piece reaches the host at once, so that killing QEMU is a power cut.
pub struct HostFlash(HostFile);

impl HostFlash {
    /// Opens the file, and makes it with erased blocks if it isn't there.
    pub fn open(path: &CStr) -> Option<Self> {
        if let Some(file) = HostFile::open(path, READ_WRITE) {
            return Some(Self(file));
        }
        let mut flash = Self(HostFile::open(path, CREATE)?);
        flash.erase(Block::A).and_then(|()| flash.erase(Block::B)).ok()?;
        Some(flash)
    }

    fn seek(&self, block: Block, offset: usize) -> Result<(), HostError> {
        self.0.seek(block as usize * BLOCK + offset)
    }
}

impl Storage for HostFlash {
    type Error = HostError;

    const WRITE_SIZE: usize = 4;

    fn block_size(&self) -> usize {
        BLOCK
    }

    fn read(&mut self, block: Block, offset: usize, out: &mut [u8]) -> Result<(), HostError> {
        self.seek(block, offset)?;
        self.0.read(out)
    }

    /// Like flash, this only clears bits.
    fn write(&mut self, block: Block, offset: usize, bytes: &[u8]) -> Result<(), HostError> {
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            let mut cells = [0; PIECE];
            let (cells, _) = cells.split_at_mut(piece.len());
            let at = offset + index * PIECE;
            self.read(block, at, cells)?;
            cells.iter_mut().zip(piece).for_each(|(cell, byte)| *cell &= byte);
            self.seek(block, at)?;
            self.0.write(cells)?;
        }
        Ok(())
    }

    fn erase(&mut self, block: Block) -> Result<(), HostError> {
        self.seek(block, 0)?;
        (0..BLOCK / PIECE).try_for_each(|_| self.0.write(&[0xff; PIECE]))
    }
}

/// The host's random numbers: QEMU's machine has no source of its own.
pub struct HostRng(HostFile);

impl HostRng {
    pub fn open() -> Option<Self> {
        HostFile::open(c"/dev/urandom", READ).map(Self)
    }
}

impl TryRng for HostRng {
    type Error = HostError;

    fn try_next_u32(&mut self) -> Result<u32, HostError> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, HostError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), HostError> {
        self.0.read(out)
    }
}

impl TryCryptoRng for HostRng {}

/// The path of the flash file, from `-semihosting-config arg=PATH`.
pub fn flash_path(buffer: &mut [u8; 256]) -> &CStr {
    let mut block = [buffer.as_mut_ptr() as usize, buffer.len() - 1];
    // SAFETY: the parameter block and the buffer that it names outlive the call.
    let failed = unsafe { cortex_m_semihosting::syscall1(nr::GET_CMDLINE, block.as_mut_ptr() as usize) };
    let path = CStr::from_bytes_until_nul(buffer).ok();
    path.filter(|path| failed == 0 && !path.is_empty()).unwrap_or(c"board.flash")
}
