//! What a replay is to do: shared by `replay` and `demo`.

use crate::cli::{Lookup, ReplayArgs};
use crate::exit::Failure;
use onecopy::policy::PolicyKind;
use onecopy::replay::generator::{GeneratorOptions, generate};
use onecopy::replay::trace::Trace;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Room in the pool beside the published blocks, in blocks for each guest: its magazine and what it
/// is filling.
const BLOCKS_PER_GUEST: u64 = 64;
/// Room for extents that are partly used, in bytes.
const SLACK_BYTES_MIN: u64 = 16 << 20;
const SLACK_BYTES_MAX: u64 = 64 << 20;
/// So many blocks, between these two.
const SLACK_BLOCKS: u64 = 1024;

// r[impl cli.replay.trace]
/// Where requests come from. Each process reads or makes them for itself.
#[derive(Clone, Debug)]
pub enum Source {
    /// A trace file.
    File(PathBuf),
    /// The built-in generator.
    Generator {
        /// Everything random follows from it.
        seed: u64,
        /// Conversations in all.
        conversations: u32,
    },
}

impl Source {
    pub fn load(&self) -> Result<Trace, Failure> {
        match self {
            Source::File(path) => Trace::read(path).map_err(Failure::refused),
            Source::Generator { seed, conversations } => {
                let (seed, conversations) = (*seed, *conversations);
                let options =
                    GeneratorOptions { seed, conversations, ..GeneratorOptions::default() };
                generate(&options).map_err(Failure::refused)
            }
        }
    }
}

/// One replay.
#[derive(Debug)]
pub struct Plan {
    pub source: Source,
    pub trace: Trace,
    pub requests: usize,
    pub guests: u32,
    pub block_bytes: u64,
    /// Published blocks at most; `None`: nothing is evicted.
    pub capacity_blocks: Option<u64>,
    pub policy: PolicyKind,
    /// How guests find blocks.
    pub lookup: Lookup,
    /// How much faster than its timestamps the trace is played; `None`: as fast as guests can.
    pub speed: Option<f64>,
    pub kills: Kills,
    /// The host's segment, if the replay does not have one of its own.
    pub segment: Option<PathBuf>,
    pub pool_bytes: u64,
    pub pool_bytes_max: u64,
}

/// When guests are killed.
#[derive(Clone, Copy, Debug)]
pub enum Kills {
    Never,
    /// One each time that so much time has passed.
    Every(Duration),
    /// One, when so many requests are done.
    Once {
        requests_done: usize,
    },
}

impl Plan {
    pub fn from_args(args: &ReplayArgs) -> Result<Plan, Failure> {
        let source = Source::File(args.trace.clone());
        let trace = source.load()?;
        let requests = args.requests.map_or(usize::MAX, |requests| requests as usize);
        let requests = trace.request_count().min(requests);
        let block_bytes = args.block_size.bytes();
        let capacity_blocks = args.capacity_blocks;
        let needed = pool_bytes_needed(&trace, requests, capacity_blocks, block_bytes, args.guests);
        let pool_bytes_max = args.size_max.map_or(needed, |size| size.bytes());
        if let Some(size_max) = args.size_max.filter(|size_max| args.size > *size_max) {
            let size = args.size;
            let text = format!("--size {size} is larger than --size-max {size_max}");
            return Err(Failure::Usage(text));
        }
        Ok(Plan {
            requests,
            guests: args.guests,
            block_bytes,
            capacity_blocks,
            policy: args.policy,
            lookup: args.lookup,
            speed: args.speed,
            kills: match args.kill_guest_every {
                Some(seconds) => Kills::Every(Duration::from_secs_f64(seconds)),
                None => Kills::Never,
            },
            segment: args.segment.clone(),
            pool_bytes: args.size.bytes().min(pool_bytes_max),
            pool_bytes_max,
            source,
            trace,
        })
    }
}

/// Pool that holds what may be published, what the guests have in hand, and what waits for its last
/// reader.
pub fn pool_bytes_needed(
    trace: &Trace,
    requests: usize,
    capacity_blocks: Option<u64>,
    block_bytes: u64,
    guests: u32,
) -> u64 {
    let requests = || trace.requests().take(requests).map(|request| request.block_ids);
    let distinct = requests().flatten().collect::<HashSet<_>>().len() as u64;
    let published = capacity_blocks.map_or(distinct, |capacity| capacity.min(distinct));
    let longest = requests().map(<[u64]>::len).max().unwrap_or(0) as u64;
    let blocks = published + u64::from(guests) * (BLOCKS_PER_GUEST + longest);
    // Slots are at most an eighth larger than what is in them, and never smaller than a granule.
    let slot_bytes = block_bytes.max(4096).next_multiple_of(4096);
    let slot_bytes = slot_bytes + slot_bytes / 8;
    let slack = slot_bytes.saturating_mul(SLACK_BLOCKS).clamp(SLACK_BYTES_MIN, SLACK_BYTES_MAX);
    blocks.saturating_mul(slot_bytes).saturating_add(slack)
}
