//! Direct lookups, one at a time: the index searched, the block leased, checked and let go, beside a
//! lookup of the same key in a private hash table.

use std::hint::black_box;
use std::time::Instant;

use crate::Options;
use crate::blocks::{Filled, Scattered, key};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::pin::Cores;
use crate::private::PrivateMap;
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Blocks in the cache.
pub(crate) const BLOCKS: u64 = 1_000_000;
/// Bytes of a block, and of its slot.
pub(crate) const BLOCK_BYTES: usize = 64;
/// Blocks that are looked up in turn when they are to be in the processor's caches.
const HOT_BLOCKS: u64 = 64;
/// Lookups of one round.
const TRIPS: u64 = 2_000_000;
/// Large blocks.
const LARGE_BLOCKS: u64 = 256;
const LARGE_BYTES: usize = 1 << 20;
const PRIVATE: &str = "a lookup of the same key in a private hashbrown map";

/// Blocks all over a cache of a million.
pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let label = Label {
        name: "get",
        text: "direct lookup with lease, a million blocks, at random",
        baseline: PRIVATE,
        ..Label::default()
    };
    compare(options, cores, report, &label, |blocks| blocks)
}

/// The same few blocks again and again.
pub(crate) fn run_hot(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let label = Label {
        name: "get_hot",
        text: "direct lookup with lease, the same 64 blocks",
        baseline: PRIVATE,
        ..Label::default()
    };
    compare(options, cores, report, &label, |blocks| blocks.min(HOT_BLOCKS))
}

fn compare(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
    label: &Label<'_>,
    used: impl Fn(u64) -> u64,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let count = if options.trips.is_some() { trips } else { BLOCKS };
    let host = CacheHost::start_sized(cores, Size::of_blocks(count, BLOCK_BYTES as u64))?;
    let filled = Filled::publish(host, count, BLOCK_BYTES)?;
    let map = PrivateMap::of_blocks(count);
    filled.verify()?;
    let (mut theirs, mut ours) = (Scattered::new(1, used(count)), Scattered::new(1, used(count)));
    let compared = interleave(
        options.rounds,
        || {
            timed(trips, || {
                let number = theirs.next();
                let found = map.get(black_box(&key(number)));
                (found == Some(number)).then_some(()).ok_or(BenchError::Missing { number })
            })
        },
        || {
            timed(trips, || {
                let number = ours.next();
                let block = filled.cache.lookup_ref(black_box(&key(number)))?;
                let block = block.ok_or(BenchError::Missing { number })?;
                let (found, expected) = (block.len(), BLOCK_BYTES);
                match found == expected {
                    true => Ok(()),
                    false => Err(BenchError::WrongLength { trip: number, found, expected }),
                }
            })
        },
    )?;
    filled.verify()?;
    report.figure(label, &compared);
    Ok(())
}

/// Blocks of a MiB, in place: found, leased, first and last byte read.
pub(crate) fn run_large(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let count = if options.trips.is_some() { 8 } else { LARGE_BLOCKS };
    let host = CacheHost::start_sized(cores, Size::of_large_blocks(count, LARGE_BYTES as u64))?;
    let filled = Filled::publish(host, count, LARGE_BYTES)?;
    let map = PrivateMap::of_blocks(count);
    let copies: Vec<Vec<u8>> = (0..count)
        .map(|number| {
            let block = filled.cache.lookup_ref(&key(number))?;
            Ok(block.ok_or(BenchError::Missing { number })?.to_vec())
        })
        .collect::<Result<_, BenchError>>()?;
    filled.verify()?;
    let label = Label {
        name: "get_1m",
        text: "direct lookup with lease of a block of 1 MiB, first and last byte read in place",
        baseline: "the same from private copies found by a private hashbrown map",
        ..Label::default()
    };
    let (mut theirs, mut ours) = (Scattered::new(1, count), Scattered::new(1, count));
    let ends = |number: u64, bytes: &[u8]| match bytes {
        [first, .., last] if bytes.len() == LARGE_BYTES => Ok((*first, *last)),
        _ => {
            let (found, expected) = (bytes.len(), LARGE_BYTES);
            Err(BenchError::WrongLength { trip: number, found, expected })
        }
    };
    let compared = interleave(
        options.rounds,
        || {
            timed(trips, || {
                let number = theirs.next();
                let found = map.get(black_box(&key(number)));
                let bytes = found.and_then(|found| copies.get(found as usize));
                black_box(ends(number, bytes.ok_or(BenchError::Missing { number })?)?);
                Ok(())
            })
        },
        || {
            timed(trips, || {
                let number = ours.next();
                let block = filled.cache.lookup_ref(black_box(&key(number)))?;
                black_box(ends(number, &block.ok_or(BenchError::Missing { number })?)?);
                Ok(())
            })
        },
    )?;
    filled.verify()?;
    report.figure(&label, &compared);
    Ok(())
}

/// Nanoseconds of each of so many calls.
pub(crate) fn timed(
    trips: u64,
    mut once: impl FnMut() -> Result<(), BenchError>,
) -> Result<f64, BenchError> {
    let start = Instant::now();
    for _ in 0..trips {
        once()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / trips as f64)
}
