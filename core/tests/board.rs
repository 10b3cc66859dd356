//! The proofs around a board's code: the right one is accepted, and no other.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test may panic")]

use sordino_core::board::{board_proof, is_board_proof, is_owner_proof, owner_proof};

const SECRET: [u8; 16] = [7; 16];
const DEVICE: [u8; 32] = [9; 32];

/// All proofs that differ from this one in one bit.
fn altered(proof: [u8; 32]) -> impl Iterator<Item = [u8; 32]> {
    (0..proof.len() * 8).map(move |bit| {
        let mut other = proof;
        other[bit / 8] ^= 1 << (bit % 8);
        other
    })
}

#[test]
fn a_board_proves_its_key_and_no_other() {
    let proof = *board_proof(&SECRET, &DEVICE).array();
    assert!(is_board_proof(&SECRET, &DEVICE, &proof));
    assert!(!is_board_proof(&[8; 16], &DEVICE, &proof));
    assert!(!is_board_proof(&SECRET, &[8; 32], &proof));
    assert!(altered(proof).all(|other| !is_board_proof(&SECRET, &DEVICE, &other)));
}

#[test]
fn an_owner_proves_both_names_and_no_others() {
    let proof = *owner_proof(&SECRET, "greenhouse", "alice").array();
    assert!(is_owner_proof(&SECRET, "greenhouse", "alice", &proof));
    assert!(!is_owner_proof(&[8; 16], "greenhouse", "alice", &proof));
    assert!(!is_owner_proof(&SECRET, "greenhous", "ealice", &proof));
    assert!(!is_owner_proof(&SECRET, "greenhouse", "bob", &proof));
    assert!(altered(proof).all(|other| !is_owner_proof(&SECRET, "greenhouse", "alice", &other)));
}
