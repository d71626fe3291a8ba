//! What a soak has done and found, over all of its campaigns.

use super::board::{Board, Count, HostCount};
use super::point::Point;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A guest.
    Guest,
    /// The host.
    Host,
}

/// Counts, times and failures.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Campaigns, each on a segment of its own.
    pub campaigns: u64,
    /// SIGKILLs to guests.
    pub guest_kills: u64,
    /// SIGKILLs to hosts.
    pub host_kills: u64,
    /// Guests that were stopped for longer than suspicion takes, and went on.
    pub guest_stops: u64,
    /// Hosts that were stopped and went on.
    pub host_stops: u64,
    /// Stopped processes that were killed instead of going on.
    pub stops_cut_short: u64,
    /// Hosts that left in order and were replaced.
    pub host_leaves: u64,
    /// Times that everybody let go of everything and nothing was left.
    pub quiets: u64,
    /// Slots that were in nobody's hands when everybody had let go of everything.
    pub leaked_slots: u64,
    /// Operations, starts and recoveries beyond their deadline, those seen by guests not included.
    pub hangs: u64,
    /// What audits found, each finding once.
    pub audit: Vec<String>,
    /// What else was wrong, in words.
    pub failures: Vec<String>,
    kills_by_point: BTreeMap<String, u64>,
    counts: BTreeMap<&'static str, u64>,
    restarts_us: Vec<u64>,
    take_overs_us: Vec<u64>,
}

impl Tally {
    /// Rounds so far: each kill, and each stop that was seen to its end.
    // r[impl soak.rounds]
    pub fn rounds(&self) -> u64 {
        self.kills() + self.guest_stops + self.host_stops
    }

    /// SIGKILLs so far.
    pub fn kills(&self) -> u64 {
        self.guest_kills + self.host_kills
    }

    /// Somebody was killed, at this point.
    pub fn kill(&mut self, victim: Victim, point: Point) {
        let who = match victim {
            Victim::Guest => {
                self.guest_kills += 1;
                "guest"
            }
            Victim::Host => {
                self.host_kills += 1;
                "host"
            }
        };
        *self.kills_by_point.entry(format!("{who}.{}", point.name())).or_default() += 1;
    }

    /// A host serves again: from its start as a process, and of that the take-over alone.
    pub fn restarted(&mut self, after: Duration, start_us: u64) {
        self.restarts_us.push(after.as_micros() as u64);
        self.take_overs_us.push(start_us);
    }

    /// Takes in what was counted on the board of a campaign that is over.
    pub fn add_board(&mut self, board: &Board) {
        for count in Count::ALL {
            *self.counts.entry(name(count)).or_default() += board.total(count);
        }
        let host = [
            ("suspected", HostCount::Suspected),
            ("suspicions_cleared", HostCount::Cleared),
            ("guests_recovered", HostCount::Recovered),
            ("grown", HostCount::Grown),
        ];
        for (name, count) in host {
            *self.counts.entry(name).or_default() += board.host_count(count);
        }
    }

    /// Whether nothing was wrong.
    // r[impl soak.exit]
    pub fn is_clean(&self) -> bool {
        let counted = Count::FAILURES.iter().all(|count| self.count(name(*count)) == 0);
        counted
            && self.leaked_slots == 0
            && self.hangs == 0
            && self.audit.is_empty()
            && self.failures.is_empty()
    }

    /// The report, for programs.
    // r[impl soak.report]
    pub fn to_json(&self, seed: u64, seconds: f64) -> Value {
        let audit = match self.audit.is_empty() {
            true => json!("clean"),
            false => json!(self.audit),
        };
        json!({
            "seed": seed,
            "seconds": (seconds * 10.0).round() / 10.0,
            "clean": self.is_clean(),
            "campaigns": self.campaigns,
            "rounds": self.rounds(),
            "kills": self.kills(),
            "guest_kills": self.guest_kills,
            "host_kills": self.host_kills,
            "stops": self.guest_stops + self.host_stops,
            "guest_stops": self.guest_stops,
            "host_stops": self.host_stops,
            "stops_cut_short": self.stops_cut_short,
            "host_leaves": self.host_leaves,
            "quiets": self.quiets,
            "operations": self.count("operations"),
            "bytes_verified": self.count("bytes_verified"),
            "blocks_verified": self.count("blocks_verified"),
            "holds_verified": self.count("holds_verified"),
            "sweeps": self.count("sweeps"),
            "published": self.count("published"),
            "deleted": self.count("deleted"),
            "attaches": self.count("attaches"),
            "hosts_lost": self.count("hosts_lost"),
            "refused": self.count("refused"),
            "suspected": self.count("suspected"),
            "suspicions_cleared": self.count("suspicions_cleared"),
            "guests_recovered": self.count("guests_recovered"),
            "grown": self.count("grown"),
            "wrong_bytes": self.count("wrong_bytes"),
            "wrong_blocks": self.count("wrong_blocks"),
            "blocks_lost": self.count("blocks_lost"),
            "blocks_undead": self.count("blocks_undead"),
            "leaked_slots": self.leaked_slots,
            "hangs": self.hangs + self.count("late"),
            "other_failures": self.count("broken"),
            "audit": audit,
            "host_restart_ms": percentiles(&self.restarts_us),
            "host_take_over_ms": percentiles(&self.take_overs_us),
            "kills_by_point": self.kills_by_point,
            "failures": self.failures,
        })
    }

    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

fn name(count: Count) -> &'static str {
    match count {
        Count::Operations => "operations",
        Count::BytesVerified => "bytes_verified",
        Count::BlocksVerified => "blocks_verified",
        Count::Published => "published",
        Count::Deleted => "deleted",
        Count::HoldsVerified => "holds_verified",
        Count::Sweeps => "sweeps",
        Count::Attaches => "attaches",
        Count::HostsLost => "hosts_lost",
        Count::Refused => "refused",
        Count::WrongBlocks => "wrong_blocks",
        Count::WrongBytes => "wrong_bytes",
        Count::Lost => "blocks_lost",
        Count::Undead => "blocks_undead",
        Count::Late => "late",
        Count::Broken => "broken",
    }
}

/// Median and 99th percentile in milliseconds; `null` where there is no value.
fn percentiles(values_us: &[u64]) -> Value {
    let mut sorted = values_us.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let index = sorted.len().saturating_sub(1) * percent / 100;
        sorted.get(index).map(|&us| us as f64 / 1000.0)
    };
    json!({ "count": sorted.len(), "p50": at(50), "p99": at(99), "max": at(100) })
}
