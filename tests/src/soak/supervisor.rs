//! The supervisor of a soak: starts everybody, kills and stops whom the plan says, starts anew what
//! died, and sees to it that nothing is lost, leaked or late.

mod guests;
mod host;
mod place;
mod plan;
mod process;
mod quiet;
mod rounds;

use super::board::{Board, BoardError, Count, Order};
use super::findings;
use super::guest::SEGMENT;
use super::host::HostLine;
use super::profile::Profile;
use super::tally::Tally;
use super::{SoakArgs, SoakError};
use guests::{Fittings, Place};
use host::HostProcess;
pub use place::{Field, sweep_left};
pub use plan::Plan;
#[cfg(test)]
pub use plan::Round;
pub use process::LOG_FILE;
use std::time::{Duration, Instant};

/// Longest pause of the supervisor between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// Keys that belong to each place.
const KEYS: u32 = 96;
/// Rounds between two times of quiet.
const QUIET_EVERY: u64 = 50;

/// How a campaign goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rounds are done and all is well.
    Done,
    /// Something is wrong; the tally says what.
    Failed,
}

/// A campaign: one segment, from its first host to its removal.
pub struct Campaign<'a> {
    plan: Plan,
    field: &'a Field,
    fittings: Fittings,
    board: Board,
    host: Option<HostProcess>,
    /// When the next host is to be started.
    host_due: Instant,
    places: Vec<Place>,
    tally: &'a mut Tally,
    /// Findings on the board that have been told.
    told: u64,
}

impl<'a> Campaign<'a> {
    /// A campaign in this directory. Nobody has been started yet.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn new(
        args: &SoakArgs,
        field: &'a Field,
        plan: Plan,
        profile: Profile,
        tally: &'a mut Tally,
    ) -> Result<Campaign<'a>, BoardError> {
        let run = plan.number(tally.campaigns << 32 | 7);
        tally.campaigns += 1;
        let board = Board::create(field.path(), run, args.guests, KEYS)?;
        let fittings = Fittings {
            dir: field.path().to_owned(),
            profile,
            patience: Duration::from_secs_f64(args.patience),
            sabotage: args.sabotage,
        };
        let places = (0..args.guests).map(Place::new).collect();
        let host_due = Instant::now();
        Ok(Campaign { plan, field, fittings, board, host: None, host_due, places, tally, told: 0 })
    }

    /// Plays this many rounds, from round `first` of the plan on, until `until` or until somebody
    /// wants it to end; then everybody leaves and the segment is removed.
    ///
    /// # Errors
    /// [`SoakError`]: the system refused something. What is wrong with the code under test is told
    /// in the tally.
    pub fn play(
        mut self,
        rounds: std::ops::Range<u64>,
        is_over: impl Fn(&Tally) -> bool,
        show: impl Fn(&Tally),
    ) -> Result<Outcome, SoakError> {
        let mut quiet_at = rounds.start + QUIET_EVERY;
        for index in rounds {
            if is_over(self.tally) || !self.wait(self.plan.round(index).delay)? {
                break;
            }
            if index >= quiet_at {
                quiet_at = index + QUIET_EVERY;
                if !self.quiet()? {
                    break;
                }
            }
            self.act(self.plan.round(index))?;
            show(self.tally);
        }
        let well = self.is_well() && self.quiet()? && self.finish()?;
        self.tell_findings();
        self.tally.add_board(&self.board);
        Ok(if well { Outcome::Done } else { Outcome::Failed })
    }

    /// Looks after everybody for at least this long. Whether all is well.
    fn wait(&mut self, time: Duration) -> Result<bool, SoakError> {
        let until = Instant::now() + time;
        loop {
            self.tend()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.is_well() {
                return Ok(self.is_well());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Looks after everybody once: starts who is missing, lets go on who was stopped for long
    /// enough, notes what went wrong.
    fn tend(&mut self) -> Result<(), SoakError> {
        self.tend_host()?;
        for index in 0..self.places.len() {
            self.tend_place(index)?;
        }
        self.look_for_hangs();
        self.tell_findings();
        Ok(())
    }

    fn tend_host(&mut self) -> Result<(), SoakError> {
        let now = Instant::now();
        let Some(host) = &mut self.host else {
            if now >= self.host_due {
                self.start_host()?;
            }
            return Ok(());
        };
        if host.stopped_until.is_some_and(|until| now >= until) {
            self.resume_host();
            return Ok(());
        }
        while let Some(line) = host.said() {
            match line {
                HostLine::Ready { start_us, findings, .. } => {
                    host.is_ready = true;
                    let what = "the audit of a new host";
                    self.tally.restarted(host.started.elapsed(), start_us);
                    self.tally.audit.extend(findings.iter().map(|it| format!("{what}: {it}")));
                }
                HostLine::Failed { error } => {
                    self.tally.failures.push(format!("the host failed: {error}"));
                }
                HostLine::Checked { .. } => {}
            }
        }
        if let Some(status) = host.process.ended()? {
            if !(host.leaving && status.success()) {
                self.tally.failures.push(format!("the host ended by itself with {status}"));
            }
            self.bury_host(Duration::ZERO);
        } else if !host.is_ready
            && host.stopped_until.is_none()
            && host.started.elapsed() > 2 * self.fittings.patience
        {
            self.hang("a host did not start".to_owned());
        }
        Ok(())
    }

    /// A new era begins with each host: the one before is dead, nothing that was sent to it will be
    /// carried out any more.
    fn start_host(&mut self) -> Result<(), SoakError> {
        self.board.next_era();
        self.board.set_host_point(super::point::Point::Starting);
        self.host = Some(HostProcess::start(self.field.path(), self.fittings.profile)?);
        Ok(())
    }

    fn bury_host(&mut self, absence: Duration) {
        self.host = None;
        self.host_due = Instant::now() + absence;
    }

    fn tend_place(&mut self, index: usize) -> Result<(), SoakError> {
        let now = Instant::now();
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let Some(process) = &mut place.process else {
            if now >= place.vacant_until && self.board.ordered().order != Order::End {
                self.board.set_point(place.number, super::point::Point::Starting);
                place.start(&self.fittings, &self.plan)?;
            }
            return Ok(());
        };
        if let Some(status) = process.ended()? {
            if !(self.board.ordered().order == Order::End && status.success()) {
                let number = place.number;
                let text = format!("guest {number} ended by itself with {status}");
                self.tally.failures.push(text);
            }
            place.vacate(Duration::ZERO);
            return Ok(());
        }
        if place.stopped_until.is_some_and(|until| now >= until) {
            process.signal(rustix::process::Signal::CONT);
            place.resume(&self.board);
        }
        if place.has_gone_on(&self.board) {
            place.resumed = None;
            self.tally.guest_stops += 1;
        }
        Ok(())
    }

    /// A guest says at each step what it does and since when.
    // r[impl soak.hang]
    fn look_for_hangs(&mut self) {
        let now_ns = super::board::now_ns();
        // Each guest sees for itself that an operation was late; this is for those that cannot.
        let limit = 3 * self.fittings.patience;
        let mut late = Vec::new();
        for place in self.places.iter().filter(|place| place.is_running()) {
            let (point, since_ns) = self.board.point(place.number);
            let time = Duration::from_nanos(now_ns.saturating_sub(since_ns));
            if !point.is_idle() && time > limit {
                late.push(format!("guest {} is {} for {time:?}", place.number, point.name()));
            }
        }
        late.into_iter().for_each(|text| self.hang(text));
    }

    fn hang(&mut self, text: String) {
        self.tally.hangs += 1;
        self.tally.failures.push(text);
    }

    fn tell_findings(&mut self) {
        let found = Count::FAILURES.iter().map(|count| self.board.total(*count)).sum::<u64>();
        if found > self.told {
            self.told = found;
            self.tally.failures.extend(findings::read(self.field.path()));
        }
    }

    /// Whether nothing has gone wrong so far.
    fn is_well(&self) -> bool {
        self.told == 0 && self.tally.is_clean()
    }

    fn segment(&self) -> std::path::PathBuf {
        self.field.path().join(SEGMENT)
    }
}
