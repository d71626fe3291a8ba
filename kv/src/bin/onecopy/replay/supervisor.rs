//! Runs a replay: a host, guest processes, kills if they are asked for, and the sum of it all.

use super::home::Home;
use super::plan::{Plan, Source};
use super::progress::Bar;
use crate::cli::Common;
use crate::exit::Failure;
use crate::guest::attach;
use crate::signals::Interrupted;
use onecopy::replay::board::Supervisor;
use onecopy::replay::report::{ReplayReport, RunFigures};
use onecopy_transport::format::Role;
use onecopy_transport::host::HostEvent;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the supervisor looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long guests that were killed may take to be recovered.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(20);
/// Guests that may end by themselves in a row before the replay gives up.
const FAILURES_MAX: u32 = 3;

/// A guest that was killed.
struct Kill {
    pid: u32,
    at: Instant,
    /// From the kill to the end of the recovery.
    recovered: Option<Duration>,
}

/// A replay under way.
struct Replay<'a> {
    plan: &'a Plan,
    segment: PathBuf,
    home: Option<Home>,
    board: Supervisor,
    places: Vec<Option<Child>>,
    run: u64,
    started: Instant,
    kill_at: Option<Instant>,
    victim_next: u32,
    kills: Vec<Kill>,
    failures: u32,
}

/// Runs the plan to its end.
pub fn run(plan: &Plan, interrupted: &Interrupted, bar: &Bar) -> Result<ReplayReport, Failure> {
    let home = match plan.segment {
        Some(_) => None,
        None => Some(Home::start(plan)?),
    };
    let segment = match (&home, &plan.segment) {
        (Some(home), _) => home.segment().to_owned(),
        (None, Some(given)) => given.clone(),
        (None, None) => return Err(Failure::NoSegment("there is no segment to replay on".into())),
    };
    let board = Supervisor::create(plan.guests, plan.requests as u32).map_err(Failure::refused)?;
    let now = Instant::now();
    let mut replay = Replay {
        plan,
        segment,
        home,
        board,
        places: (0..plan.guests).map(|_| None).collect(),
        run: run_number(),
        started: now,
        kill_at: plan.kills.every.map(|every| now + every),
        victim_next: 0,
        kills: Vec::new(),
        failures: 0,
    };
    let duration = replay.drive(interrupted, bar)?;
    replay.sum_up(duration)
}

impl Replay<'_> {
    /// Keeps a guest in every place until every request is done; returns how long it took.
    fn drive(&mut self, interrupted: &Interrupted, bar: &Bar) -> Result<Duration, Failure> {
        for place in 0..self.plan.guests {
            self.start_guest(place)?;
        }
        loop {
            if interrupted.is_set() {
                return Err(Failure::Interrupted);
            }
            let progress = self.board.progress().map_err(Failure::refused)?;
            bar.set(u64::from(progress.done));
            if progress.done as usize == self.plan.requests {
                let duration = self.started.elapsed();
                self.await_guests()?;
                return Ok(duration);
            }
            self.look_after_guests()?;
            self.kill_if_due()?;
            self.note_events();
            std::thread::sleep(LOOK);
        }
    }

    fn start_guest(&mut self, place: u32) -> Result<(), Failure> {
        self.board.start(place).map_err(Failure::refused)?;
        let board = self.board.file().try_clone().map_err(Failure::refused)?;
        let program = std::env::current_exe().map_err(Failure::refused)?;
        let mut command = Command::new(program);
        command.arg("replay-guest").arg("--segment").arg(&self.segment);
        command.args(["--place", &place.to_string(), "--run", &self.run.to_string()]);
        command.args(["--block-bytes", &self.plan.block_bytes.to_string()]);
        match &self.plan.source {
            Source::File(path) => command.arg("--trace").arg(path),
            Source::Generator(seed) => command.args(["--seed", &seed.to_string()]),
        };
        let child = command.stdin(Stdio::from(board)).spawn().map_err(Failure::refused)?;
        self.places[place as usize] = Some(child);
        Ok(())
    }

    /// Replaces guests that have ended while there is work.
    fn look_after_guests(&mut self) -> Result<(), Failure> {
        for place in 0..self.plan.guests {
            let Some(child) = self.places[place as usize].as_mut() else { continue };
            let Some(status) = child.try_wait().map_err(Failure::refused)? else { continue };
            let pid = child.id();
            self.places[place as usize] = None;
            self.board.recover(place).map_err(Failure::refused)?;
            let was_killed = self.kills.iter().any(|kill| kill.pid == pid);
            if !was_killed && !status.success() {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    return Err(Failure::Refused(format!("a guest ended with {status}")));
                }
            }
            self.start_guest(place)?;
        }
        Ok(())
    }

    /// Kills the next guest that is in the middle of a request.
    fn kill_if_due(&mut self) -> Result<(), Failure> {
        let Some((at, every)) = self.kill_at.zip(self.plan.kills.every) else { return Ok(()) };
        if Instant::now() < at || self.kills.len() as u32 >= self.plan.kills.most {
            return Ok(());
        }
        for _ in 0..self.plan.guests {
            let place = self.victim_next % self.plan.guests;
            self.victim_next = self.victim_next.wrapping_add(1);
            let Some(child) = self.places[place as usize].as_mut() else { continue };
            let seen = self.kills.iter().any(|kill| kill.pid == child.id());
            if seen || self.board.in_hand(place).is_none() {
                continue;
            }
            child.kill().map_err(Failure::refused)?;
            self.kills.push(Kill { pid: child.id(), at: Instant::now(), recovered: None });
            self.kill_at = Some(at.max(Instant::now()) + every);
            break;
        }
        Ok(())
    }

    fn note_events(&mut self) {
        let Some(home) = &self.home else { return };
        for event in home.events() {
            if let HostEvent::Recovered { pid, at, goodbye: false, .. } = event
                && let Some(kill) = self.kills.iter_mut().find(|kill| kill.pid == pid)
            {
                kill.recovered = Some(at.saturating_duration_since(kill.at));
            }
        }
    }

    /// Every request is done: the guests find that out and say goodbye; the killed are recovered.
    fn await_guests(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + RECOVERY_PATIENCE;
        for child in self.places.iter_mut().flatten() {
            while child.try_wait().map_err(Failure::refused)?.is_none() {
                if Instant::now() >= deadline {
                    return Err(Failure::Refused("a guest does not end".into()));
                }
                std::thread::sleep(LOOK);
            }
        }
        self.note_events();
        while self.home.is_some() && self.kills.iter().any(|kill| kill.recovered.is_none()) {
            if Instant::now() >= deadline {
                tracing::warn!("not every killed guest was recovered in time");
                break;
            }
            std::thread::sleep(LOOK);
            self.note_events();
        }
        Ok(())
    }

    fn sum_up(&mut self, duration: Duration) -> Result<ReplayReport, Failure> {
        let (audit_findings, grown_to_bytes) = match &self.home {
            Some(home) => (home.audit_findings()?, home.figure("pool_bytes")?),
            None => ask_host(&self.segment)?,
        };
        let figures = RunFigures {
            duration,
            guests_killed: self.kills.len() as u64,
            recoveries: self.kills.iter().filter_map(|kill| kill.recovered).collect(),
            grown_to_bytes,
            audit_findings,
        };
        ReplayReport::build(&self.board, &figures).map_err(Failure::refused)
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        for child in self.places.iter_mut().flatten() {
            // Ended already, or ended now: in both cases nothing of it stays.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Audit and pool size of a host that is not ours.
fn ask_host(segment: &Path) -> Result<(Vec<String>, u64), Failure> {
    let common = Common { segment: Some(segment.to_owned()), json: false, timeout: 30.0 };
    let cache = attach(&common, Role::Reader)?;
    let findings = crate::inspect::ask_host(&cache, &common)?;
    Ok((findings, cache.guest().pool().published_bytes))
}

/// Tells this run's blocks from those of others on the same segment.
fn run_number() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos() as u64);
    nanoseconds ^ u64::from(std::process::id()) << 48
}
