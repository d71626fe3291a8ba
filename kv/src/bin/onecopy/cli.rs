//! The command line: what can be asked, in words that teach.

use clap::{Args, Parser, Subcommand, ValueEnum};
use onecopy::policy::PolicyKind;
use onecopy::size::ByteSize;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Sizes are bytes or carry a unit of powers of 1024: 4096, 16K, 64M, 1.5G.

A host serves one segment (a directory); guests on the same machine attach to it:
  onecopy serve --size 1G &
  echo hello | onecopy put greeting
  onecopy get greeting

Exit codes:
  0    done
  1    the key is not there (get, exists, rm)
  2    the command line could not be understood
  3    there is no host, no segment, or it cannot be attached to or started
  4    refused: no room, too large, busy, out of time
  5    something is wrong with the data: a mismatch, a corrupt block, an audit that is not clean
  130  interrupted

RUST_LOG=info (or debug, or onecopy_transport=debug) says on standard error what happens.";

/// One copy of every KV-cache block, shared in place by every process on the machine.
#[derive(Debug, Parser)]
#[command(name = "onecopy", version, about, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be the host of a segment until Ctrl-C or SIGTERM; the segment is kept
    Serve(ServeArgs),
    /// Remove a segment that no live host owns
    Destroy(Common),
    /// Store standard input under a key; the first writer of a key wins
    Put(PutArgs),
    /// Write the block of a key to standard output
    Get(GetArgs),
    /// Exit with 0 if there is a block under the key, with 1 if not
    Exists(KeyArgs),
    /// Delete the block of a key; its memory is reused after its last reader
    Rm(KeyArgs),
    /// Measure a request and its answer
    Ping(PingArgs),
    /// Print the host's figures
    Stat(Common),
    /// Show how a segment's memory is divided and audit it, with or without a host
    Inspect(Common),
    /// Replay a trace of LLM requests with several guest processes, every byte checked
    Replay(ReplayArgs),
    /// Show what it does: four processes, growth, a SIGKILL, and a table at the end
    Demo(DemoArgs),
    /// A guest process of `replay`
    #[command(hide = true)]
    ReplayGuest(ReplayGuestArgs),
}

/// What every command that speaks to a segment takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Directory of the segment [default: /dev/shm/onecopy-<uid>/default]
    #[arg(long, value_name = "DIR", env = "ONECOPY_SEGMENT")]
    pub segment: Option<PathBuf>,
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, env = "ONECOPY_TIMEOUT",
          value_parser = seconds)]
    pub timeout: f64,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub common: Common,
    /// Bytes of pool to start with
    #[arg(long, value_name = "SIZE", default_value = "1G", env = "ONECOPY_SIZE")]
    pub size: ByteSize,
    /// Largest size the pool may grow to; cannot be changed later
    #[arg(long, value_name = "SIZE", default_value = "8G", env = "ONECOPY_SIZE_MAX")]
    pub size_max: ByteSize,
    /// File or devdax device for the pool, instead of a file in the segment's directory
    #[arg(long, value_name = "PATH", env = "ONECOPY_POOL")]
    pub pool: Option<PathBuf>,
    /// Remove the segment at the end instead of keeping it
    #[arg(long)]
    pub rm: bool,
    /// Evict beyond so many published blocks
    #[arg(long, value_name = "N", conflicts_with = "capacity_bytes")]
    pub capacity_blocks: Option<u64>,
    /// Evict beyond so many bytes of published blocks
    #[arg(long, value_name = "SIZE")]
    pub capacity_bytes: Option<ByteSize>,
    /// Which block goes first when there has to be room
    #[arg(long, default_value = "lru", env = "ONECOPY_POLICY")]
    pub policy: PolicyKind,
    /// Smallest slot; a power of two from 64 to 2M
    #[arg(long, value_name = "SIZE", default_value = "4K")]
    pub granule: ByteSize,
    /// Largest block [default: an eighth of --size-max]
    #[arg(long, value_name = "SIZE")]
    pub slot_max: Option<ByteSize>,
    /// Most guests attached at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub guests_max: u32,
    /// Data capacity of each of a guest's two rings; a power of two
    #[arg(long, value_name = "SIZE", default_value = "64K")]
    pub ring: ByteSize,
    /// Milliseconds within which a guest has to show that it lives
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub heartbeat_ms: u64,
    /// Never sleep: one core spins for the shortest answers
    #[arg(long)]
    pub polling: bool,
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(flatten)]
    pub common: Common,
    /// The key: any text, named by its BLAKE3 digest; or 64 hex digits with --hex
    pub key: String,
    /// The key is the 32-byte key itself, in hex
    #[arg(long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Read the block from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Let the block expire after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,
    /// Store a checksum with the block
    #[arg(long)]
    pub checksum: bool,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub key: KeyArgs,
    /// Write the block to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Check the block's checksum first, if it has one
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct PingArgs {
    #[command(flatten)]
    pub common: Common,
    /// How many requests
    #[arg(short, long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LookupPath {
    /// Ask the host over the ring
    Ring,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Trace: one JSON object a line with timestamp, input_length, output_length, hash_ids
    #[arg(long, value_name = "FILE", env = "ONECOPY_TRACE")]
    pub trace: PathBuf,
    /// Use the host of this segment instead of one of its own on a private temporary segment
    #[arg(long, value_name = "DIR")]
    pub segment: Option<PathBuf>,
    /// Guest processes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub guests: u32,
    /// Bytes of one block
    #[arg(long, value_name = "SIZE", default_value = "16K")]
    pub block_size: ByteSize,
    /// Evict beyond so many blocks [default: nothing is evicted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub capacity_blocks: Option<u64>,
    /// Which block goes first
    #[arg(long, default_value = "lru")]
    pub policy: PolicyKind,
    /// How a guest finds a block
    #[arg(long, value_enum, default_value = "ring")]
    pub lookup: LookupPath,
    /// Kill a guest in the middle of a request every so many seconds, and replace it
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub kill_guest_every: Option<f64>,
    /// Bytes of pool to start with; it grows as needed
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub size: ByteSize,
    /// Largest size the pool may grow to [default: what the trace needs]
    #[arg(long, value_name = "SIZE")]
    pub size_max: Option<ByteSize>,
    /// Stop after so many requests of the trace
    #[arg(long, value_name = "N")]
    pub requests: Option<usize>,
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
    /// Seed of the conversations
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
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
    #[arg(long)]
    pub trace: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.001..=86_400.0).contains(&value) => Ok(value),
        _ => Err("expected a number of seconds from 0.001 to 86400".to_owned()),
    }
}
