//! Publishing into a full cache while 64 guests hold 1,000 leases each, beside the same while they hold
//! none: what it costs to find out which evicted slots nobody reads.

use std::time::{Duration, Instant};

use onecopy::cache::{Cache, PublishOptions};
use onecopy::key::Key;
use onecopy_transport::guest::{Guest, GuestOptions, SlotGuard};

use crate::Options;
use crate::blocks::{attach, key, word};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::payload::{check, fill};
use crate::pin::Cores;
use crate::report::{Label, Looks, Report};
use crate::rounds::interleave;

/// Guests that hold leases, or none.
const GUESTS: u64 = 64;
/// Leases of each of them.
const LEASES: u64 = 1000;
/// Blocks that one round publishes, unless it is told otherwise.
const TRIPS: u64 = 20_000;
/// Blocks that are published together.
const BATCH: u64 = 32;
/// Bytes of a block, which has a slot of its own size: small, so that it is not the filling that counts.
const BLOCK_BYTES: usize = 64;
const BLOCKS: u64 = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let spare = Size::of_blocks(BLOCKS, BLOCK_BYTES as u64);
    compare("reuse_spare", "a cache with slots to spare", spare, options, cores, report)?;
    // No bound but the pool: a block is evicted when a guest wants a slot and there is none.
    let full = Size { pool_bytes: 2 << 20, capacity_blocks: u64::from(u32::MAX), ..spare };
    compare("reuse_full", "a pool that is full", full, options, cores, report)
}

fn compare(
    name: &str,
    what: &str,
    size: Size,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut idle = Stream::start(size, cores, 0)?;
    let mut read = Stream::start(size, cores, LEASES)?;
    let trips = options.trips.unwrap_or(TRIPS);
    let before = read.figures()?;
    let compared = interleave(options.rounds, || idle.publish(trips), || read.publish(trips))?;
    let looks = read.figures()?.since(&before);
    read.verify()?;
    let label = Label {
        name,
        text: &format!("publishing into {what}, beside {GUESTS} guests with {LEASES} leases each"),
        baseline: "the same beside guests that lease nothing",
        looks: Some(looks),
        ..Label::default()
    };
    report.figure(&label, &compared);
    Ok(())
}

/// A full cache, who publishes into it, and who reads what was published first.
struct Stream {
    cache: Cache,
    next: u64,
    /// With the number of the block that each of them leases.
    guards: Vec<(u64, SlotGuard)>,
    _guests: Vec<Guest>,
    _host: CacheHost,
}

impl Stream {
    fn start(size: Size, cores: &Cores, leases: u64) -> Result<Stream, BenchError> {
        let host = CacheHost::start_sized(cores, size)?;
        let cache = attach(host.segment())?;
        let mut stream =
            Stream { cache, next: 0, guards: Vec::new(), _guests: Vec::new(), _host: host };
        stream.publish(GUESTS)?;
        for number in 0..GUESTS {
            let mut options = GuestOptions::at(stream._host.segment());
            options.watcher = false;
            let guest = Guest::attach(options)?;
            let block = stream.cache.lookup_ref(&key(number))?;
            let slot = block.ok_or(BenchError::Missing { number })?.slot();
            for _ in 0..leases {
                let guard = guest.lease(slot)?.ok_or(BenchError::Missing { number })?;
                stream.guards.push((number, guard));
            }
            stream._guests.push(guest);
        }
        // Until it evicts for each block that comes.
        while stream.figures()?.evictions < BLOCKS {
            stream.publish(BLOCKS / 4)?;
        }
        Ok(stream)
    }

    /// Publishes so many blocks, at least; nanoseconds for each.
    fn publish(&mut self, count: u64) -> Result<f64, BenchError> {
        let batches = count.div_ceil(BATCH);
        let start = Instant::now();
        for _ in 0..batches {
            let mut payloads = [[0; BLOCK_BYTES]; BATCH as usize];
            for (payload, number) in payloads.iter_mut().zip(self.next..) {
                fill(payload, |index| word(number, index));
            }
            let named: Vec<(Key, &[u8])> = (self.next..)
                .zip(&payloads)
                .map(|(number, bytes)| (key(number), &bytes[..]))
                .collect();
            let outcomes = self.cache.store_many(&named, PublishOptions::default());
            for (outcome, number) in outcomes.into_iter().zip(self.next..) {
                if !outcome?.is_first() {
                    return Err(BenchError::NotFirst { number });
                }
            }
            self.next += BATCH;
        }
        Ok(start.elapsed().as_nanos() as f64 / (batches * BATCH) as f64)
    }

    /// What is leased is still what it was, though its block was evicted long ago.
    fn verify(&self) -> Result<(), BenchError> {
        for (number, guard) in &self.guards {
            check(guard, BLOCK_BYTES, *number, |index| word(*number, index))?;
        }
        Ok(())
    }

    fn figures(&self) -> Result<Figures, BenchError> {
        let text = self.cache.guest().host_stats(Instant::now() + PATIENCE)?;
        let stats: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let figure = |name: &str| stats[name].as_u64().ok_or(BenchError::PartnerEnded);
        Ok(Figures {
            evictions: figure("evictions")?,
            looks: figure("lease_looks")?,
            words: figure("lease_words_looked")?,
            look_ns: figure("lease_look_ns")?,
        })
    }
}

/// Figures of the host.
struct Figures {
    evictions: u64,
    looks: u64,
    words: u64,
    look_ns: u64,
}

impl Figures {
    fn since(&self, before: &Figures) -> Looks {
        let looks = (self.looks - before.looks).max(1) as f64;
        let evictions = self.evictions - before.evictions;
        let ns = (self.look_ns - before.look_ns) as f64;
        Looks {
            evictions_per_look: evictions as f64 / looks,
            words_per_look: (self.words - before.words) as f64 / looks,
            ns_per_look: ns / looks,
            ns_per_eviction: ns / evictions.max(1) as f64,
        }
    }
}
