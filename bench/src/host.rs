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
use crate::cache_host::{CacheHost, Size};
use crate::error::{BenchError, Step};
use crate::host_guest::{self, Work};
use crate::pin::Cores;
use crate::report::{Crowd, Label, Report};
use crate::rounds::interleave;
use crate::socket::{self, Socket};

/// Round trips of the baseline in one round, and of the guest beside idle ones.
const TRIPS: u64 = 50_000;
/// What one of the trips of a round stands for in the time that a crowd is given.
const WINDOW_PER_TRIP: Duration = Duration::from_micros(4);
const WINDOW_MIN: Duration = Duration::from_millis(20);
/// Blocks that the cache holds, in slots of this size: small ones, so that guests do not spend their
/// time on mapping pages.
const BLOCKS: u64 = 16 << 10;
const GRANULE_BYTES: u64 = 64;
/// Guests that ask at the same time.
const CROWDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Guests that are attached and ask nothing.
const IDLE: [u64; 3] = [0, 16, 64];
/// Of so many trips there is one when the host has time to fall asleep before each.
const TRIPS_PER_SPARSE: u64 = 250;
/// So long a host looks for nothing before it sleeps, and longer.
const PAUSE: Duration = Duration::from_millis(1);
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
    sparse(options, cores, report)
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
    let host = CacheHost::start_sized(cores, Size::of_blocks(BLOCKS, GRANULE_BYTES))?;
    let observer = Guest::attach(GuestOptions::at(host.segment()))?;
    let mut workers = (0..guests)
        .map(|number| Worker::start(host.segment(), cores, work, number))
        .collect::<Result<Vec<Worker>, BenchError>>()?;
    let mut line = Bounce::start(cores)?;
    let (mut shares, mut counts) = (Vec::new(), Vec::new());
    let before = Figures::of(&observer)?;
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
    let after = Figures::of(&observer)?;
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
        crowd: Some(Crowd {
            guests,
            least_to_most: median(shares),
            wakes_per_1000: after.wakes_per_1000_since(&before),
        }),
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

/// A guest that asks so seldom that the host sleeps meanwhile. The pauses are not counted.
fn sparse(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS) / TRIPS_PER_SPARSE + 1;
    let host = CacheHost::start(cores)?;
    let guest = Guest::attach(GuestOptions::at(host.segment()))?;
    let mut bare = Socket::start(cores)?;
    let compared = interleave(
        options.rounds,
        || bare.measure(trips),
        || {
            let mut all = Duration::ZERO;
            for _ in 0..trips {
                std::thread::sleep(PAUSE);
                all += guest.ping(Instant::now() + PATIENCE)?;
            }
            Ok(all.as_nanos() as f64 / trips as f64)
        },
    )?;
    let label = Label {
        name: "host_sparse",
        text: "a ping that finds the host asleep",
        baseline: socket::TEXT,
        ..Label::default()
    };
    report.figure(&label, &compared);
    Ok(())
}

/// Figures of the host.
struct Figures {
    requests: u64,
    guests_woken: u64,
}

impl Figures {
    fn of(guest: &Guest) -> Result<Figures, BenchError> {
        let text = guest.host_stats(Instant::now() + PATIENCE)?;
        let stats: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let figure = |name: &str| stats[name].as_u64().ok_or(BenchError::PartnerEnded);
        Ok(Figures { requests: figure("requests")?, guests_woken: figure("guests_woken")? })
    }

    fn wakes_per_1000_since(&self, before: &Figures) -> f64 {
        let requests = self.requests - before.requests;
        (self.guests_woken - before.guests_woken) as f64 * 1000.0 / requests.max(1) as f64
    }
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
