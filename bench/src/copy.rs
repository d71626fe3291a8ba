//! Filling slots of a pool from private memory that is in no cache: what other ways of copying gain over
//! `copy_from_slice`, and what whoever reads the block next pays for them.

mod kernels;
mod ways;

use std::hint::black_box;
use std::time::Instant;

use onecopy::cache::{BlockRef, Cache, PublishOptions};

use crate::Options;
use crate::blocks::{attach, key};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::payload::fill;
use crate::pin::{self, Cores};
use crate::report::{Label, Report};
use crate::rounds::compare;
use kernels::LINE_BYTES;
use ways::Way;

/// Sizes of blocks that are copied in, in bytes, with what they are called.
const SIZES: [(usize, &str); 5] =
    [(64 << 10, "64k"), (1 << 20, "1m"), (4 << 20, "4m"), (8 << 20, "8m"), (16 << 20, "16m")];
/// Bytes that each way copies in one round: several times what the processor's caches hold of them.
const ROUND_BYTES: usize = 128 << 20;
/// Bytes of a round for each of its `--trips`.
const TRIP_BYTES: usize = 64 << 10;
/// Blocks of a round at least: one that is read here and one that is read on the other core.
const BLOCKS_MIN: usize = 2;
/// How often blocks are copied from other places of the source before the places are the same again.
const SHIFTS: u64 = 4096;

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let ways = Way::all(cores.second());
    let round_bytes = options.trips.map_or(ROUND_BYTES, |trips| {
        usize::try_from(trips).unwrap_or(1).saturating_mul(TRIP_BYTES)
    });
    for (block_bytes, size) in SIZES {
        let mut copies = Copies::start(cores, block_bytes, round_bytes)?;
        copies.round(Way::Memcpy)?;
        let mut measured: Vec<Vec<Times>> = ways.iter().map(|_| Vec::new()).collect();
        // One round of each does not count: it touches the slots.
        for round in 0..=options.rounds {
            for (way, times) in ways.iter().zip(&mut measured) {
                let taken = copies.round(*way)?;
                if round > 0 {
                    times.push(taken);
                }
            }
        }
        tell(report, size, &ways, &measured);
    }
    Ok(())
}

/// Each way beside the first, which is the baseline.
fn tell(report: &mut Report, size: &str, ways: &[Way], measured: &[Vec<Times>]) {
    let Some((baseline, others)) = measured.split_first() else { return };
    for (way, times) in ways.iter().skip(1).zip(others) {
        for part in [Part::Fill, Part::ReadHere, Part::ReadThere, Part::Whole] {
            let pairs: Option<Vec<(f64, f64)>> = baseline
                .iter()
                .zip(times)
                .map(|(baseline, times)| Some((part.of(baseline)?, part.of(times)?)))
                .collect();
            let Some(pairs) = pairs else { continue };
            let label = Label {
                name: &format!("copy_{size}_{}{}", way.name(), part.suffix()),
                text: &format!("{size}: {}, {}", way.text(), part.text()),
                baseline: "copy_from_slice",
                ..Label::default()
            };
            report.figure(&label, &compare(&pairs));
        }
    }
}

/// Nanoseconds for each block.
#[derive(Debug, Clone, Copy)]
struct Times {
    fill: f64,
    read_here: f64,
    /// None where there is one core only.
    read_there: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Fill,
    ReadHere,
    ReadThere,
    Whole,
}

impl Part {
    fn of(self, times: &Times) -> Option<f64> {
        match self {
            Part::Fill => Some(times.fill),
            Part::ReadHere => Some(times.read_here),
            Part::ReadThere => times.read_there,
            Part::Whole => Some(times.fill + times.read_there.unwrap_or(times.read_here)),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Part::Fill => "",
            Part::ReadHere => "_read_here",
            Part::ReadThere => "_read_there",
            Part::Whole => "_whole",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Part::Fill => "filling",
            Part::ReadHere => "reading right after on the same core",
            Part::ReadThere => "reading right after on another core",
            Part::Whole => "filling, and reading on another core if there is one",
        }
    }
}

/// A cache that is full of blocks that were copied in, and what they are copied from.
struct Copies {
    cache: Cache,
    source: Vec<u8>,
    block_bytes: usize,
    blocks: u64,
    second: Option<usize>,
    next: u64,
    _host: CacheHost,
}

impl Copies {
    fn start(cores: &Cores, block_bytes: usize, round_bytes: usize) -> Result<Copies, BenchError> {
        let blocks = (round_bytes / block_bytes).max(BLOCKS_MIN);
        let size = Size {
            pool_bytes: ((blocks + blocks / 2 + 8) * block_bytes) as u64,
            granule_bytes: 4096,
            capacity_blocks: blocks as u64,
        };
        let host = CacheHost::start_sized(cores, size)?;
        let cache = attach(host.segment())?;
        let mut source = vec![0; blocks * block_bytes + SHIFTS as usize * LINE_BYTES];
        fill(&mut source, |index| index as u64);
        let (blocks, second) = (blocks as u64, cores.second());
        Ok(Copies { cache, source, block_bytes, blocks, second, next: 0, _host: host })
    }

    /// Copies so many blocks in; every second one is read on this core, the others on another.
    fn round(&mut self, way: Way) -> Result<Times, BenchError> {
        let (mut fill, mut here, mut there) = (0, 0, 0);
        for _ in 0..self.blocks {
            let number = self.next;
            self.next += 1;
            fill += self.copy_in(number, way)?;
            match (number % 2, self.second) {
                (1, Some(core)) => there += self.read_there(number, core)?,
                (1, None) => {}
                _ => here += self.read_here(number)?,
            }
        }
        let each = |ns: u128, blocks: u64| ns as f64 / blocks.max(1) as f64;
        let half = self.blocks / 2;
        Ok(Times {
            fill: each(fill, self.blocks),
            read_here: each(here, self.blocks - half),
            read_there: self.second.map(|_| each(there, half)),
        })
    }

    /// Publishes one block; the nanoseconds that filling its slot took.
    fn copy_in(&self, number: u64, way: Way) -> Result<u128, BenchError> {
        let mut slot = self.cache.reserve(self.block_bytes as u64)?;
        let took = way.copy(&mut slot[..self.block_bytes], self.source_of(number))?;
        let options = PublishOptions::default();
        match slot.publish(&key(number), self.block_bytes as u64, options)?.is_first() {
            true => Ok(took),
            false => Err(BenchError::NotFirst { number }),
        }
    }

    /// What a block is copied from: in each round a line further on, so that no slot has the right bytes
    /// before they are copied.
    fn source_of(&self, number: u64) -> &[u8] {
        let shift = (number / self.blocks % SHIFTS) as usize * LINE_BYTES;
        let first = (number % self.blocks) as usize * self.block_bytes + shift;
        &self.source[first..first + self.block_bytes]
    }

    fn read_here(&self, number: u64) -> Result<u128, BenchError> {
        let block = self.block(number)?;
        let took = read(&block);
        self.verify(number, &block)?;
        Ok(took)
    }

    /// The other core reads when it is awake and there, so that its waking is not measured.
    fn read_there(&self, number: u64, core: usize) -> Result<u128, BenchError> {
        let block = self.block(number)?;
        let bytes: &[u8] = &block;
        let took = std::thread::scope(|scope| {
            let reader = scope.spawn(move || pin::pin(core).map(|()| read(bytes)));
            reader.join().unwrap_or(Err(BenchError::PartnerEnded))
        })?;
        self.verify(number, &block)?;
        Ok(took)
    }

    fn block(&self, number: u64) -> Result<BlockRef<'_>, BenchError> {
        self.cache.lookup_ref(&key(number))?.ok_or(BenchError::Missing { number })
    }

    fn verify(&self, number: u64, block: &[u8]) -> Result<(), BenchError> {
        match block == self.source_of(number) {
            true => Ok(()),
            false => Err(BenchError::WrongCopy { number }),
        }
    }
}

/// Nanoseconds that it takes to read every byte.
fn read(block: &[u8]) -> u128 {
    let start = Instant::now();
    let words = block.as_chunks::<8>().0.iter();
    black_box(words.fold(0u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word))));
    start.elapsed().as_nanos()
}
