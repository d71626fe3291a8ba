//! The host of a soak: a process of its own that says on standard output when it serves, and
//! answers on demand what it finds when it audits itself.

use super::board::{Board, BoardError, HostCount};
use super::guest::SEGMENT;
use super::point::Point;
use super::profile::Profile;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::host::{Host, HostEvent, HostHandle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How a host process is started.
#[derive(Clone, Debug, clap::Args)]
pub struct HostArgs {
    /// Directory of the soak.
    #[arg(long)]
    pub dir: PathBuf,
    /// Kind of the campaign.
    #[arg(long)]
    pub profile: Profile,
    /// Process id of the supervisor.
    #[arg(long)]
    pub supervisor: u32,
}

/// What a host says, a line of JSON each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum HostLine {
    /// It serves.
    Ready {
        /// Which life of the segment's host it is.
        epoch: u64,
        /// How long it took to take the segment over, in microseconds.
        start_us: u64,
        /// What its audit found before it let anybody in.
        findings: Vec<String>,
    },
    /// It was asked.
    Checked {
        /// Its figures by name.
        stats: BTreeMap<String, u64>,
        /// What its audit found.
        findings: Vec<String>,
    },
    /// It could not start, or could not answer.
    Failed {
        /// Why.
        error: String,
    },
}

/// What a host is told: one byte each.
pub const ASK_CHECK: u8 = b'c';
/// Say goodbye and end.
pub const ASK_LEAVE: u8 = b'l';

/// How long a host may take to answer its own process.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a host until it is told to leave.
///
/// # Errors
/// [`BoardError`]: it was not started by a soak.
pub fn run(args: &HostArgs) -> Result<(), BoardError> {
    let board = Board::open(&args.dir)?;
    board.set_host_point(Point::TakingOver);
    let started = Instant::now();
    let (tell, events) = channel();
    let mut options = args.profile.host_options(&args.dir.join(SEGMENT), board.places());
    options.events = Some(tell);
    let host = match Host::start(options, args.profile.service()) {
        Ok(host) => host,
        Err(error) => {
            say(&HostLine::Failed { error: error.to_string() });
            return Ok(());
        }
    };
    let start_us = started.elapsed().as_micros() as u64;
    board.set_host_point(Point::Auditing);
    let findings = findings_of(&host.audit());
    say(&HostLine::Ready { epoch: host.boot_epoch(), start_us, findings });
    board.set_host_point(Point::Serving);
    answer_orders(host.handle(), args.dir.clone());
    count_events(events, args.dir.clone());
    if let Err(error) = host.serve() {
        say(&HostLine::Failed { error: error.to_string() });
    }
    Ok(())
}

fn say(line: &HostLine) {
    let Ok(text) = serde_json::to_string(line) else { return };
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: then nobody misses it.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn findings_of(report: &AuditReport) -> Vec<String> {
    report.findings().iter().map(ToString::to_string).collect()
}

/// Does what is said on standard input; the end of it is an order to leave.
fn answer_orders(handle: HostHandle, dir: PathBuf) {
    std::thread::spawn(move || {
        for order in std::io::stdin().lock().bytes().map_while(Result::ok) {
            match order {
                ASK_CHECK => say(&check(&handle)),
                _ => break,
            }
        }
        if let Ok(board) = Board::open(&dir) {
            board.set_host_point(Point::Leaving);
        }
        // A host that has ended needs no telling.
        let _ = handle.leave();
    });
}

fn check(handle: &HostHandle) -> HostLine {
    let until = Instant::now() + PATIENCE;
    let checked = handle.stats(until).and_then(|stats| Ok((stats, handle.audit(until)?)));
    match checked {
        Ok((stats, report)) => HostLine::Checked {
            stats: stats.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            findings: findings_of(&report),
        },
        Err(error) => HostLine::Failed { error: error.to_string() },
    }
}

/// Counts on the board what the host tells of.
fn count_events(events: Receiver<HostEvent>, dir: PathBuf) {
    std::thread::spawn(move || {
        let Ok(board) = Board::open(Path::new(&dir)) else { return };
        for event in events {
            let count = match event {
                HostEvent::Suspected { .. } => HostCount::Suspected,
                HostEvent::Cleared { .. } => HostCount::Cleared,
                HostEvent::Recovered { goodbye: false, .. } => HostCount::Recovered,
                HostEvent::Grown { .. } => HostCount::Grown,
                HostEvent::CutOff { .. } => HostCount::CutOff,
                _ => continue,
            };
            board.count_host(count);
        }
    });
}
