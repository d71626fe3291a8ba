//! Publishing while the host doubles its index, beside as many publishes right before each doubling.

use std::time::{Duration, Instant};

use crate::Options;
use crate::blocks::{Filled, attach, key, word};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::payload::fill;
use crate::pin::Cores;
use crate::report::{Report, Span};

/// Blocks that are published in one round, unless it is told otherwise.
const BLOCKS: u64 = 1_000_000;
/// Bytes of a block, and of its slot.
const BLOCK_BYTES: usize = 64;
/// Buckets that a doubling begins with, at least. Smaller ones are through in some publishes.
const BUCKETS_MIN: u64 = 256;

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let count = options.trips.unwrap_or(BLOCKS);
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let host = CacheHost::start_sized(cores, Size::of_blocks(count, BLOCK_BYTES as u64))?;
        let filled = Filled::by_hand(attach(host.segment())?, host, count, BLOCK_BYTES);
        for number in 0..count {
            let took = publish(&filled, number)?;
            match phase_of(number, count) {
                Phase::Before => before.push(took),
                Phase::During => during.push(took),
                Phase::Neither => {}
            }
        }
        filled.verify()?;
    }
    for (name, text, times) in [
        ("publish_stable", "a publish right before the index doubles", before),
        ("publish_doubling", "a publish while the index doubles", during),
    ] {
        report.span(Span { name, text, slots: count, memory: None, times });
    }
    Ok(())
}

fn publish(filled: &Filled, number: u64) -> Result<Duration, BenchError> {
    let mut payload = [0; BLOCK_BYTES];
    fill(&mut payload, |index| word(number, index));
    let start = Instant::now();
    let published = filled.cache.store(&key(number), &payload)?;
    let took = start.elapsed();
    match published.is_first() {
        true => Ok(took),
        false => Err(BenchError::NotFirst { number }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Before,
    During,
    Neither,
}

/// What the host does with its index when so many blocks are there. A doubling of `n` buckets begins
/// when they are more than half full, with `4 n` blocks, and takes `n / 2` publishes at most
/// (`index.pace`). Before one that does not end within `count` blocks is neither.
fn phase_of(blocks: u64, count: u64) -> Phase {
    // The last doubling that began, and the next one.
    let last = (blocks / 4).checked_ilog2().map_or(0, |power| 1 << power);
    let next = (last * 2).max(1);
    let is_counted = |buckets: u64| buckets >= BUCKETS_MIN && buckets * 4 + buckets / 2 <= count;
    if is_counted(last) && blocks < last * 4 + last / 2 {
        Phase::During
    } else if is_counted(next) && blocks >= next * 4 - next / 2 {
        Phase::Before
    } else {
        Phase::Neither
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_publishes_are_before_as_during_each_doubling() {
        for (blocks, phase) in [
            (895, Phase::Neither),
            (896, Phase::Before),
            (1023, Phase::Before),
            (1024, Phase::During),
            (1151, Phase::During),
            (1152, Phase::Neither),
            (1791, Phase::Neither),
            (1792, Phase::Before),
            (2047, Phase::Before),
            (2048, Phase::During),
            (2303, Phase::During),
            (2304, Phase::Neither),
            (100, Phase::Neither),
        ] {
            assert_eq!(phase_of(blocks, 100_000), phase, "{blocks}");
        }
        let count =
            |wanted| (0..100_000).filter(|blocks| phase_of(*blocks, 100_000) == wanted).count();
        assert_eq!(count(Phase::Before), count(Phase::During));
    }
}
