//! onecopy beside LMDB, iceoryx2, Redis and Memcached, doing the same work in one interleaved run.
//!
//! Every block that is got is checked; a wrong one or a missing one ends the run. Nothing is counted
//! that was not found right.

mod clock;
mod content;
mod contest;
mod cores;
mod directory;
mod error;
mod figures;
mod host;
mod keeper;
mod machine;
mod orders;
mod picks;
mod plan;
mod plot;
mod process;
mod report;
mod run;
mod scale;
mod subject;
mod summary;
mod system;
mod text;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use cores::Cores;
use error::CompareError;
use machine::Setting;
use plan::Plan;
use report::Report;
use system::System;

/// Compare onecopy with other ways to share blocks on one machine.
#[derive(Debug, Parser)]
#[command(name = "onecopy-compare", version)]
struct Command {
    #[command(subcommand)]
    what: What,
    /// The process to live no longer than.
    #[arg(long, hide = true)]
    parent: Option<i32>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Gets and puts of blocks, by size, by batch, and by the number of guests.
    Peers(Peers),
    /// What a lookup of onecopy costs as the blocks and the guests become more.
    Scale(scale::Scale),
    /// A host of onecopy. Started by the run.
    #[command(hide = true)]
    Host {
        segment: PathBuf,
        #[command(flatten)]
        size: host::Size,
    },
    /// The process that owns the blocks of iceoryx2. Started by the run.
    #[command(hide = true)]
    Owner { directory: PathBuf },
    /// A process that gets and puts. Started by the run.
    #[command(hide = true)]
    Worker {
        system: System,
        place: PathBuf,
        #[arg(long)]
        seed: u64,
        /// Whether it also writes.
        #[arg(long)]
        writes: bool,
    },
    /// Somebody else's program. Started by the run.
    #[command(hide = true)]
    Exec {
        program: String,
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Removes the files of the run when it is over. Started by the run.
    #[command(hide = true)]
    Keep { directory: PathBuf },
}

#[derive(Debug, Args)]
struct Peers {
    /// The systems, instead of all that are there.
    #[arg(long, value_delimiter = ',')]
    systems: Vec<System>,
    /// Rounds, after one that warms up.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of one measurement.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    slice_ms: u64,
    /// A directory for `compare.json` and the plots.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Everything as small as it can be, to see that it works.
    #[arg(long)]
    tiny: bool,
    /// Store a wrong word in one block of each size of this system, which must end the run.
    #[arg(long, hide = true)]
    spoil: Option<System>,
}

fn main() -> ExitCode {
    let command = Command::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("onecopy-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), CompareError> {
    command.parent.map_or(Ok(()), process::end_with_parent)?;
    match command.what {
        What::Peers(options) => compare(&options),
        What::Scale(options) => scale::run(&options),
        What::Host { segment, size } => host::serve(&segment, size),
        What::Owner { directory } => subject::owner::serve(&directory),
        What::Worker { system, place, seed, writes } => worker::serve(system, &place, writes, seed),
        What::Exec { program, arguments } => process::become_program(&program, &arguments),
        What::Keep { directory } => keeper::keep(&directory),
    }
}

fn compare(options: &Peers) -> Result<(), CompareError> {
    let wanted = if options.systems.is_empty() { &System::ALL[..] } else { &options.systems };
    let versions = wanted.iter().map(|system| (*system, machine::version(*system))).collect();
    let (versions, missing) = report::present(&versions);
    for text in missing {
        eprintln!("onecopy-compare: {text}");
    }
    let slice = Duration::from_millis(options.slice_ms);
    let rounds = options.rounds;
    let plan = if options.tiny { Plan::tiny(rounds) } else { Plan::full(rounds, slice) };
    let cores = Cores::allowed()?;
    let setting = Setting::this(&cores);
    let systems: Vec<System> = versions.iter().map(|version| version.system).collect();
    let figures = run::run(&systems, &plan, &cores, options.spoil)?;
    let report = Report {
        setting: &setting,
        versions: &versions,
        load_at_end: onecopy_machine::load(),
        figures: &figures,
    };
    print!("{}", report.tables());
    options.out.as_deref().map_or(Ok(()), |directory| report.write(directory))
}
