use std::collections::HashSet;
use std::time::Instant;

use proptest::prelude::*;

use super::{Mismatch, fill, verify};

fn filled(size_bytes: usize, run: u64, block: u64) -> Vec<u8> {
    let mut payload = vec![0xa5; size_bytes];
    fill(&mut payload, run, block);
    payload
}

// r[verify replay.payload.words]
#[test]
fn no_word_occurs_twice_among_runs_blocks_and_offsets() {
    let mut words = HashSet::new();
    for run in 0..8 {
        for block in 0..64 {
            for word in filled(1024, run, block).chunks(8) {
                assert!(words.insert(word.to_vec()), "run {run}, block {block}");
            }
        }
    }
    assert_eq!(words.len(), 8 * 64 * 128);
}

// r[verify replay.payload.words]
#[test]
fn a_shorter_payload_is_the_start_of_a_longer_one() {
    let long = filled(5000, 3, 4);
    for size_bytes in 0..200 {
        assert_eq!(filled(size_bytes, 3, 4), long[..size_bytes]);
    }
}

proptest! {
    // r[verify replay.payload.verify]
    #[test]
    fn what_was_filled_verifies_and_any_change_is_found(
        size_bytes in 0usize..5000, skip in 0usize..8, run: u64, block: u64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..4),
    ) {
        // At any alignment.
        let mut memory = vec![0; size_bytes + skip];
        let payload = &mut memory[skip..];
        fill(payload, run, block);
        let right = payload.to_vec();
        prop_assert_eq!(verify(payload, run, block), Ok(()));
        if size_bytes > 0 {
            for (at, change) in &changes {
                payload[at.index(size_bytes)] ^= change;
            }
        }
        let first = right.iter().zip(payload.iter()).position(|(right, found)| right != found);
        let outcome = verify(payload, run, block);
        match first {
            None => prop_assert_eq!(outcome, Ok(())),
            Some(at) => {
                let offset = at / 8 * 8;
                let word = |bytes: &[u8]| {
                    let mut word = [0; 8];
                    let end = bytes.len().min(offset + 8);
                    word[..end - offset].copy_from_slice(&bytes[offset..end]);
                    u64::from_le_bytes(word)
                };
                let (expected, found) = (word(&right), word(payload));
                prop_assert_eq!(outcome, Err(Mismatch { offset: offset as u64, expected, found }));
            }
        }
    }

    // r[verify replay.payload.verify]
    #[test]
    fn another_block_or_run_does_not_pass(run: u64, block: u64, other: u64) {
        let payload = filled(64, run, block);
        if other != block {
            prop_assert!(verify(&payload, run, other).is_err());
        }
        if other != run {
            prop_assert!(verify(&payload, other, block).is_err());
        }
    }
}

#[test]
#[ignore = "prints a measurement; run it with --release"]
fn speed() {
    const SIZE_BYTES: usize = 16 << 10;
    const ROUNDS: u64 = 200_000;
    let mut payload = vec![0; SIZE_BYTES];
    let bytes = ROUNDS as f64 * SIZE_BYTES as f64;
    let start = Instant::now();
    for block in 0..ROUNDS {
        fill(std::hint::black_box(&mut payload), 1, block);
    }
    println!("fill   {:.1} GB/s", bytes / start.elapsed().as_nanos() as f64);
    fill(&mut payload, 1, 2);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        verify(std::hint::black_box(&payload), 1, 2).unwrap();
    }
    println!("verify {:.1} GB/s", bytes / start.elapsed().as_nanos() as f64);
}
