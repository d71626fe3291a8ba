//! Direct lookups of many keys at once, with their cache misses under way together, beside a flat table
//! of this process that is prefetched in the same way: the floor.

use std::hint::black_box;

use onecopy::key::Key;

use crate::Options;
use crate::blocks::{Filled, Scattered, key};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::get::{BLOCK_BYTES, BLOCKS, timed};
use crate::pin::Cores;
use crate::private::{BATCH, FlatTable};
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Keys of one prefix.
const PREFIX_KEYS: u64 = 1024;
/// Keys of one round.
const KEYS: u64 = 4_000_000;
const FLAT: &str = "a flat private table, prefetched, for each key";

/// `lookup_many` of 64 keys all over the cache, leases included.
pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    for (blocks, name) in [(BLOCKS, "batch_64_of_1m"), (10 * BLOCKS, "batch_64_of_10m")] {
        let (filled, flat) = fill(options, cores, blocks)?;
        let text = format!("direct lookup with lease in batches of 64, {} blocks", filled.count);
        let label = Label { name, text: &text, baseline: FLAT, ..Label::default() };
        let calls = options.trips.unwrap_or(KEYS / BATCH as u64);
        let mut theirs = Keys::scattered(filled.count);
        let mut ours = Keys::scattered(filled.count);
        let compared = interleave(
            options.rounds,
            || {
                let each = timed(calls, || complete(flat.count(theirs.next()), BATCH))?;
                Ok(each / BATCH as f64)
            },
            || {
                let each = timed(calls, || {
                    let blocks = filled.cache.lookup_many_ref(black_box(ours.next()))?;
                    complete(blocks.iter().flatten().count(), BATCH)
                })?;
                Ok(each / BATCH as f64)
            },
        )?;
        filled.verify()?;
        report.figure(&label, &compared);
    }
    Ok(())
}

/// `match_prefix` of 1,024 keys: the same again and again, and from anywhere.
pub(crate) fn run_match(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (filled, flat) = fill(options, cores, BLOCKS)?;
    let length = PREFIX_KEYS.min(filled.count);
    for (starts, name, text) in [
        (1, "match_hot", "match_prefix of the same 1,024 keys, for each block"),
        (
            filled.count - length + 1,
            "match",
            "match_prefix of 1,024 keys from anywhere, for each block",
        ),
    ] {
        let label = Label { name, text, baseline: FLAT, ..Label::default() };
        let calls = options.trips.unwrap_or(KEYS / PREFIX_KEYS);
        let mut theirs = Prefixes::new(starts, length);
        let mut ours = Prefixes::new(starts, length);
        let compared = interleave(
            options.rounds,
            || {
                let mut nanoseconds = 0.0;
                for _ in 0..calls {
                    let keys = theirs.next();
                    nanoseconds += timed(1, || {
                        let found = keys.chunks(BATCH).map(|keys| flat.count(keys)).sum();
                        complete(found, keys.len())
                    })?;
                }
                Ok(nanoseconds / (calls * length) as f64)
            },
            || {
                let mut nanoseconds = 0.0;
                for _ in 0..calls {
                    let keys = ours.next();
                    nanoseconds +=
                        timed(1, || complete(filled.cache.match_prefix(keys)?, keys.len()))?;
                }
                Ok(nanoseconds / (calls * length) as f64)
            },
        )?;
        filled.verify()?;
        report.figure(&label, &compared);
    }
    Ok(())
}

fn fill(options: &Options, cores: &Cores, blocks: u64) -> Result<(Filled, FlatTable), BenchError> {
    let count = if options.trips.is_some() { 2_000 } else { blocks };
    let host = CacheHost::start_sized(cores, Size::of_blocks(count, BLOCK_BYTES as u64))?;
    let filled = Filled::publish(host, count, BLOCK_BYTES)?;
    filled.verify()?;
    Ok((filled, FlatTable::of_blocks(count)))
}

fn complete(found: usize, expected: usize) -> Result<(), BenchError> {
    if found == expected { Ok(()) } else { Err(BenchError::Incomplete { found, expected }) }
}

/// Batches of keys all over the blocks.
struct Keys {
    numbers: Scattered,
    batch: [Key; BATCH],
}

impl Keys {
    fn scattered(count: u64) -> Keys {
        Keys { numbers: Scattered::new(1, count), batch: [key(0); BATCH] }
    }

    #[inline]
    fn next(&mut self) -> &[Key] {
        for name in &mut self.batch {
            *name = key(self.numbers.next());
        }
        &self.batch
    }
}

/// Runs of keys in the order of their publication, from one of so many starts.
struct Prefixes {
    starts: Scattered,
    keys: Vec<Key>,
}

impl Prefixes {
    fn new(starts: u64, length: u64) -> Prefixes {
        Prefixes { starts: Scattered::new(1, starts), keys: (0..length).map(key).collect() }
    }

    fn next(&mut self) -> &[Key] {
        let start = self.starts.next();
        for (name, number) in self.keys.iter_mut().zip(start..) {
            *name = key(number);
        }
        &self.keys
    }
}
