//! The whole way of a block over the ring: lookup (ask, lease, check, read) and publish (reserve,
//! fill, ask), one at a time, beside the bounced line.

use std::time::{Duration, Instant};

use onecopy::cache::{Cache, CacheOptions, LookupPath, PublishOptions};
use onecopy::key::Key;
use onecopy_transport::guest::GuestOptions;

use crate::Options;
use crate::bounce::{self, Bounce};
use crate::cache_host::CacheHost;
use crate::error::BenchError;
use crate::payload::{check, fill};
use crate::pin::Cores;
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Operations of one round.
const TRIPS: u64 = 50_000;
/// Bytes of a block.
const BLOCK_BYTES: usize = 64;
/// Blocks that are looked up in turn.
const LOOKED_UP: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Lookups beside the bounced line.
pub(crate) fn run_lookup(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let host = CacheHost::start(cores)?;
    let mut blocks = Blocks::attach(&host)?;
    blocks.publish_next(LOOKED_UP)?;
    let label = Label {
        name: "lookup",
        text: "lookup over the ring, lease and 64 bytes read included",
        baseline: bounce::TEXT,
        ..Label::default()
    };
    compare(options, cores, report, &label, |count| blocks.look_up(count))
}

/// Publishing beside the bounced line.
pub(crate) fn run_publish(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let host = CacheHost::start(cores)?;
    let mut blocks = Blocks::attach(&host)?;
    let label = Label {
        name: "publish",
        text: "publish over the ring, reserving and filling 64 bytes included",
        baseline: bounce::TEXT,
        ..Label::default()
    };
    compare(options, cores, report, &label, |count| blocks.publish_next(count))
}

fn compare(
    options: &Options,
    cores: &Cores,
    report: &mut Report,
    label: &Label<'_>,
    mut operations: impl FnMut(u64) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let mut line = Bounce::start(cores)?;
    let compared = interleave(
        options.rounds,
        || line.measure(trips),
        || {
            operations(trips / 10 + 1)?;
            let start = Instant::now();
            operations(trips)?;
            Ok(start.elapsed().as_nanos() as f64 / trips as f64)
        },
    )?;
    report.figure(label, &compared);
    Ok(())
}

/// A guest that publishes numbered blocks and looks them up.
struct Blocks {
    cache: Cache,
    published: u64,
    looked_up: u64,
}

impl Blocks {
    fn attach(host: &CacheHost) -> Result<Blocks, BenchError> {
        let mut options = CacheOptions::new(GuestOptions::at(host.segment()));
        options.deadline = PATIENCE;
        options.lookup = LookupPath::Ring;
        Ok(Blocks { cache: Cache::attach(options)?, published: 0, looked_up: 0 })
    }

    /// Publishes so many new blocks; one that was there already does not count.
    fn publish_next(&mut self, count: u64) -> Result<(), BenchError> {
        for _ in 0..count {
            let number = self.published;
            let mut block = self.cache.reserve(BLOCK_BYTES as u64)?;
            fill(&mut block[..BLOCK_BYTES], |index| word(number, index));
            let options = PublishOptions::default();
            let published = block.publish(&key(number), BLOCK_BYTES as u64, options)?;
            if !published.is_first() {
                return Err(BenchError::NotFirst { number });
            }
            self.published += 1;
        }
        Ok(())
    }

    /// Looks blocks up in turn and checks every byte of them.
    fn look_up(&mut self, count: u64) -> Result<(), BenchError> {
        for _ in 0..count {
            let number = self.looked_up % LOOKED_UP;
            let block = self.cache.lookup(&key(number))?.ok_or(BenchError::Missing { number })?;
            check(&block, BLOCK_BYTES, number, |index| word(number, index))?;
            self.looked_up += 1;
        }
        Ok(())
    }
}

fn key(number: u64) -> Key {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(name)
}

fn word(number: u64, index: usize) -> u64 {
    (number << 8) ^ index as u64 ^ 0x6f6e_6563_6f70_7900
}
