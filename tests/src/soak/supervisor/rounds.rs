//! Carrying out a round.

use super::super::SoakError;
use super::super::tally::Victim;
use super::Campaign;
use super::guests::Place;
use super::plan::{Act, Round};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Killed hosts of which one is followed by a look at the segment before the next one starts.
const INSPECT_EVERY: u64 = 8;
/// Guests that are stopped at a time at most.
const STOPPED_MAX: usize = 2;

impl Campaign<'_> {
    /// Does what this round is for. Where that cannot be done (there is no host at this moment), a
    /// guest is killed instead.
    // r[impl soak.rounds]
    pub(super) fn act(&mut self, round: Round) -> Result<(), SoakError> {
        match round.act {
            Act::KillHost if self.host.is_some() => self.kill_host(round.absence),
            Act::StopHost if self.host_serves() => self.stop_host(round.stop),
            Act::LeaveHost if self.host_serves() => self.leave_host(),
            Act::StopGuest if self.stopped() < STOPPED_MAX => {
                self.stop_guest(&round);
                Ok(())
            }
            _ => self.kill_guest(&round),
        }
    }

    fn host_serves(&self) -> bool {
        self.host
            .as_ref()
            .is_some_and(|host| host.is_ready && host.stopped_until.is_none() && !host.leaving)
    }

    fn stopped(&self) -> usize {
        self.places.iter().filter(|place| place.stopped_until.is_some()).count()
    }

    fn kill_host(&mut self, absence: Duration) -> Result<(), SoakError> {
        let Some(host) = self.host.take() else { return Ok(()) };
        let (point, _) = self.board.host_point();
        if host.stopped_until.is_some() {
            self.tally.stops_cut_short += 1;
        }
        host.process.kill()?;
        self.tally.kill(Victim::Host, point);
        if self.tally.host_kills.is_multiple_of(INSPECT_EVERY) {
            self.look_at_what_is_left();
        }
        self.bury_host(absence);
        Ok(())
    }

    fn stop_host(&mut self, time: Duration) -> Result<(), SoakError> {
        if let Some(host) = &mut self.host {
            host.process.signal(Signal::STOP);
            host.stopped_until = Some(Instant::now() + time);
        }
        Ok(())
    }

    pub(super) fn resume_host(&mut self) {
        if let Some(host) = &mut self.host {
            host.process.signal(Signal::CONT);
            host.stopped_until = None;
            self.tally.host_stops += 1;
        }
    }

    fn leave_host(&mut self) -> Result<(), SoakError> {
        if let Some(host) = &mut self.host {
            host.ask_leave();
            self.tally.host_leaves += 1;
        }
        Ok(())
    }

    fn stop_guest(&mut self, round: &Round) {
        let mut running: Vec<_> = self.places.iter_mut().filter(|p| p.is_running()).collect();
        let count = running.len().max(1) as u64;
        if let Some(place) = running.get_mut((round.victim % count) as usize)
            && let Some(process) = &place.process
        {
            process.signal(Signal::STOP);
            place.resumed = None;
            place.stopped_until = Some(Instant::now() + round.stop);
        }
    }

    /// Now and then one that is stopped, or was a moment ago; most of those are let live, to see
    /// what they do when they go on.
    fn kill_guest(&mut self, round: &Round) -> Result<(), SoakError> {
        let spares = !round.victim.is_multiple_of(8);
        let is_choice = |place: &Place| place.process.is_some() && !(spares && place.is_watched());
        let mut there: Vec<_> = self.places.iter_mut().filter(|place| is_choice(place)).collect();
        let count = there.len().max(1) as u64;
        let Some(place) = there.get_mut((round.victim % count) as usize) else { return Ok(()) };
        let Some(process) = place.process.take() else { return Ok(()) };
        let (point, _) = self.board.point(place.number);
        if place.is_watched() {
            self.tally.stops_cut_short += 1;
        }
        place.vacate(round.absence);
        process.kill()?;
        self.tally.kill(Victim::Guest, point);
        Ok(())
    }
}
