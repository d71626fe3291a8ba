//! The guest processes of a replay, one in each place.

use super::arrivals::now_ns;
use super::kills::Death;
use super::plan::{Plan, Source};
use crate::exit::Failure;
use onecopy::replay::board::Supervisor;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// Guests that may be ended by somebody else without a request being done in between.
const DEATHS_MAX: u32 = 3;

pub struct Guests<'a> {
    plan: &'a Plan,
    segment: PathBuf,
    /// Tells this run's blocks from those of others on the same segment.
    run: u64,
    /// When the first request arrives, on the monotonic clock.
    started_ns: u64,
    places: Vec<Option<Child>>,
    victim_next: u32,
    deaths: u32,
    done_at_death: u32,
}

impl<'a> Guests<'a> {
    pub fn new(plan: &'a Plan, segment: PathBuf) -> Guests<'a> {
        let places = (0..plan.guests).map(|_| None).collect();
        Guests {
            plan,
            segment,
            run: run_number(),
            started_ns: now_ns(),
            places,
            victim_next: 0,
            deaths: 0,
            done_at_death: 0,
        }
    }

    /// Starts a guest in a place that has none.
    pub fn start(&mut self, place: u32, board: &mut Supervisor) -> Result<(), Failure> {
        board.start(place).map_err(Failure::refused)?;
        let failure =
            |error| Failure::Refused(format!("a guest process could not be started: {error}"));
        let board = board.file().try_clone().map_err(failure)?;
        // Not by its path: the program may have been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("onecopy");
        command.arg("replay-guest").arg("--segment").arg(&self.segment);
        command.args(["--place", &place.to_string(), "--run", &self.run.to_string()]);
        command.args(["--block-bytes", &self.plan.block_bytes.to_string()]);
        command.args(["--lookup", self.plan.lookup.name()]);
        command.args(["--started-ns", &self.started_ns.to_string()]);
        if let Some(speed) = self.plan.speed {
            command.args(["--speed", &speed.to_string()]);
        }
        command.args(["--supervisor", &std::process::id().to_string()]);
        match &self.plan.source {
            Source::File(path) => command.arg("--trace").arg(path),
            Source::Generator { seed, conversations } => command
                .args(["--seed", &seed.to_string()])
                .args(["--conversations", &conversations.to_string()]),
        };
        let child = command.stdin(Stdio::from(board)).stdout(Stdio::null()).spawn();
        let child = child.map_err(failure)?;
        if let Some(slot) = self.places.get_mut(place as usize) {
            *slot = Some(child);
        }
        Ok(())
    }

    /// How the guest of this place ended, if it has. What it had in hand can be taken again.
    pub fn ended(
        &mut self,
        place: u32,
        done: u32,
        board: &mut Supervisor,
    ) -> Result<Option<Death>, Failure> {
        let Some(child) = self.child(place) else { return Ok(None) };
        let Some(status) = child.try_wait().map_err(Failure::refused)? else { return Ok(None) };
        let death = self.bury(place, Instant::now(), status, board)?;
        if !status.success() {
            self.bear(status, done)?;
        }
        Ok(Some(death))
    }

    /// A guest that fails says why on standard error, and the next one would too. One that somebody
    /// else killed is replaced, but not for ever.
    fn bear(&mut self, status: ExitStatus, done: u32) -> Result<(), Failure> {
        self.deaths = if done == self.done_at_death { self.deaths + 1 } else { 1 };
        self.done_at_death = done;
        if status.signal().is_some() && self.deaths <= DEATHS_MAX {
            return Ok(());
        }
        Err(Failure::Refused(format!("a guest process of the replay ended with {status}")))
    }

    /// Kills the next guest that works on a request, and waits for its end.
    pub fn kill_one(&mut self, board: &mut Supervisor) -> Result<Option<(u32, Death)>, Failure> {
        for _ in 0..self.plan.guests {
            let place = self.victim_next % self.plan.guests;
            self.victim_next = self.victim_next.wrapping_add(1);
            if board.in_hand(place).is_none() {
                continue;
            }
            let Some(child) = self.child(place) else { continue };
            let at = Instant::now();
            child.kill().map_err(Failure::refused)?;
            let status = child.wait().map_err(Failure::refused)?;
            return Ok(Some((place, self.bury(place, at, status, board)?)));
        }
        Ok(None)
    }

    /// Whether there is no guest in this place.
    pub fn is_vacant(&self, place: u32) -> bool {
        !matches!(self.places.get(place as usize), Some(Some(_)))
    }

    /// Whether all guests have ended by themselves.
    pub fn have_ended(&mut self) -> Result<bool, Failure> {
        let mut all = true;
        for child in self.places.iter_mut().flatten() {
            all &= child.try_wait().map_err(Failure::refused)?.is_some();
        }
        Ok(all)
    }

    fn child(&mut self, place: u32) -> Option<&mut Child> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    fn bury(
        &mut self,
        place: u32,
        at: Instant,
        status: ExitStatus,
        board: &mut Supervisor,
    ) -> Result<Death, Failure> {
        let child = self.places.get_mut(place as usize).and_then(Option::take);
        let recovery = board.recover(place).map_err(Failure::refused)?;
        Ok(Death {
            pid: child.map_or(0, |child| child.id()),
            at,
            by_signal: status.signal().is_some(),
            was_busy: recovery.unfinished.is_some(),
        })
    }
}

impl Drop for Guests<'_> {
    fn drop(&mut self) {
        for child in self.places.iter_mut().flatten() {
            // Ended already, or ended now: in both cases nothing of it stays.
            let _ = child.kill();
        }
        for child in self.places.iter_mut().flatten() {
            let _ = child.wait();
        }
    }
}

fn run_number() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos() as u64);
    nanoseconds ^ u64::from(std::process::id()) << 48
}
