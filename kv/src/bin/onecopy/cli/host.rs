//! `serve` and `destroy`.

use super::Place;
use super::guests::{AllowArgs, QuotaArgs};
use super::values::{granule, positive, ring, seconds};
use clap::Args;
use onecopy::policy::PolicyKind;
use onecopy::size::ByteSize;
use onecopy_transport::memory::{HugePages, NumaPolicy};
use std::path::PathBuf;

const SERVE_HELP: &str = "\
A segment outlives its host: blocks that were published are there again when it is
served again, also after a kill -9. Sizes, granule and the most guests belong to the
segment; once it is made, the flags for them change nothing. Those for memory hold
for what is taken from now on (--prefault populates what is there, too).
`onecopy destroy` removes it.

When it serves, it says so in one line on standard output (with --json an object
with segment, pid, boot_epoch, pool_bytes, pool_bytes_max and blocks), so that a
script can wait for it. Ctrl-C and SIGTERM: it says goodbye to its guests and exits
with 0. A second host on the same segment is refused.

Examples:
  onecopy serve --size 4G --size-max 64G --capacity-bytes 60G
  onecopy serve --segment /dev/shm/me/cache --size 256M --rm
  onecopy serve --segment /mnt/shm/cache --prefault --huge-pages require --numa bind:0
  onecopy serve --pool /mnt/pmem0/onecopy.pool --size 32G --size-max 32G";

#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP)]
pub struct ServeArgs {
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object for machines when it serves
    #[arg(long)]
    pub json: bool,
    /// Bytes of pool to start with, at most --size-max; that much room is taken at once
    #[arg(long, value_name = "SIZE", default_value = "1G", env = "ONECOPY_SIZE",
          value_parser = positive)]
    pub size: ByteSize,
    /// Largest size the pool may grow to, at most 64T; cannot be changed later
    #[arg(long, value_name = "SIZE", default_value = "8G", env = "ONECOPY_SIZE_MAX",
          value_parser = positive)]
    pub size_max: ByteSize,
    /// File or devdax device for the pool, instead of a file in the segment's directory
    #[arg(long, value_name = "PATH", env = "ONECOPY_POOL")]
    pub pool: Option<PathBuf>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Remove the segment at the end instead of keeping it
    #[arg(long)]
    pub rm: bool,
    /// Evict beyond so many published blocks [default: evict only when the pool is full]
    #[arg(long, value_name = "N", conflicts_with = "capacity_bytes",
          env = "ONECOPY_CAPACITY_BLOCKS", value_parser = clap::value_parser!(u64).range(1..))]
    pub capacity_blocks: Option<u64>,
    /// Evict beyond so many bytes of published blocks
    #[arg(long, value_name = "SIZE", env = "ONECOPY_CAPACITY_BYTES", value_parser = positive)]
    pub capacity_bytes: Option<ByteSize>,
    /// Which block goes first when there has to be room: lru or fifo
    #[arg(long, default_value = "lru", env = "ONECOPY_POLICY")]
    pub policy: PolicyKind,
    /// Smallest slot; a power of two from 64 to 2M
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = granule)]
    pub granule: ByteSize,
    /// Largest block [default: an eighth of --size-max]
    #[arg(long, value_name = "SIZE", value_parser = positive)]
    pub slot_max: Option<ByteSize>,
    /// Most guests attached at once, 1 to 2048
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=2048))]
    pub guests_max: u32,
    /// Data capacity of each of a guest's two rings; a power of two from 1K to 64M
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = ring)]
    pub ring: ByteSize,
    /// Milliseconds within which a guest has to show that it lives, 1 to 60000; late for 30 of them
    /// it gets no new work
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub heartbeat_ms: u64,
    /// Milliseconds for which a host that was restarted keeps what was there before for guests that
    /// may have it pinned and have not come back yet
    #[arg(long, value_name = "MS", default_value_t = 10_000, env = "ONECOPY_RESTART_GRACE_MS",
          value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub restart_grace_ms: u64,
    /// Kill a guest that has been suspect (silent, or without its socket) for so many seconds, 0.001 to
    /// 86400, to get back what it holds [default: wait until it ends or is settled by hand]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub kill_suspects_after: Option<f64>,
    /// Never sleep: one core spins for the shortest answers
    #[arg(long)]
    pub polling: bool,
    #[command(flatten)]
    pub allow: AllowArgs,
    #[command(flatten)]
    pub quotas: QuotaArgs,
}

/// How the memory of pool, index and tables is taken. Chosen anew at each start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub struct MemoryArgs {
    /// Populate all memory before it is announced, at the start and whenever the pool grows, and have
    /// guests map what they are granted: a first fill then waits for no page
    #[arg(long, env = "ONECOPY_PREFAULT")]
    pub prefault: bool,
    /// Take pool, index and tables in huge pages: off, try (a warning where there are none) or require.
    /// Needs a tmpfs that is mounted with huge=advise, or --pool on hugetlbfs
    #[arg(long, value_name = "WHETHER", default_value = "off", env = "ONECOPY_HUGE_PAGES")]
    pub huge_pages: HugePages,
    /// Memory nodes that pages come from: bind:0,2-3, interleave:0-1 or interleave:all [default: the
    /// node of who takes them]
    #[arg(long, value_name = "NODES", env = "ONECOPY_NUMA")]
    pub numa: Option<NumaPolicy>,
}

const DESTROY_HELP: &str = "\
A segment with a live host is refused, and so is a directory that holds anything
else than a segment; in both cases nothing is touched.";

#[derive(Debug, Args)]
#[command(after_help = DESTROY_HELP)]
pub struct DestroyArgs {
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
}
