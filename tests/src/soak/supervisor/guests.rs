//! The guest processes as the supervisor has them, one in each place.

use super::super::SoakError;
use super::super::board::{Board, Count};
use super::super::guest::Sabotage;
use super::super::profile::Profile;
use super::plan::Plan;
use super::process::Process;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What all guests of a campaign have in common.
#[derive(Clone, Debug)]
pub struct Fittings {
    /// Directory of the campaign.
    pub dir: PathBuf,
    /// Its kind.
    pub profile: Profile,
    /// How long an operation may take.
    pub patience: Duration,
    /// What the guest of place 0 does wrong.
    pub sabotage: Option<Sabotage>,
}

/// A place and the process in it, if there is one.
#[derive(Debug)]
pub struct Place {
    /// Its number.
    pub number: u32,
    /// The process.
    pub process: Option<Process>,
    /// When the next process is to be started.
    pub vacant_until: Instant,
    /// Until when it is stopped.
    pub stopped_until: Option<Instant>,
    /// It was continued, and this many operations had been done then.
    pub resumed: Option<Resumed>,
    /// Processes started here so far.
    lives: u64,
}

/// A guest that was stopped and goes on; it is watched until it has done something.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    operations: u64,
}

impl Place {
    /// A place without a process.
    pub fn new(number: u32) -> Place {
        let vacant_until = Instant::now();
        Place { number, process: None, vacant_until, stopped_until: None, resumed: None, lives: 0 }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`SoakError::Process`].
    pub fn start(&mut self, fittings: &Fittings, plan: &Plan) -> Result<(), SoakError> {
        let seed = plan.number(u64::from(self.number) << 40 | self.lives << 8 | 1);
        self.lives += 1;
        let mut command = Process::command("soak-guest", &fittings.dir)?;
        command.args(["--place", &self.number.to_string(), "--seed", &seed.to_string()]);
        command.args(["--profile", fittings.profile.name()]);
        command.args(["--patience", &fittings.patience.as_secs_f64().to_string()]);
        if let Some(sabotage) = fittings.sabotage.filter(|_| self.number == 0) {
            command.args(["--sabotage", sabotage.name()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(Process::start(command)?);
        Ok(())
    }

    /// Whether there is a process that runs.
    pub fn is_running(&self) -> bool {
        self.process.is_some() && self.stopped_until.is_none()
    }

    /// Whether it is stopped, or was and has not been seen to go on yet.
    pub fn is_watched(&self) -> bool {
        self.stopped_until.is_some() || self.resumed.is_some()
    }

    /// Remembers how far it was when it was continued.
    pub fn resume(&mut self, board: &Board) {
        self.stopped_until = None;
        let operations = board.count(self.number, Count::Operations);
        self.resumed = Some(Resumed { operations });
    }

    /// Whether it was continued and has carried out a whole operation since.
    pub fn has_gone_on(&self, board: &Board) -> bool {
        let operations = board.count(self.number, Count::Operations);
        self.resumed.is_some_and(|resumed| operations > resumed.operations + 1)
    }

    /// The process is gone.
    pub fn vacate(&mut self, absence: Duration) {
        self.process = None;
        self.stopped_until = None;
        self.resumed = None;
        self.vacant_until = Instant::now() + absence;
    }
}
