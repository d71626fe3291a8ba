//! The soak: real processes on a private segment, killed and stopped at random times, the host
//! among them, with every answer and every byte checked. What it promises is in `spec/soak.md`.

mod blocks;
mod board;
mod findings;
mod guest;
mod host;
mod interrupt;
mod journal;
mod point;
mod profile;
mod progress;
mod supervisor;
mod tally;

#[cfg(test)]
mod tests;

use board::BoardError;
pub use guest::{GuestArgs, Sabotage};
pub use host::HostArgs;
use interrupt::Interrupted;
pub use profile::Profile;
use progress::Progress;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use supervisor::{Campaign, Field, LOG_FILE, Outcome, Plan};
use tally::Tally;

/// Rounds of one campaign, on one segment.
const CAMPAIGN_ROUNDS: u64 = 400;
/// Last lines of what the processes said that are shown after a failure.
const LOG_LINES: usize = 20;

/// Kills and stops real processes at random times, the host among them, starts anew what died, and
/// checks every answer and every byte.
///
/// Who is killed or stopped in which round, after what time, and what the guests do follows from the
/// seed. When it happens in the life of each process does not: the same seed plays the same rounds
/// and seldom dies at the same instruction.
#[derive(Clone, Debug, clap::Args)]
pub struct SoakArgs {
    /// How long it takes, in minutes. [default: 1, or no end where rounds are given]
    #[arg(long)]
    pub minutes: Option<f64>,
    /// End after so many rounds: kills, and stops that were seen to their end.
    #[arg(long)]
    pub rounds: Option<u64>,
    /// Seed of everything that is random. [default: chosen and told]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Guest processes, 2 to 32; every fourth is a reader.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=32))]
    pub guests: u32,
    /// Only this kind of campaign. [default: all in turns]
    #[arg(long)]
    pub profile: Option<Profile>,
    /// Report as one line of JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Keep the segment of a soak that failed, and say where it is.
    #[arg(long)]
    pub keep: bool,
    /// How long an operation may take before it counts as a hang, in seconds.
    #[arg(long, default_value_t = 20.0)]
    pub patience: f64,
    /// Have a guest do something wrong, to see that it is found.
    #[arg(long, hide = true)]
    pub sabotage: Option<Sabotage>,
}

/// Why a soak could not go on. What it finds wrong is no such error.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The board cannot be made.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// No directory.
    #[error("the directory of the soak: {source}")]
    Directory {
        /// What the system says.
        source: io::Error,
    },
    /// A process cannot be started, killed or waited for.
    #[error("cannot {what} a process of the soak: {source}")]
    Process {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// A process was started without the pipes that it was to have.
    #[error("a process of the soak has no pipes")]
    Pipes,
    /// Ctrl-C cannot be watched.
    #[error("Ctrl-C and SIGTERM cannot be watched: {source}")]
    Signals {
        /// What the system says.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("the report cannot be written: {source}")]
    Report {
        /// What the system says.
        source: io::Error,
    },
}

/// Runs a guest process of a soak.
///
/// # Errors
/// [`SoakError`]: it was not started by a soak.
pub fn run_guest(args: GuestArgs) -> Result<(), SoakError> {
    end_with(args.supervisor);
    Ok(guest::run(args)?)
}

/// Runs a host process of a soak.
///
/// # Errors
/// [`SoakError`]: it was not started by a soak.
pub fn run_host(args: &HostArgs) -> Result<(), SoakError> {
    end_with(args.supervisor);
    Ok(host::run(args)?)
}

/// From here on this process does not outlive its supervisor.
// r[impl soak.leaves_nothing]
fn end_with(supervisor: u32) {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let watched = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get() as u32);
    if !watched || parent != Some(supervisor) {
        std::process::exit(1);
    }
}

/// Runs a soak and reports. Whether nothing was wrong.
///
/// # Errors
/// [`SoakError`].
pub fn run(args: &SoakArgs) -> Result<bool, SoakError> {
    let seed = args.seed.unwrap_or_else(|| board::now_ns() ^ u64::from(std::process::id()));
    eprintln!("seed {seed}");
    supervisor::sweep_left();
    let interrupted = Interrupted::watch()?;
    let started = Instant::now();
    let mut tally = Tally::default();
    play(args, seed, &interrupted, &mut tally)?;
    report(args, seed, started.elapsed(), &tally)?;
    Ok(tally.is_clean())
}

fn play(
    args: &SoakArgs,
    seed: u64,
    interrupted: &Interrupted,
    tally: &mut Tally,
) -> Result<(), SoakError> {
    let plan = Plan::new(seed);
    let minutes = args.minutes.or(if args.rounds.is_some() { None } else { Some(1.0) });
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let is_over = |tally: &Tally| {
        interrupted.is_set()
            || end.is_some_and(|end| Instant::now() >= end)
            || args.rounds.is_some_and(|rounds| tally.rounds() >= rounds)
    };
    let progress = Progress::new(end, args.rounds);
    let mut first = 0;
    while !is_over(tally) {
        let turn = tally.campaigns as usize % Profile::TURNS.len();
        let profile = args.profile.unwrap_or(Profile::TURNS[turn]);
        let field = Field::make()?;
        let busy = field.claim()?;
        let campaign = Campaign::new(args, &field, plan, profile, tally)?;
        let rounds = first..first + CAMPAIGN_ROUNDS;
        first = rounds.end;
        let outcome = campaign.play(rounds, is_over, |tally| progress.show(tally))?;
        drop(busy);
        if outcome == Outcome::Failed {
            progress.end();
            show_log(field.path());
            if args.keep {
                eprintln!("kept in {}", field.keep()?.display());
            }
            break;
        }
    }
    progress.end();
    Ok(())
}

/// The last of what the processes said.
fn show_log(dir: &Path) {
    let log = std::fs::read(dir.join(LOG_FILE)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
        eprintln!("log: {line}");
    }
}

// r[impl soak.report]
fn report(args: &SoakArgs, seed: u64, time: Duration, tally: &Tally) -> Result<(), SoakError> {
    use std::io::Write;
    for failure in tally.audit.iter().chain(&tally.failures) {
        eprintln!("failure: {failure}");
    }
    let report = tally.to_json(seed, time.as_secs_f64());
    let mut out = io::stdout().lock();
    let written = match args.json {
        true => writeln!(out, "{report}"),
        false => writeln!(out, "{report:#}"),
    };
    written.map_err(|source| SoakError::Report { source })?;
    if !tally.is_clean() {
        eprintln!("the soak failed; its seed is {seed}");
    }
    Ok(())
}
