//! One host, many guests: how many requests its core takes, how evenly it serves those who ask, and
//! what those cost it who do not.
//!
//! The guests are processes of their own and share the other core, as many as there are: with two
//! cores it is the scheduler that gives each of them its turn, and the host that must keep up.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use onecopy_transport::guest::{Guest, GuestOptions};

use crate::Options;
use crate::bounce::{self, Bounce};
use crate::cache_host::CacheHost;
use crate::error::{BenchError, Step};
use crate::host_guest::{self, Work};
use crate::pin::Cores;
use crate::report::{Crowd, Label, Report};
use crate::rounds::interleave;

/// Round trips of the baseline in one round, and of the guest beside idle ones.
const TRIPS: u64 = 50_000;
/// What one of the trips of a round stands for in the time that a crowd is given.
const WINDOW_PER_TRIP: Duration = Duration::from_micros(4);
const WINDOW_MIN: Duration = Duration::from_millis(20);
/// Guests that ask at the same time.
const CROWDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Guests that are attached and ask nothing.
const IDLE: [u64; 3] = [0, 16, 64];
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    for work in [Work::Publish, Work::Lookup] {
        for guests in CROWDS {
            crowd(work, guests, options, cores, report)?;
        }
    }
    for guests in IDLE {
        beside_idle(guests, options, cores, report)?;
    }
    Ok(())
}

/// So many guests at once.
fn crowd(
    work: Work,
    guests: u64,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let window = (WINDOW_PER_TRIP * u32::try_from(trips).unwrap_or(u32::MAX)).max(WINDOW_MIN);
    let host = CacheHost::start(cores)?;
    let mut workers = (0..guests)
        .map(|number| Worker::start(host.segment(), cores, work, number))
        .collect::<Result<Vec<Worker>, BenchError>>()?;
    let mut line = Bounce::start(cores)?;
    let (mut shares, mut counts) = (Vec::new(), Vec::new());
    let compared = interleave(
        options.rounds,
        || line.measure(trips),
        || {
            round(&mut workers, window, &mut counts)?;
            let (least, most) = (counts.iter().min(), counts.iter().max());
            shares.push(ratio(least.copied(), most.copied()));
            let all: u64 = counts.iter().sum();
            Ok(window.as_nanos() as f64 / all.max(1) as f64)
        },
    )?;
    let (verb, name) = match work {
        Work::Publish => ("publish", "host_publish"),
        _ => ("look up over the ring", "host_lookup"),
    };
    let depth = host_guest::DEPTH;
    let label = Label {
        name: &format!("{name}_{guests}"),
        text: &format!("{guests} guests that {verb}, {depth} requests in flight each"),
        baseline: bounce::TEXT,
        is_rate: true,
        crowd: Some(Crowd { guests, least_to_most: median(shares) }),
        ..Label::default()
    };
    report.figure(&label, &compared);
    Ok(())
}

/// One guest that asks, one request at a time, beside so many that do not.
fn beside_idle(
    guests: u64,
    options: &Options,
    cores: &Cores,
    report: &mut Report,
) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let host = CacheHost::start(cores)?;
    let _idle = Worker::start(host.segment(), cores, Work::Idle, guests)?;
    let guest = Guest::attach(GuestOptions::at(host.segment()))?;
    let mut line = Bounce::start(cores)?;
    let compared = interleave(
        options.rounds,
        || line.measure(trips),
        || {
            let start = Instant::now();
            for _ in 0..trips {
                guest.ping(start + PATIENCE)?;
            }
            Ok(start.elapsed().as_nanos() as f64 / trips as f64)
        },
    )?;
    let label = Label {
        name: &format!("host_idle_{guests}"),
        text: &format!("a ping of one guest beside {guests} that ask nothing"),
        baseline: bounce::TEXT,
        ..Label::default()
    };
    report.figure(&label, &compared);
    Ok(())
}

/// Has all of them work for the same while; what each of them got done.
fn round(
    workers: &mut [Worker],
    window: Duration,
    counts: &mut Vec<u64>,
) -> Result<(), BenchError> {
    // Long enough for each of them to have been told.
    let lead = Duration::from_millis(2) + Duration::from_micros(200) * workers.len() as u32;
    let start_ns = host_guest::now_ns() + lead.as_nanos() as u64;
    let end_ns = start_ns + window.as_nanos() as u64;
    for worker in workers.iter_mut() {
        writeln!(worker.input, "{start_ns} {end_ns}").step("tell a guest when to work")?;
    }
    counts.clear();
    for worker in workers {
        counts.push(worker.hear()?);
    }
    Ok(())
}

fn ratio(least: Option<u64>, most: Option<u64>) -> f64 {
    least.unwrap_or(0) as f64 / most.unwrap_or(0).max(1) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A guest's process. Dropping it ends it.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it on this process's core and waits until it is attached.
    fn start(segment: &Path, cores: &Cores, work: Work, number: u64) -> Result<Worker, BenchError> {
        let program = std::env::current_exe().step("find this program")?;
        let mut command = Command::new(program);
        let name = work.to_possible_value().map(|value| value.get_name().to_owned());
        command.arg("host-guest").arg(segment).arg(name.unwrap_or_default());
        command.arg(number.to_string());
        if let Some(core) = cores.pair().map(|(first, _)| first) {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().step("start a guest")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::PartnerEnded);
        };
        let mut worker = Worker { child, input, output: BufReader::new(output) };
        worker.hear()?;
        Ok(worker)
    }

    fn hear(&mut self) -> Result<u64, BenchError> {
        let mut line = String::new();
        self.output.read_line(&mut line).step("hear of a guest")?;
        line.trim().parse().map_err(|_| BenchError::PartnerEnded)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
