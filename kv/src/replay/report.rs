//! What a replay found: for programs as JSON, for people as a table.

use std::fmt;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};

use super::board::{CorruptRecord, RequestOutcome, Supervisor};
use crate::size::ByteSize;

mod table;
#[cfg(test)]
mod tests;

pub use table::Table;

/// The figures of one replay. Field names are those of its JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Requests done, each counted once however often it was begun.
    pub requests: u64,
    /// Blocks of these requests.
    pub references: u64,
    /// Blocks found before the first miss of their request.
    pub hits: u64,
    /// Hits of all references, in percent.
    pub hit_rate_percent: f64,
    /// Bytes read back and checked.
    pub bytes_verified: u64,
    /// Blocks with a byte that was wrong.
    pub mismatches: u64,
    /// Latency of a lookup, per key, in nanoseconds: of asking for a request's blocks and leasing what
    /// was found, divided by the keys that were looked at. `null` when there was none.
    pub lookup_ns: Option<Percentiles>,
    /// Latency of a publish, per key, in nanoseconds: of reserving slots for a batch and publishing
    /// them, divided by its keys. Making up and writing the bytes is not in it. `null` when there was
    /// none.
    pub publish_ns: Option<Percentiles>,
    /// Duration of the run, in seconds.
    pub seconds: f64,
    /// Requests done in each second of the run.
    pub requests_per_second: f64,
    /// Guest processes killed.
    pub guests_killed: u64,
    /// Of these, guests that the host recovered.
    pub guests_recovered: u64,
    /// Requests that a killed guest had in hand; another did them again.
    pub requests_redone: u64,
    /// Slots that killed guests held and the host took back.
    pub slots_taken_back: u64,
    /// From a kill to the end of the recovery, in milliseconds. `null` when no guest was killed, or
    /// the host is not the replay's own.
    pub recovery_ms: Option<Percentiles>,
    /// Size of the pool at the start, in bytes.
    pub grown_from_bytes: u64,
    /// Size of the pool at the end, in bytes.
    pub grown_to_bytes: u64,
    /// `clean`, or what the audit found.
    pub audit: String,
}

/// Two figures of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of all are at most this.
    pub p50: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
}

/// What a replay's supervisor knows besides its board.
#[derive(Debug, Clone, Default)]
pub struct RunFigures {
    /// From the start of the first worker to the end of the last.
    pub duration: Duration,
    /// Guest processes killed.
    pub guests_killed: u64,
    /// Of these, guests that the host recovered.
    pub guests_recovered: u64,
    /// For each of these, where it is known, the time from its kill to the end of the recovery.
    pub recoveries: Vec<Duration>,
    /// Requests that killed guests had in hand.
    pub requests_redone: u64,
    /// Slots that the host took back from killed guests.
    pub slots_taken_back: u64,
    /// Size of the pool at the start, in bytes.
    pub grown_from_bytes: u64,
    /// Size of the pool at the end, in bytes.
    pub grown_to_bytes: u64,
    /// What the audit found, one line each; empty when it was clean.
    pub audit_findings: Vec<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The board is damaged.
    #[error(transparent)]
    Corrupt(#[from] CorruptRecord),
    /// The latencies could not be added up.
    #[error("cannot add up latencies: {0}")]
    Histogram(#[from] CreationError),
}

/// What an audit without findings is called.
pub const AUDIT_CLEAN: &str = "clean";

impl ReplayReport {
    /// Adds up what the board and the supervisor know.
    ///
    /// # Errors
    /// [`ReportError`]: a damaged board.
    // r[impl replay.report]
    pub fn build(board: &Supervisor, run: &RunFigures) -> Result<ReplayReport, ReportError> {
        let outcomes = board.outcomes()?;
        let sum = |field: fn(&RequestOutcome) -> u64| -> u64 {
            outcomes.iter().map(|(_, outcome)| field(outcome)).sum()
        };
        let (references, hits) = (sum(|outcome| outcome.references), sum(|outcome| outcome.hits));
        let requests = outcomes.len() as u64;
        Ok(ReplayReport {
            requests,
            references,
            hits,
            hit_rate_percent: 100.0 * ratio(hits as f64, references as f64),
            bytes_verified: sum(|outcome| outcome.bytes_verified),
            mismatches: sum(|outcome| outcome.mismatches),
            lookup_ns: Percentiles::of(&board.lookup_latencies()?, 1.0),
            publish_ns: Percentiles::of(&board.publish_latencies()?, 1.0),
            seconds: run.duration.as_secs_f64(),
            requests_per_second: ratio(requests as f64, run.duration.as_secs_f64()),
            guests_killed: run.guests_killed,
            guests_recovered: run.guests_recovered,
            requests_redone: run.requests_redone,
            slots_taken_back: run.slots_taken_back,
            recovery_ms: recovery_ms(&run.recoveries)?,
            grown_from_bytes: run.grown_from_bytes,
            grown_to_bytes: run.grown_to_bytes,
            audit: audit_text(&run.audit_findings),
        })
    }

    /// Whether nothing went wrong: no byte was wrong, all that was killed was recovered and the audit
    /// is clean.
    pub fn is_clean(&self) -> bool {
        self.mismatches == 0
            && self.guests_killed == self.guests_recovered
            && self.audit == AUDIT_CLEAN
    }

    /// The rows for a person to read. More can be added before it is shown.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let (requests, per_second) = (Grouped(self.requests), self.requests_per_second);
        table.row("requests", format!("{requests} in {:.1} s, {per_second:.0}/s", self.seconds));
        table.row("block references", format!("{}", Grouped(self.references)));
        let hits = Grouped(self.hits);
        table.row("hits", format!("{hits} ({:.2} %)", self.hit_rate_percent));
        let verified = ByteSize::from_bytes(self.bytes_verified).rounded();
        table.row("read back and checked", format!("{verified}, {} wrong blocks", self.mismatches));
        table.row("lookup", show_ns(self.lookup_ns));
        table.row("publish", show_ns(self.publish_ns));
        let (killed, recovered) = (self.guests_killed, self.guests_recovered);
        table.row("guests killed", format!("{killed}, {recovered} recovered"));
        if killed > 0 {
            let (redone, slots) = (self.requests_redone, self.slots_taken_back);
            let cost = format!("{redone} requests done again, {slots} slots taken back");
            table.row("cost of the kills", cost);
        }
        if let Some(Percentiles { p50, p99 }) = self.recovery_ms {
            table.row("recovered within", format!("p50 {p50:.1} ms, p99 {p99:.1} ms"));
        }
        let [from, to] = [self.grown_from_bytes, self.grown_to_bytes]
            .map(|bytes| ByteSize::from_bytes(bytes).rounded());
        let growth = if from == to { to } else { format!("grew from {from} to {to}") };
        table.row("pool", growth);
        table.row("audit", self.audit.clone());
        table
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table().fmt(out)
    }
}

impl Percentiles {
    /// The figures of a histogram, divided by `unit`; nothing of an empty one.
    fn of(histogram: &Histogram<u64>, unit: f64) -> Option<Percentiles> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / unit;
        (!histogram.is_empty()).then(|| Percentiles { p50: at(0.5), p99: at(0.99) })
    }
}

fn recovery_ms(recoveries: &[Duration]) -> Result<Option<Percentiles>, CreationError> {
    /// An hour, in microseconds.
    const RECOVERY_US_MAX: u64 = 3_600_000_000;
    let mut histogram = Histogram::<u64>::new_with_max(RECOVERY_US_MAX, 3)?;
    for recovery in recoveries {
        let recovery_us = u64::try_from(recovery.as_micros()).unwrap_or(RECOVERY_US_MAX);
        histogram.saturating_record(recovery_us);
    }
    Ok(Percentiles::of(&histogram, 1000.0))
}

fn audit_text(findings: &[String]) -> String {
    if findings.is_empty() { AUDIT_CLEAN.to_owned() } else { findings.join("\n") }
}

/// `a / b`, and 0 where there is nothing to divide by.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

fn show_ns(percentiles: Option<Percentiles>) -> String {
    let Some(Percentiles { p50, p99 }) = percentiles else { return "none".to_owned() };
    format!("p50 {}, p99 {} per key", duration_text(p50), duration_text(p99))
}

/// Nanoseconds in the unit that fits them.
fn duration_text(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e6 => format!("{:.1} us", ns / 1e3),
        ..1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.1} s", ns / 1e9),
    }
}

/// A number with its digits in groups of three.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                out.write_str(",")?;
            }
            write!(out, "{digit}")?;
        }
        Ok(())
    }
}
