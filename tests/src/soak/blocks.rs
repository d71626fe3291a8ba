//! Names, lengths and bytes of the blocks of a soak: all of them follow from the run and the name.

use crate::harness::Random;
use onecopy::key::Key;
use onecopy::replay::payload;

/// The largest block, in bytes.
pub const LENGTH_MAX: u64 = 1 << 20;

/// A block: which key, and which use of it. Each use has other bytes and another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The key's number, over all places.
    pub number: u32,
    /// Which use, from 0.
    pub version: u32,
}

impl Name {
    fn word(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.version)
    }

    /// The key in the cache.
    pub fn key(self, run: u64) -> Key {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(b"onecopy soak 1\0\0");
        bytes[16..24].copy_from_slice(&run.to_le_bytes());
        bytes[24..].copy_from_slice(&self.word().to_le_bytes());
        Key::from_bytes(bytes)
    }

    /// Length of the block in bytes, 0 to [`LENGTH_MAX`]: mostly some KiB, now and then nothing or
    /// all that a slot can hold.
    pub fn length(self, run: u64) -> u64 {
        let mut random = Random::new(run ^ self.word().rotate_left(17) ^ 0x5bd1_e995);
        let bound = match random.below(100) {
            0..4 => return 0,
            4..8 => 64,
            8..70 => 16 << 10,
            70..92 => 64 << 10,
            92..98 => 256 << 10,
            98 => LENGTH_MAX,
            _ => return LENGTH_MAX,
        };
        1 + random.below(bound)
    }

    /// Writes its bytes.
    // r[impl soak.payload]
    pub fn fill(self, run: u64, target: &mut [u8]) {
        payload::fill(target, run, self.word());
    }

    /// How many of these bytes are wrong, missing and surplus ones included.
    // r[impl soak.payload]
    pub fn wrong_bytes(self, run: u64, found: &[u8]) -> u64 {
        let length = self.length(run);
        if found.len() as u64 == length && payload::verify(found, run, self.word()).is_ok() {
            return 0;
        }
        let mut expected = vec![0; length as usize];
        self.fill(run, &mut expected);
        let differ = found.iter().zip(&expected).filter(|(found, expected)| found != expected);
        differ.count() as u64 + length.abs_diff(found.len() as u64)
    }
}
