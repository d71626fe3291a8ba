//! The host's figures, for `stat`, tests and the service's users.

use super::core::Core;
use super::cut_off::CutOffs;
use crate::audit::AuditReport;
use crate::pool::PoolCounts;
use crate::service::Service;
use std::fmt::Write;

/// What a host has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests carried out.
    pub requests: u64,
    /// Requests refused with an error.
    pub refused: u64,
    /// Guests let in.
    pub attached: u64,
    /// Attaches refused.
    pub attach_refused: u64,
    /// Times a guest became suspect.
    pub suspected: u64,
    /// Links ended by the host, by reason.
    pub cut_off: CutOffs,
    /// Guests that said goodbye.
    pub departed: u64,
    /// Dead guests whose holdings were taken back.
    pub recovered: u64,
    /// Attaches that ended because their guest attached anew and took over what it still uses.
    pub handed_over: u64,
    /// Peers that were sent SIGKILL.
    pub peers_killed: u64,
    /// Of these, suspects that were killed by policy.
    pub suspects_killed: u64,
    /// Peers whose holdings were written off.
    pub peers_written_off: u64,
    /// Walks through all tables for guests that asked for the audit or for peers.
    pub walks: u64,
    /// Times that a guest which slept was woken for what had been sent to it.
    pub guests_woken: u64,
    /// Times that the host lay down to sleep with nothing to do.
    pub sleeps: u64,
    /// Uses that guests noted in their touch logs and the host has taken.
    pub touches: u64,
    /// Uses that guests noted and overwrote before the host took them.
    pub touches_lost: u64,
    /// Steps of growth.
    pub grown: u64,
    /// Steps of growth that failed.
    pub growth_failed: u64,
    /// Looks through all lease tables, to find what can be used again.
    pub lease_looks: u64,
    /// Words of lease tables that these looks have read, eight bytes each.
    pub lease_words_looked: u64,
    /// Nanoseconds that these looks took.
    pub lease_look_ns: u64,
}

impl<S: Service> Core<S> {
    /// Every figure with its name; byte counts end in `_bytes`, the rest are plain counts.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.counters;
        let counts = self.pool.counts();
        let mut stats = vec![
            ("guests", self.leases.len() as u64),
            ("guests_earlier", self.earlier_guests()),
            ("lease_tables_lost", self.lease_tables_lost()),
            ("requests", counters.requests),
            ("requests_refused", counters.refused),
            ("attached", counters.attached),
            ("attach_refused", counters.attach_refused),
            ("suspected", counters.suspected),
            ("departed", counters.departed),
            ("recovered", counters.recovered),
            ("handed_over", counters.handed_over),
            ("peers_killed", counters.peers_killed),
            ("suspects_killed", counters.suspects_killed),
            ("peers_written_off", counters.peers_written_off),
            ("walks", counters.walks),
            ("guests_woken", counters.guests_woken),
            ("sleeps", counters.sleeps),
            ("touches", counters.touches),
            ("touches_lost", counters.touches_lost),
            ("grown", counters.grown),
            ("growth_failed", counters.growth_failed),
            ("lease_looks", counters.lease_looks),
            ("lease_words_looked", counters.lease_words_looked),
            ("lease_look_ns", counters.lease_look_ns),
            ("clock_s", self.clock_s),
            ("ticks", self.tick),
            ("pool_bytes_max", self.geometry.pool_bytes_max),
        ];
        stats.extend(counters.cut_off.figures());
        stats.extend(pool_figures(&counts));
        stats.extend(self.service.stats(&self.pool));
        stats
    }

    /// [`Core::stats`] as one JSON object. The names are plain identifiers and need no escapes.
    pub fn stats_json(&self) -> String {
        let mut json = String::from("{");
        for (index, (name, value)) in self.stats().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a String does not fail.
            let _ = write!(json, "{comma}\"{name}\":{value}");
        }
        json.push('}');
        json
    }

    /// Checks everything that must add up.
    // r[impl audit.host]
    pub fn audit(&self) -> AuditReport {
        let mut report = AuditReport::default();
        self.pool.audit(&mut report);
        self.service.audit(&self.pool, &mut report);
        self.audit_owners(&mut report);
        report
    }

    /// Every grant, quarantined slot and lease table has an owner that is not proven dead.
    fn audit_owners(&self, report: &mut AuditReport) {
        for serial in self.pool.owners() {
            if !self.leases.iter().any(|leases| leases.who.serial == serial) {
                report
                    .find("host.owner", format_args!("serial {serial} holds slots and is no peer"));
            }
        }
    }

    /// The audit as it travels: first byte 1 when clean, then text.
    pub fn audit_text(&self) -> String {
        let report = self.audit();
        format!("{}{report}", if report.is_clean() { '\x01' } else { '\0' })
    }
}

fn pool_figures(counts: &PoolCounts) -> [(&'static str, u64); 16] {
    [
        ("pool_bytes", counts.pool_bytes),
        ("slots_free", counts.free.slots),
        ("slots_free_bytes", counts.free.bytes),
        ("slots_granted", counts.granted.slots),
        ("slots_granted_bytes", counts.granted.bytes),
        ("slots_published", counts.published.slots),
        ("slots_published_bytes", counts.published.bytes),
        ("slots_retired", counts.retired.slots),
        ("slots_retired_bytes", counts.retired.bytes),
        ("slots_quarantined", counts.quarantined.slots),
        ("slots_quarantined_bytes", counts.quarantined.bytes),
        ("slots_written_off", counts.written_off.slots),
        ("slots_written_off_bytes", counts.written_off.bytes),
        ("uncarved_bytes", counts.bytes_uncarved),
        ("unusable_bytes", counts.bytes_unusable),
        ("extents", counts.extents),
    ]
}
