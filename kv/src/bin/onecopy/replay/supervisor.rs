//! Runs a replay: a host, guest processes, kills if they are asked for, and the sum of it all.

use super::guests::Guests;
use super::home::Home;
use super::kills::{Ends, Kill, KillClock};
use super::outside::Outside;
use super::plan::Plan;
use crate::exit::Failure;
use crate::progress::Bar;
use crate::signals::Interrupted;
use onecopy::replay::board::{Progress, Supervisor};
use onecopy::replay::report::{ReplayReport, RunFigures};
use std::time::{Duration, Instant};

/// How often the supervisor looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long guests may take to say goodbye, and the killed to be recovered.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who serves the segment.
enum Serving {
    /// A host of our own, in a thread.
    Home(Home),
    /// Somebody else's.
    Outside(Outside),
}

/// A replay under way.
struct Replay<'a> {
    plan: &'a Plan,
    // Before the host: it is dropped first, and guests end before their host does.
    guests: Guests<'a>,
    board: Supervisor,
    serving: Serving,
    clock: KillClock,
    kills: Vec<Kill>,
    ends: Ends,
    grown_from_bytes: u64,
    started: Instant,
}

// r[impl cli.replay.exact]
// r[impl cli.replay.leaves_nothing]
/// Runs the plan to its end.
pub fn run(plan: &Plan, interrupted: &Interrupted, bar: &Bar) -> Result<ReplayReport, Failure> {
    let serving = match &plan.segment {
        Some(segment) => Serving::Outside(Outside::attach(segment, plan)?),
        None => Serving::Home(Home::start(plan)?),
    };
    let board = Supervisor::create(plan.guests, plan.requests as u32).map_err(Failure::refused)?;
    let grown_from_bytes = serving.pool_bytes()?;
    // Before the first arrival, which the guests count from.
    let started = Instant::now();
    let mut replay = Replay {
        plan,
        guests: Guests::new(plan, serving.segment().to_owned()),
        board,
        grown_from_bytes,
        serving,
        clock: KillClock::start(plan.kills),
        kills: Vec::new(),
        ends: Ends::default(),
        started,
    };
    let done = replay.drive(interrupted, bar).and_then(|duration| replay.sum_up(duration));
    // What goes wrong while it is being interrupted is not what went wrong.
    if interrupted.is_set() { Err(Failure::Interrupted) } else { done }
}

impl Serving {
    fn segment(&self) -> &std::path::Path {
        match self {
            Serving::Home(home) => home.segment(),
            Serving::Outside(outside) => outside.segment(),
        }
    }

    fn pool_bytes(&self) -> Result<u64, Failure> {
        match self {
            Serving::Home(home) => home.figure("pool_bytes"),
            Serving::Outside(outside) => Ok(outside.pool_bytes()),
        }
    }
}

impl Replay<'_> {
    /// Keeps a guest in every place until every request is done; returns how long it took.
    fn drive(&mut self, interrupted: &Interrupted, bar: &Bar) -> Result<Duration, Failure> {
        for place in 0..self.plan.guests {
            self.guests.start(place, &mut self.board)?;
        }
        loop {
            if interrupted.is_set() {
                return Err(Failure::Interrupted);
            }
            let progress = self.board.progress().map_err(Failure::refused)?;
            bar.set(progress.done.into());
            if progress.done as usize == self.plan.requests {
                let duration = self.started.elapsed();
                self.await_guests(interrupted)?;
                return Ok(duration);
            }
            self.replace_ended(progress)?;
            self.kill_if_due(progress.done)?;
            self.note_recoveries()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Replaces guests that have ended while there is work for them.
    fn replace_ended(&mut self, progress: Progress) -> Result<(), Failure> {
        for place in 0..self.plan.guests {
            if let Some(death) = self.guests.ended(place, progress.done, &mut self.board)? {
                self.kills.extend(death.into_kill());
            }
        }
        let vacant = (0..self.plan.guests).filter(|place| self.guests.is_vacant(*place));
        let vacant: Vec<u32> = vacant.collect();
        // With everything in somebody's hand there is work again only if one of them dies.
        if vacant.is_empty() || self.board.progress().map_err(Failure::refused)?.unclaimed == 0 {
            return Ok(());
        }
        vacant.into_iter().try_for_each(|place| self.guests.start(place, &mut self.board))
    }

    /// Kills the next guest that is in the middle of a request, and replaces it.
    // r[impl cli.replay.kill]
    fn kill_if_due(&mut self, done: u32) -> Result<(), Failure> {
        if !self.clock.is_due(done) {
            return Ok(());
        }
        let Some((place, death)) = self.guests.kill_one(&mut self.board)? else { return Ok(()) };
        self.clock.next();
        self.kills.extend(death.into_kill());
        self.guests.start(place, &mut self.board)
    }

    fn note_recoveries(&mut self) -> Result<(), Failure> {
        match &self.serving {
            Serving::Home(home) => {
                home.events().for_each(|event| self.ends.note(&event));
                self.ends.settle(&mut self.kills);
                Ok(())
            }
            Serving::Outside(outside) => outside.note_recoveries(&mut self.kills),
        }
    }

    /// Every request is done: the guests find that out and say goodbye; the killed are recovered.
    fn await_guests(&mut self, interrupted: &Interrupted) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all_gone = self.guests.have_ended()?;
            self.note_recoveries()?;
            if all_gone && self.kills.iter().all(Kill::is_settled) {
                return Ok(());
            }
            if interrupted.is_set() {
                return Err(Failure::Interrupted);
            }
            if Instant::now() >= deadline {
                // That not everything was recovered is seen in the report.
                return match all_gone {
                    true => Ok(()),
                    false => Err(Failure::Refused("a guest does not end".into())),
                };
            }
            std::thread::sleep(LOOK);
        }
    }

    fn sum_up(&mut self, duration: Duration) -> Result<ReplayReport, Failure> {
        let audit_findings = match &self.serving {
            Serving::Home(home) => home.audit_findings()?,
            Serving::Outside(outside) => outside.audit_findings()?,
        };
        let recovered = || self.kills.iter().filter_map(|kill| kill.recovered.as_ref());
        let figures = RunFigures {
            duration,
            guests_killed: self.kills.iter().filter(|kill| kill.counts()).count() as u64,
            guests_recovered: recovered().count() as u64,
            recoveries: recovered().filter_map(|recovered| recovered.took).collect(),
            requests_redone: self.kills.iter().filter(|kill| kill.was_busy).count() as u64,
            slots_taken_back: recovered().map(|recovered| recovered.slots).sum(),
            grown_from_bytes: self.grown_from_bytes,
            grown_to_bytes: self.serving.pool_bytes()?,
            audit_findings,
        };
        ReplayReport::build(&self.board, &figures).map_err(Failure::refused)
    }
}
