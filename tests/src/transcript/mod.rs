//! Transcripts: recorded conversations that are played against the real state machines, byte for byte.
//!
//! `tests/transcripts/README.md` describes the text format. [`Player`] plays a file, [`record`] writes one anew.

mod client;
mod format;
mod player;
mod recorder;
mod server;
mod settings;
mod side;

pub use format::{FIRST_LINE, Field, Statement, format_file, parse};
pub use player::{Chunk, Player, expand_repeats, expand_scenes, real_sides};
pub use recorder::record;
pub use side::SideName;

use std::fmt;

/// Why a transcript can't be read, or what a state machine did otherwise than it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Adds where it happened.
    fn at(self, line: usize, what: &str) -> Self {
        Self(format!("line {line}: {what}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Plays a file in every way: against both real sides and against each alone, whole and one byte at a time.
/// Returns the number of ways.
///
/// # Errors
/// The first [`Failure`].
pub fn play_every_way(text: &str) -> Result<usize, Failure> {
    let statements = parse(text)?;
    let real = real_sides(&statements)?;
    // One side alone needs the other's bytes, which a repetition leaves out.
    let whole = expand_repeats(&statements)?;
    let mut sides: Vec<Vec<SideName>> = vec![real.clone()];
    if real.len() > 1 {
        sides.extend(real.iter().map(|&side| vec![side]));
    }
    let mut ways = 0;
    for only in &sides {
        for chunk in [Chunk::Whole, Chunk::Byte] {
            let played = if only.len() == real.len() { &statements } else { &whole };
            Player::new(only, chunk)
                .play(played)
                .map_err(|f| Failure::new(format!("{only:?}, {chunk:?}: {f}")))?;
            ways += 1;
        }
    }
    Ok(ways)
}
