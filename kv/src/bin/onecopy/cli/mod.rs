//! The command line: what can be asked, in words that teach.

mod blocks;
mod guests;
mod host;
mod peers;
mod replay;
mod values;

pub use blocks::{GetArgs, KeyArgs, PutArgs, RmArgs};
pub use host::{DestroyArgs, MemoryArgs, ServeArgs};
pub use peers::{PeersArgs, PeersCommand, SettleArgs};
pub use replay::{DemoArgs, Lookup, ReplayArgs, ReplayGuestArgs};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use values::seconds;

const AFTER_HELP: &str = "\
A host serves one segment (a directory in shared memory); guests on the same
machine attach to it:
  onecopy serve --size 1G &
  echo hello | onecopy put greeting
  onecopy get greeting

Nothing at hand to serve? `onecopy demo` shows what it does in a few seconds.

Sizes are bytes or carry a unit of powers of 1024: 4096, 16K, 64M, 1.5G, 2T.

Exit codes:
  0    done
  1    there is no block under the key (get, exists, rm)
  2    the command line is wrong: an unknown flag, a value out of range, a conflict
  3    no segment or no host there, or it cannot be started, attached to or removed
  4    refused: no room, too large, busy, out of time, a file that cannot be used
  5    the data is wrong: a mismatch, a corrupt block, an audit that is not clean
  130  Ctrl-C or SIGTERM before it was done (serve ends with 0: it is done then)

Errors are one line on standard error. With --json standard output is one JSON
object, and nothing where there is none to give. RUST_LOG=info (or debug, or
onecopy_transport=debug) says on standard error what happens; the default is warn.";

// r[impl cli.help]
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
    Destroy(DestroyArgs),
    /// Store standard input under a key; the first writer of a key wins
    Put(PutArgs),
    /// Write the block of a key to standard output
    Get(GetArgs),
    /// Exit with 0 if there is a block under the key, with 1 if not
    Exists(KeyArgs),
    /// Delete the block of a key; its memory is reused after its last reader
    Rm(RmArgs),
    /// Measure a request and its answer
    Ping(PingArgs),
    /// Print the host's figures
    Stat(Common),
    /// Show how a segment's memory is divided and audit it, with or without a host
    #[command(after_help = INSPECT_HELP)]
    Inspect(Common),
    /// List the peers of a segment, with or without a host, or settle one that is not proven dead
    Peers(PeersArgs),
    /// Replay a trace of LLM requests with several guest processes, every byte checked
    Replay(ReplayArgs),
    /// Show what it does: four processes, growth, a SIGKILL, and a table at the end
    Demo(DemoArgs),
    /// A guest process of `replay`
    #[command(hide = true)]
    ReplayGuest(ReplayGuestArgs),
}

const INSPECT_HELP: &str = "\
A live segment is audited by its host. A dead one is audited on a private copy of
its tables, as the next host would find it; nothing in it is changed. Exit code 5
when the audit is not clean.";

// r[impl cli.environment]
/// Which segment is meant.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Directory of the segment [default: /dev/shm/onecopy-<uid>/default]
    #[arg(long, value_name = "DIR", env = "ONECOPY_SEGMENT")]
    pub segment: Option<PathBuf>,
}

// r[impl cli.timeout]
/// What every command that speaks to a host takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object for machines
    #[arg(long)]
    pub json: bool,
    /// Give up after so many seconds, 0.001 to 86400
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "ONECOPY_TIMEOUT",
          value_parser = seconds)]
    pub timeout: f64,
}

#[derive(Debug, Args)]
pub struct PingArgs {
    #[command(flatten)]
    pub common: Common,
    /// How many requests, one after the other, 1 to 10000000
    #[arg(short, long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: u32,
}
