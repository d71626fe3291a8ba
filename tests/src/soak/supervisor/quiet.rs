//! Times of quiet: everybody lets go of everything and says goodbye, so that whatever is still in
//! use is in nobody's hands; then everything that is there is read.

use super::super::SoakError;
use super::super::board::Order;
use super::super::host::HostLine;
use super::super::journal::{Fate, Journal};
use super::Campaign;
use onecopy_transport::inspect::inspect;
use onecopy_transport::segment::{SegmentPath, destroy};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two looks at the host's figures.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// Figures of the host that must be 0 when nobody holds anything.
const NOTHING: [&str; 5] =
    ["guests", "slots_granted", "slots_quarantined", "slots_retired", "pins"];

type Figures = BTreeMap<String, u64>;

impl Campaign<'_> {
    /// Has everybody let go, checks what the host says, has everything read, and lets everybody go
    /// on. Whether all is well.
    // r[impl soak.quiet]
    pub(super) fn quiet(&mut self) -> Result<bool, SoakError> {
        self.resume_all();
        // By turns: what a process held comes back when it ends, and when it says goodbye.
        let ended = match self.tally.quiets.is_multiple_of(2) {
            true => self.everybody_ends()?,
            false => {
                let number = self.board.give(Order::Pause);
                self.all_did("everybody to let go", number)?
            }
        };
        if !ended || !self.nothing_held()? {
            return Ok(false);
        }
        // Who was killed is recovered by now: nothing that it had sent is still to be done.
        self.board.next_era();
        let number = self.board.give(Order::Verify);
        if !self.all_did("everybody to read everything", number)? {
            return Ok(false);
        }
        self.board.give(Order::Work);
        self.tally.quiets += 1;
        Ok(self.is_well())
    }

    /// Everybody leaves; what is left is audited once more and removed. Whether all is well.
    // r[impl soak.leaves_nothing]
    pub(super) fn finish(&mut self) -> Result<bool, SoakError> {
        if !self.everybody_ends()? || !self.nothing_held()? {
            return Ok(false);
        }
        if let Some(host) = &mut self.host {
            host.ask_leave();
        }
        self.host_due = Instant::now() + Duration::from_secs(3600);
        let left = self.wait_until("the host to leave", |campaign| {
            let gone = campaign.host.is_none();
            campaign.host_due = Instant::now() + Duration::from_secs(3600);
            gone
        })?;
        if !left {
            return Ok(false);
        }
        self.remove_segment();
        Ok(self.is_well())
    }

    /// The audit that a new host would make, on the segment of one that was killed. There may be
    /// none yet, and who reserved memory for the dead host may not have ended.
    pub(super) fn look_at_what_is_left(&mut self) {
        if let Ok(path) = SegmentPath::new(self.segment()) {
            let _ = self.audit_left(&path);
        }
    }

    fn audit_left(&mut self, path: &SegmentPath) -> Result<(), String> {
        let seen = inspect(path, self.fittings.profile.service());
        let audit = seen.map_err(|error| error.to_string())?.audit;
        let report = audit.ok_or("its lock is still held")?.report;
        let found = report.findings().iter().map(|it| format!("a segment without a host: {it}"));
        self.tally.audit.extend(found);
        Ok(())
    }

    fn remove_segment(&mut self) {
        let result = SegmentPath::new(self.segment()).map_err(|error| error.to_string());
        let result = result.and_then(|path| {
            self.audit_left(&path)?;
            destroy(&path).map_err(|error| error.to_string())
        });
        if let Err(error) = result {
            self.tally.failures.push(format!("the segment that was left: {error}"));
        }
    }

    fn resume_all(&mut self) {
        if self.host.as_ref().is_some_and(|host| host.stopped_until.is_some()) {
            self.resume_host();
        }
        for place in self.places.iter_mut().filter(|place| place.stopped_until.is_some()) {
            if let Some(process) = &place.process {
                process.signal(Signal::CONT);
            }
            place.resume(&self.board);
        }
    }

    fn everybody_ends(&mut self) -> Result<bool, SoakError> {
        self.board.give(Order::End);
        self.wait_until("everybody to end", |campaign| {
            campaign.places.iter().all(|place| place.process.is_none())
        })
    }

    fn all_did(&mut self, what: &str, number: u64) -> Result<bool, SoakError> {
        self.wait_until(what, |campaign| {
            let mut places = campaign.places.iter();
            places.all(|p| p.process.is_some() && campaign.board.paused_at(p.number) == number)
        })
    }

    /// Looks after everybody until something is so. Whether it is, in time, and all is well.
    fn wait_until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool, SoakError> {
        let deadline = Instant::now() + 3 * self.fittings.patience;
        while !is_so(self) {
            if Instant::now() > deadline {
                let points: Vec<String> = self.points();
                self.hang(format!("waited in vain for {what}; {}", points.join(", ")));
            }
            if !self.is_well() {
                return Ok(false);
            }
            self.tend()?;
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(self.is_well())
    }

    /// What everybody is doing, in words.
    fn points(&self) -> Vec<String> {
        let point = |number| self.board.point(number).0.name();
        let guests = self.places.iter().map(|place| match place.process {
            Some(_) => format!("guest {} is {}", place.number, point(place.number)),
            None => format!("guest {} is not there", place.number),
        });
        let host = format!("the host is {}", self.board.host_point().0.name());
        guests.chain([host]).collect()
    }

    /// Asks the host until nothing is in use, or its time is over: what is then is a leak.
    fn nothing_held(&mut self) -> Result<bool, SoakError> {
        let deadline = Instant::now() + self.fittings.patience;
        let serves = |campaign: &mut Self| campaign.host.as_ref().is_some_and(|it| it.is_ready);
        if !self.wait_until("a host that serves", serves)? {
            return Ok(false);
        }
        loop {
            let Some((figures, found)) = self.ask_host() else {
                self.hang("the host did not say what it finds".to_owned());
                return Ok(false);
            };
            self.tally.audit.extend(found.into_iter().map(|it| format!("in quiet: {it}")));
            let is_free = NOTHING.iter().all(|name| figure(&figures, name) == 0);
            if is_free || Instant::now() > deadline {
                self.judge_figures(&figures);
                return Ok(self.is_well());
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn ask_host(&mut self) -> Option<(Figures, Vec<String>)> {
        let deadline = Instant::now() + 2 * self.fittings.patience;
        let host = self.host.as_mut()?;
        host.ask_check();
        loop {
            if let HostLine::Checked { stats, findings } = host.says_until(deadline)? {
                return Some((stats, findings));
            }
        }
    }

    // r[impl soak.leaks]
    fn judge_figures(&mut self, figures: &Figures) {
        let held = ["slots_granted", "slots_quarantined", "slots_retired"];
        self.tally.leaked_slots += held.iter().map(|name| figure(figures, name)).sum::<u64>();
        for name in NOTHING {
            let value = figure(figures, name);
            if value > 0 {
                self.tally.failures.push(format!("nobody holds anything, and {name} is {value}"));
            }
        }
        let parts =
            ["slots_free_bytes", "slots_published_bytes", "uncarved_bytes", "unusable_bytes"];
        let sum: u64 = parts.iter().map(|name| figure(figures, name)).sum();
        let pool_bytes = figure(figures, "pool_bytes");
        if sum != pool_bytes {
            let text = format!("the parts of the pool are {sum} bytes, expected {pool_bytes}");
            self.tally.failures.push(text);
        }
        self.judge_files();
        if self.fittings.profile.keeps_all() {
            self.judge_blocks(figures);
        }
    }

    /// Rings and lease tables go with their guests.
    fn judge_files(&mut self) {
        for area in ["rings", "leases"] {
            let found = std::fs::read_dir(self.segment().join(area));
            let count = found.map_or(0, |found| found.count());
            if count > 0 {
                self.tally.failures.push(format!("{count} files in {area} belong to nobody"));
            }
        }
    }

    /// Published blocks are those that were acknowledged, and perhaps some whose owner was killed.
    fn judge_blocks(&mut self, figures: &Figures) {
        let evictions = figure(figures, "evictions");
        if evictions > 0 {
            let text = format!("{evictions} blocks were evicted where there is room for all");
            self.tally.failures.push(text);
        }
        let (mut published, mut open) = (0, 0);
        for place in 0..self.board.places() {
            let journal = Journal::new(&self.board, place);
            for key in 0..self.board.keys() {
                match journal.state(key).fate {
                    Fate::Published => published += 1,
                    Fate::Publishing | Fate::Deleting => open += 1,
                    Fate::Absent => {}
                }
            }
        }
        let blocks = figure(figures, "blocks");
        if !(published..=published + open).contains(&blocks) {
            let text = format!(
                "{blocks} blocks are published, expected {published} and at most {open} more"
            );
            self.tally.failures.push(text);
        }
    }
}

fn figure(figures: &Figures, name: &str) -> u64 {
    figures.get(name).copied().unwrap_or(0)
}
