//! What must be caught: if it isn't, the harness sees nothing, and the other cases mean nothing.

use crate::taint::hidden;
use std::hint::black_box;

static TABLE: [u8; 256] = [7; 256];

/// Stops comparing at the first difference.
#[inline(never)]
fn leaky_comparison(secret: &[u8], guess: &[u8]) -> bool {
    for (a, b) in secret.iter().zip(guess) {
        if black_box(*a) != *b {
            return false;
        }
    }
    true
}

/// A substitution table.
#[inline(never)]
fn leaky_substitution(secret: u8) -> u8 {
    black_box(&TABLE)[usize::from(secret)]
}

#[inline(never)]
pub fn jump() {
    black_box(leaky_comparison(&*hidden([1, 2, 3, 4]), &[1, 2, 3, 5]));
}

#[inline(never)]
pub fn load() {
    black_box(leaky_substitution(hidden([9])[0]));
}
