//! Benchmarks between two processes, each beside a baseline that says what the machine can do at
//! all: rounds of both are interleaved, and what counts is the ratio within a round.
//!
//! Every answer is checked; a wrong one ends the run. Nothing is counted that was not verified.

mod attach;
mod batch;
mod blocks;
mod bounce;
mod cache;
mod cache_host;
mod copy;
mod doubling;
mod error;
mod get;
mod host;
mod host_guest;
mod partner;
mod payload;
mod pin;
mod pool;
mod private;
mod readers;
mod reclaim;
mod report;
mod restart;
mod reuse;
mod ring;
mod rounds;
mod socket;
mod subject;
mod wait;
mod wake;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use error::BenchError;
use partner::Job;
use pin::Cores;
use report::Report;

/// Measure onecopy between two processes, beside what the machine can do at all.
#[derive(Debug, Parser)]
#[command(name = "onecopy-bench", version)]
struct Command {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// One JSON object per line: the machine and the commit first, then each figure.
    #[arg(long, global = true)]
    json: bool,
    /// Rounds of baseline and subject, one after the other.
    #[arg(long, global = true, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Round trips of one round, instead of each benchmark's own.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    trips: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// A request and its reply over a pair of rings, beside a cache line that two processes bounce.
    Ring,
    /// Publishing a block, the whole way, beside a cache line that two processes bounce.
    Publish,
    /// Looking a block up over the ring, lease and reading included, beside the bounced line.
    Lookup,
    /// Looking a block up in the index without asking the host, lease included: a million blocks at
    /// random, beside a private hash table.
    Get,
    /// The same with blocks that are in the processor's caches.
    GetHot,
    /// A block of 1 MiB, found, leased and read at both ends in place.
    #[command(name = "get-1m")]
    GetLarge,
    /// Lookups in batches of 64, a million and ten million blocks, beside a prefetched flat table.
    Batch,
    /// The longest run of keys that are there, 1,024 of them, for each block.
    Match,
    /// Filling slots from memory that is in no cache, other than by `copy_from_slice`, and reading them right
    /// after. A round copies 64 KiB for each of its trips, and two blocks at least.
    Copy,
    /// Publishing while the index doubles, beside as many publishes right before. `--trips` are the blocks of one
    /// round.
    Doubling,
    /// Attaching, and the lease table of a guest that holds nothing and of one that holds 500,000 leases.
    /// `--trips` are the attaches of one round, and the leases if they are fewer.
    Attach,
    /// Two processes that look blocks up at once, beside one alone.
    Readers,
    /// A reader of `readers`. Started by it.
    #[command(hide = true)]
    Reader(readers::ReaderArguments),
    /// Waking a sleeping peer with a doorbell, beside a bare byte over a Unix socket.
    Wake,
    /// Taking back 1000 slots of a guest that was killed, from a readable pidfd on, and apart from that
    /// what the kernel takes to end it. `--trips` are the deaths of one round.
    Reclaim,
    /// The guest of `reclaim`. Started by it.
    #[command(hide = true)]
    ReclaimGuest {
        segment: std::path::PathBuf,
        /// The core to stay on.
        #[arg(long)]
        core: Option<usize>,
    },
    /// Serving again after a kill with 1,000 to a million published blocks, beside a segment without.
    Restart,
    /// Publishing into a full cache while 64 guests hold 1,000 leases each, beside the same while they
    /// hold none. `--trips` are the blocks of one round.
    Reuse,
    /// The first fill of slots, random lookups and the start of a host, with memory that is populated, in
    /// huge pages or placed, beside memory that is not. `--trips` are the MiB of one round.
    Pool(pool::Places),
    /// What one host's core takes from 1 to 64 guests that publish and that look up, how even their
    /// shares are, and what idle guests cost. A round is 4 microseconds for each of its trips.
    Host,
    /// A guest of `host`. Started by it.
    #[command(hide = true)]
    HostGuest {
        segment: std::path::PathBuf,
        work: host_guest::Work,
        /// Which of the guests it is; with `idle`, how often to attach.
        number: u64,
        /// The core to stay on.
        #[arg(long)]
        core: Option<usize>,
    },
    /// The host of `publish`, `lookup`, `copy`, `host`, `pool`, `reuse` and `restart`. Started by them.
    #[command(hide = true)]
    CacheHost(cache_host::HostArguments),
    /// The other process of a benchmark. Started by it.
    #[command(hide = true)]
    Partner {
        job: Job,
        /// The process to live no longer than.
        #[arg(long)]
        parent: i32,
        /// The core to stay on.
        #[arg(long)]
        core: Option<usize>,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onecopy-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), BenchError> {
    let options = &command.options;
    if let Bench::Partner { job, parent, core } = command.bench {
        return partner::serve(job, parent, core);
    }
    if let Bench::CacheHost(arguments) = &command.bench {
        return cache_host::serve(arguments);
    }
    if let Bench::ReclaimGuest { segment, core } = &command.bench {
        return reclaim::guest(segment, *core);
    }
    if let Bench::Reader(arguments) = &command.bench {
        return readers::read(arguments);
    }
    if let Bench::HostGuest { segment, work, number, core } = &command.bench {
        return host_guest::serve(segment, *core, *work, *number);
    }
    let cores = Cores::choose()?;
    cores.pin_first()?;
    let mut report = Report::new(options.json, &cores);
    match &command.bench {
        Bench::Ring => ring::run(options, &cores, &mut report),
        Bench::Publish => cache::run_publish(options, &cores, &mut report),
        Bench::Lookup => cache::run_lookup(options, &cores, &mut report),
        Bench::Get => get::run(options, &cores, &mut report),
        Bench::GetHot => get::run_hot(options, &cores, &mut report),
        Bench::GetLarge => get::run_large(options, &cores, &mut report),
        Bench::Batch => batch::run(options, &cores, &mut report),
        Bench::Match => batch::run_match(options, &cores, &mut report),
        Bench::Doubling => doubling::run(options, &cores, &mut report),
        Bench::Attach => attach::run(options, &cores, &mut report),
        Bench::Copy => copy::run(options, &cores, &mut report),
        Bench::Readers => readers::run(options, &cores, &mut report),
        Bench::Reuse => reuse::run(options, &cores, &mut report),
        Bench::Pool(places) => pool::run(options, places, &cores, &mut report),
        Bench::Host => host::run(options, &cores, &mut report),
        Bench::Restart => restart::run(options, &cores, &mut report),
        Bench::Wake => wake::run(options, &cores, &mut report),
        Bench::Reclaim => reclaim::run(options, &cores, &mut report),
        Bench::Partner { .. }
        | Bench::CacheHost(_)
        | Bench::Reader(_)
        | Bench::HostGuest { .. }
        | Bench::ReclaimGuest { .. } => Ok(()),
    }
}
