//! What is measured: which sizes, batches and numbers of guests.

use std::time::Duration;

use crate::content::Look;

/// The size of blocks in the comparisons by batch and by guests.
pub(crate) const BATCH_BYTES: u64 = 4096;
/// The largest batch.
pub(crate) const BATCH_MAX: usize = 256;
/// The most guests.
pub(crate) const GUESTS_MAX: usize = 16;

/// Blocks of one size take up so much at most, and are so many at most and at least. What is got at
/// random comes from memory for all but the smallest: this is more than a cache holds.
const BYTES_OF_A_SIZE: u64 = 64 << 20;
const BLOCKS_MAX: u64 = 16 << 10;
const BLOCKS_MIN: u64 = 16;

/// How much is done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    /// How long one measurement takes.
    pub(crate) slice: Duration,
    /// Sizes of the blocks.
    pub(crate) sizes: Vec<u64>,
    /// Blocks got at a time.
    pub(crate) batches: Vec<usize>,
    /// Processes that get at the same time.
    pub(crate) guests: Vec<usize>,
    /// At most so many blocks of one size.
    pub(crate) blocks_max: u64,
    /// Room in pools beyond what stands there: what guests have in stock, and rounding to extents.
    pub(crate) spare_bytes: u64,
}

/// What is measured in what unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// Time to get a block, its ends read, by size.
    GetEnds,
    /// Time to get a block and read every byte, by size.
    GetSum,
    /// Time to put a block, by size.
    Put,
    /// Blocks a second, by batch.
    Batch,
    /// Blocks a second of all guests together, by their number.
    Guests,
}

impl Plan {
    pub(crate) fn full(rounds: u32, slice: Duration) -> Plan {
        Plan {
            rounds,
            slice,
            sizes: vec![64, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20],
            batches: vec![1, 4, 16, 64, BATCH_MAX],
            guests: vec![1, 2, 4, 8, GUESTS_MAX],
            blocks_max: BLOCKS_MAX,
            spare_bytes: 256 << 20,
        }
    }

    /// Everything as small as it can be: says that it works, and nothing about time.
    pub(crate) fn tiny(rounds: u32) -> Plan {
        Plan {
            rounds,
            slice: Duration::from_millis(1),
            sizes: vec![64, BATCH_BYTES, 256 << 10],
            batches: vec![1, 4, 64],
            guests: vec![1, 2],
            blocks_max: 64,
            spare_bytes: 32 << 20,
        }
    }

    /// How many blocks of a size there are.
    pub(crate) fn blocks(&self, size_bytes: u64) -> u64 {
        (BYTES_OF_A_SIZE / size_bytes).clamp(BLOCKS_MIN, BLOCKS_MAX).min(self.blocks_max)
    }

    /// Bytes of all blocks together.
    pub(crate) fn bytes(&self) -> u64 {
        self.sizes.iter().map(|size| size * self.blocks(*size)).sum()
    }

    /// What is measured, each with its number: bytes, batch or guests.
    pub(crate) fn points(&self) -> Vec<(Measure, u64)> {
        let by_size = |measure| self.sizes.iter().map(move |size| (measure, *size));
        let batches = self.batches.iter().map(|batch| (Measure::Batch, *batch as u64));
        let guests = self.guests.iter().map(|guests| (Measure::Guests, *guests as u64));
        by_size(Measure::GetEnds)
            .chain(by_size(Measure::GetSum))
            .chain(by_size(Measure::Put))
            .chain(batches)
            .chain(guests)
            .collect()
    }
}

impl Measure {
    pub(crate) const ALL: [Measure; 5] =
        [Measure::GetEnds, Measure::GetSum, Measure::Put, Measure::Batch, Measure::Guests];

    /// How much of a block is looked at.
    pub(crate) fn look(self) -> Look {
        if self == Measure::GetSum { Look::Sum } else { Look::Ends }
    }

    /// Whether it is a rate; else it is a time.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Measure::Batch | Measure::Guests)
    }

    /// What it measures, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Measure::GetEnds => "get a block, first and last word read",
            Measure::GetSum => "get a block, every byte read",
            Measure::Put => "put a block, every byte written",
            Measure::Batch => "4 KiB blocks got in batches, first and last word read",
            Measure::Guests => "4 KiB blocks got by several processes, first and last word read",
        }
    }
}
