//! What a replay is to do: shared by `replay` and `demo`.

use crate::cli::ReplayArgs;
use crate::exit::Failure;
use onecopy::policy::PolicyKind;
use onecopy::replay::generator::{GeneratorOptions, generate};
use onecopy::replay::trace::Trace;
use std::path::PathBuf;
use std::time::Duration;

/// Room in the pool beside the published blocks, in blocks for each guest: its magazine and what it
/// is filling.
const BLOCKS_PER_GUEST: u64 = 64;
/// Room for extents that are partly used, in bytes.
const SLACK_BYTES: u64 = 64 << 20;

/// Where requests come from. Each process reads or makes them for itself.
#[derive(Clone, Debug)]
pub enum Source {
    /// A trace file.
    File(PathBuf),
    /// The built-in generator with this seed.
    Generator(u64),
}

impl Source {
    pub fn load(&self) -> Result<Trace, Failure> {
        match self {
            Source::File(path) => Trace::read(path).map_err(Failure::refused),
            Source::Generator(seed) => {
                let options = GeneratorOptions { seed: *seed, ..GeneratorOptions::default() };
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
    pub kills: Kills,
    /// The host's segment, if the replay does not have one of its own.
    pub segment: Option<PathBuf>,
    pub pool_bytes: u64,
    pub pool_bytes_max: u64,
}

/// When guests are killed.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    pub every: Option<Duration>,
    pub most: u32,
}

impl Plan {
    pub fn from_args(args: &ReplayArgs) -> Result<Plan, Failure> {
        let source = Source::File(args.trace.clone());
        let trace = source.load()?;
        let requests = trace.request_count().min(args.requests.unwrap_or(usize::MAX));
        let block_bytes = args.block_size.bytes();
        if block_bytes == 0 {
            return Err(Failure::Refused("--block-size is 0, expected at least 1 byte".into()));
        }
        let capacity_blocks = args.capacity_blocks;
        let needed = pool_bytes_needed(&trace, capacity_blocks, block_bytes, args.guests);
        let pool_bytes_max = args.size_max.map_or(needed, |size| size.bytes());
        Ok(Plan {
            requests,
            guests: args.guests,
            block_bytes,
            capacity_blocks,
            policy: args.policy,
            kills: Kills {
                every: args.kill_guest_every.map(Duration::from_secs_f64),
                most: u32::MAX,
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
    capacity_blocks: Option<u64>,
    block_bytes: u64,
    guests: u32,
) -> u64 {
    let distinct = trace.distinct_count() as u64;
    let published = capacity_blocks.map_or(distinct, |capacity| capacity.min(distinct));
    let longest = trace.requests().map(|request| request.block_ids.len()).max().unwrap_or(0) as u64;
    let blocks = published + u64::from(guests) * (BLOCKS_PER_GUEST + longest);
    // Slots are at most an eighth larger than what is in them, and never smaller than a granule.
    let slot_bytes = block_bytes.max(4096).next_multiple_of(4096);
    blocks * (slot_bytes + slot_bytes / 8) + SLACK_BYTES
}
