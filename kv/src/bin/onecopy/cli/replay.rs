//! `replay` and `demo`.

use super::values::{positive, seconds, speed};
use clap::{Args, ValueEnum};
use onecopy::cache::LookupPath;
use onecopy::policy::PolicyKind;
use onecopy::size::ByteSize;
use std::path::PathBuf;

/// How a guest finds a block, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lookup {
    Direct,
    Ring,
}

impl Lookup {
    pub fn path(self) -> LookupPath {
        match self {
            Lookup::Direct => LookupPath::Direct,
            Lookup::Ring => LookupPath::Ring,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Lookup::Direct => "direct",
            Lookup::Ring => "ring",
        }
    }
}

const REPLAY_HELP: &str = "\
The trace has one JSON object a line with timestamp, input_length, output_length
and hash_ids, one id for each 512 tokens of the prompt. A request looks its blocks
up until the first miss, checks every byte of what it found and stores the rest.
Guests take requests from one shared cursor, in order, as fast as they can, or at
the trace's own pace with --speed: 360 plays an hour in ten seconds.

It starts a host of its own on a private temporary segment and leaves nothing
behind. With --segment it uses a host that is there; then size, capacity and policy
are that host's, so their flags conflict with it, and the blocks stay there.

Latencies are per key: what a batch took, divided by its keys. Making up and
checking the bytes is not in them. A killed guest is replaced and its request done
again; recovery_ms is from the kill until the host has taken back what it held.

Exit code 5 when a byte was wrong, a killed guest was not recovered, or the audit
is not clean.

Examples:
  onecopy replay --trace trace.jsonl --guests 1 --capacity-blocks 10000
  onecopy replay --trace trace.jsonl --speed 600 --kill-guest-every 0.2 --json";

#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// Trace: a file of JSON lines
    #[arg(long, value_name = "FILE", env = "ONECOPY_TRACE")]
    pub trace: PathBuf,
    /// Use the host of this segment instead of one of its own on a private temporary segment
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["capacity_blocks", "policy", "size", "size_max"])]
    pub segment: Option<PathBuf>,
    /// Guest processes, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub guests: u32,
    /// Bytes of one block, at least 1
    #[arg(long, value_name = "SIZE", default_value = "16K", value_parser = positive)]
    pub block_size: ByteSize,
    /// Evict beyond so many blocks [default: nothing is evicted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub capacity_blocks: Option<u64>,
    /// Which block goes first: lru or fifo
    #[arg(long, default_value = "lru")]
    pub policy: PolicyKind,
    /// How a guest finds a block: direct, it searches the index itself; ring, it asks the host
    #[arg(long, value_enum, default_value = "direct", hide_possible_values = true)]
    pub lookup: Lookup,
    /// Let requests arrive as their timestamps say, so many times as fast; 0.001 to 1000000
    /// [default: each as soon as a guest is free]
    #[arg(long, value_name = "X", value_parser = speed)]
    pub speed: Option<f64>,
    /// Kill a guest in the middle of a request every so many seconds, and replace it; 0.001 to 86400
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub kill_guest_every: Option<f64>,
    /// Bytes of pool to start with; it grows as needed
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = positive)]
    pub size: ByteSize,
    /// Largest size the pool may grow to [default: what the trace needs]
    #[arg(long, value_name = "SIZE", value_parser = positive)]
    pub size_max: Option<ByteSize>,
    /// Stop after so many requests of the trace, at least 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: Option<u32>,
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
}

const DEMO_HELP: &str = "\
Nothing to download, nothing left behind. It takes a few seconds and up to 150 MiB
of /dev/shm; where there is less, blocks are smaller. The same seed gives the same
conversations.";

#[derive(Debug, Args)]
#[command(after_help = DEMO_HELP)]
pub struct DemoArgs {
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
    /// Seed of the conversations
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many conversations, 1 to 100000; with fewer it is over sooner
    #[arg(long, value_name = "N", default_value_t = 6000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub conversations: u32,
    /// How a guest finds a block: direct, it searches the index itself; ring, it asks the host
    #[arg(long, value_enum, default_value = "direct", hide_possible_values = true)]
    pub lookup: Lookup,
    /// Kill a guest every so many seconds, instead of one half way; 0.001 to 86400
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub kill_guest_every: Option<f64>,
}

/// How a guest process of `replay` finds its work; written by `replay` itself.
#[derive(Debug, Args)]
pub struct ReplayGuestArgs {
    #[arg(long)]
    pub segment: PathBuf,
    #[arg(long)]
    pub place: u32,
    #[arg(long)]
    pub run: u64,
    #[arg(long)]
    pub block_bytes: u64,
    #[arg(long, value_enum)]
    pub lookup: Lookup,
    /// When the first request arrives, on the monotonic clock.
    #[arg(long)]
    pub started_ns: u64,
    /// How much faster than its timestamps the trace is played.
    #[arg(long)]
    pub speed: Option<f64>,
    /// Process id of the replay.
    #[arg(long)]
    pub supervisor: u32,
    #[arg(long)]
    pub trace: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long, default_value_t = 1)]
    pub conversations: u32,
}
