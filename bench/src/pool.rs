//! What it is worth to have memory populated, in huge pages or on certain nodes: the first fill of slots
//! that nobody has touched, lookups all over a large cache, and what the start of a host pays for it.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::memory::{HugePages, MemoryOptions, NodeSet, NumaPolicy};

use crate::Options;
use crate::blocks::{Filled, Scattered, attach, key, word};
use crate::cache_host::{CacheHost, Ground, Size};
use crate::error::BenchError;
use crate::get::{BLOCK_BYTES, BLOCKS, timed};
use crate::payload::{check, check_word, fill};
use crate::pin::Cores;
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Bytes that one round fills, or a start takes, for each of its trips.
const TRIP_BYTES: u64 = 1 << 20;
/// MiB of a round of fills, and of a start.
const FILL_TRIPS: u64 = 64;
const START_TRIPS: u64 = 1024;
/// Lookups of a round.
const LOOKUPS: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
const PLAIN: MemoryOptions =
    MemoryOptions { prefault: false, huge_pages: HugePages::Off, numa: None };
const PREFAULT: MemoryOptions = MemoryOptions { prefault: true, ..PLAIN };
const HUGE: MemoryOptions = MemoryOptions { huge_pages: HugePages::Require, ..PREFAULT };

/// Where there are huge pages. What needs a place that is not named is left out.
#[derive(Debug, Clone, Args)]
pub(crate) struct Places {
    /// A directory on a tmpfs that is mounted with huge=advise, within_size or always.
    #[arg(long)]
    huge_place: Option<PathBuf>,
    /// A directory on a hugetlbfs with enough huge pages.
    #[arg(long)]
    hugetlbfs: Option<PathBuf>,
}

/// One way to take memory, and what its guests do about it.
#[derive(Debug, Clone)]
struct Way {
    name: &'static str,
    text: &'static str,
    ground: Ground,
    /// Whether guests populate what they are granted; `None`: as the host does.
    populate: Option<bool>,
}

pub(crate) fn run(
    options: &Options,
    places: &Places,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let ways = ways(places);
    for (slots, slot_bytes) in [("64k", 64 << 10), ("1m", 1 << 20)] {
        for way in &ways {
            compare_fills((slots, slot_bytes), way, options, cores, report)?;
        }
    }
    for way in ways.iter().filter(|way| way.populate.is_none()) {
        compare_reads(way, options, cores, report)?;
    }
    for way in ways.iter().filter(|way| way.ground.memory.huge_pages != HugePages::Off) {
        compare_lookups(way, options, cores, report)?;
    }
    let placed =
        NumaPolicy { mode: onecopy_shm::sys_numa::NumaMode::Interleave, nodes: NodeSet::ALL };
    let numa = Way {
        name: "numa",
        text: "memory from each node in turn",
        ground: Ground {
            memory: MemoryOptions { numa: Some(placed), ..PLAIN },
            ..Ground::default()
        },
        populate: None,
    };
    // What only the guest does costs a start nothing.
    let starts = ways.iter().filter(|way| way.populate.is_none()).chain([&numa]);
    starts.into_iter().try_for_each(|way| compare_starts(way, options, cores, report))
}

fn ways(places: &Places) -> Vec<Way> {
    let ground = |memory| Ground { memory, ..Ground::default() };
    let mut ways = vec![
        Way {
            name: "populate",
            text: "memory that only the guest populates, slot by slot",
            ground: ground(PLAIN),
            populate: Some(true),
        },
        Way {
            name: "prefault_host",
            text: "memory that only the host populates",
            ground: ground(PREFAULT),
            populate: Some(false),
        },
        Way {
            name: "prefault",
            text: "memory that the host populates and the guest maps",
            ground: ground(PREFAULT),
            populate: None,
        },
    ];
    match places.huge_place.clone() {
        Some(place) => ways.push(Way {
            name: "huge",
            text: "memory populated in huge pages of tmpfs",
            ground: Ground { place: Some(place), ..ground(HUGE) },
            populate: None,
        }),
        None => eprintln!("onecopy-bench: no --huge-place, nothing about huge pages of tmpfs"),
    }
    match places.hugetlbfs.clone() {
        Some(place) => ways.push(Way {
            name: "hugetlbfs",
            text: "memory populated on hugetlbfs",
            ground: Ground { pool_place: Some(place), ..ground(PREFAULT) },
            populate: None,
        }),
        None => eprintln!("onecopy-bench: no --hugetlbfs, nothing about pools there"),
    }
    ways
}

fn compare_fills(
    (slots, slot_bytes): (&str, u64),
    way: &Way,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(FILL_TRIPS);
    let count = (trips * TRIP_BYTES / slot_bytes).max(2);
    let label = Label {
        name: &format!("pool_fill_{slots}_{}", way.name),
        text: &format!("reserving and filling slots of {slot_bytes} bytes first: {}", way.text),
        baseline: "the same in memory that is only reserved",
        ..Label::default()
    };
    let plain = Ground::default();
    let compared = interleave(
        options.rounds,
        || first_fill(cores, &plain, Some(false), (count, slot_bytes)),
        || first_fill(cores, &way.ground, way.populate, (count, slot_bytes)),
    )?;
    report.figure(&label, &compared);
    Ok(())
}

/// Nanoseconds for each slot of a new segment, to reserve it and to fill it.
fn first_fill(
    cores: &Cores,
    ground: &Ground,
    populate: Option<bool>,
    (count, slot_bytes): (u64, u64),
) -> Result<f64, BenchError> {
    // Sixteen of a class can be more than an eighth of the pool, and magazines are full.
    let pool_bytes = (count + 64) * slot_bytes + (64 << 20);
    let size = Size { pool_bytes, ..Size::default() };
    let host = CacheHost::start_on(cores, size, ground)?;
    let mut guest = GuestOptions::at(host.segment());
    guest.populate = populate;
    let guest = Guest::attach(guest)?;
    let mut source = vec![0; slot_bytes as usize];
    fill(&mut source, |index| word(0, index));
    let mut filled = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for _ in 0..count {
        let mut reservation = guest.reserve(slot_bytes, Instant::now() + PATIENCE)?;
        reservation.copy_from_slice(&source);
        filled.push(reservation);
    }
    let took = start.elapsed();
    for reservation in &filled {
        check(reservation, slot_bytes as usize, 0, |index| word(0, index))?;
    }
    Ok(took.as_nanos() as f64 / count as f64)
}

fn compare_reads(
    way: &Way,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let count = options.trips.unwrap_or(FILL_TRIPS);
    let label = Label {
        name: &format!("pool_read_1m_{}", way.name),
        text: &format!("reading blocks of 1 MiB for the first time in a guest: {}", way.text),
        baseline: "the same in memory that is only reserved",
        ..Label::default()
    };
    let plain = Ground::default();
    let compared = interleave(
        options.rounds,
        || first_read(cores, &plain, count),
        || first_read(cores, &way.ground, count),
    )?;
    report.figure(&label, &compared);
    Ok(())
}

/// Nanoseconds for each block of 1 MiB that another guest has published, to find it and to check it all.
fn first_read(cores: &Cores, ground: &Ground, count: u64) -> Result<f64, BenchError> {
    let block_bytes = TRIP_BYTES as usize;
    let host = CacheHost::start_on(cores, Size::of_large_blocks(count, TRIP_BYTES), ground)?;
    let writer = Filled::publish(host, count, block_bytes)?;
    let reader = attach(writer.host.segment())?;
    let mut numbers = 0..count;
    timed(count, || {
        let number = numbers.next().unwrap_or(0);
        let block = reader.lookup_ref(&key(number))?.ok_or(BenchError::Missing { number })?;
        check(&block, block_bytes, number, |index| word(number, index))
    })
}

fn compare_lookups(
    way: &Way,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let count = options.trips.unwrap_or(BLOCKS);
    let size = Size::of_blocks(count, BLOCK_BYTES as u64);
    let filled = |ground: &Ground| {
        let host = CacheHost::start_on(cores, size, ground)?;
        let filled = Filled::publish(host, count, BLOCK_BYTES)?;
        filled.verify()?;
        Ok::<Filled, BenchError>(filled)
    };
    let (small, huge) =
        (filled(&Ground { memory: PREFAULT, ..Ground::default() })?, filled(&way.ground)?);
    let trips = options.trips.unwrap_or(LOOKUPS);
    let (mut theirs, mut ours) = (Scattered::new(1, count), Scattered::new(1, count));
    let label = Label {
        name: &format!("pool_get_{}", way.name),
        text: &format!("direct lookup with lease at random, first word read: {}", way.text),
        baseline: "the same in populated memory of small pages",
        ..Label::default()
    };
    let compared = interleave(
        options.rounds,
        || timed(trips, || look_up(&small, theirs.next())),
        || timed(trips, || look_up(&huge, ours.next())),
    )?;
    small.verify()?;
    huge.verify()?;
    report.figure(&label, &compared);
    Ok(())
}

fn look_up(filled: &Filled, number: u64) -> Result<(), BenchError> {
    let block = filled.cache.lookup_ref(black_box(&key(number)))?;
    let block = block.ok_or(BenchError::Missing { number })?;
    let (found, expected) = (block.len(), BLOCK_BYTES);
    match block.first_chunk::<8>() {
        Some(first) => check_word(number, 0, u64::from_ne_bytes(*first), word(number, 0)),
        None => Err(BenchError::WrongLength { trip: number, found, expected }),
    }
}

fn compare_starts(
    way: &Way,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(START_TRIPS);
    let size = Size { pool_bytes: trips.max(4) * TRIP_BYTES, ..Size::default() };
    let label = Label {
        name: &format!("pool_start_{}", way.name),
        text: &format!("starting a host with {} MiB of pool: {}", trips.max(4), way.text),
        baseline: "the same with memory that is only reserved",
        ..Label::default()
    };
    let start = |ground: &Ground| Ok(CacheHost::start_on(cores, size, ground)?.start_ns());
    let plain = Ground::default();
    let compared = interleave(options.rounds, || start(&plain), || start(&way.ground))?;
    report.figure(&label, &compared);
    Ok(())
}
