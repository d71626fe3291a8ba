//! What must be true of the cache whenever nothing is going on.

use super::{Core, Usage};
use crate::note::Note;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::pool::VarSlotPool;
use std::collections::HashSet;

/// What a report of the audit calls the number of buckets of the index.
pub const INDEX_BUCKETS: &str = "kv.index_buckets";

impl Core {
    // r[impl kv.audit]
    pub(super) fn audit(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        self.audit_index(pool, report);
        self.audit_slots(pool, report);
        self.audit_order(report);
        self.audit_pins(pool, report);
        let over = !self.capacity.holds(self.usage.blocks, self.usage.slot_bytes);
        if over && !self.is_over && self.found.is_empty() && self.counted.publishes > 0 {
            let (blocks, bytes) = (self.usage.blocks, self.usage.slot_bytes);
            let capacity = self.capacity;
            report.find(
                "kv.capacity",
                format_args!("{blocks} blocks of {bytes} bytes exceed {capacity:?}"),
            );
        }
        report.count("kv.blocks", self.usage.blocks);
        report.count("kv.bytes", self.usage.bytes);
        report.count("kv.pins", self.pins.total());
        report.count(INDEX_BUCKETS, self.index.bucket_count());
    }

    /// Every index entry leads to a published slot that is found by its key.
    fn audit_index(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        let hash_of = |slot| {
            pool.published(slot).map(|_| self.index.hash(&Note::from_words(pool.note(slot)).key))
        };
        self.index.audit(hash_of, |fault| report.find("kv.index", format_args!("{fault}")));
    }

    /// Every published slot has an index entry, and counts once.
    fn audit_slots(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        let mut usage = Usage::default();
        let waiting: HashSet<u32> = self.found.iter().map(|block| block.slot).collect();
        let published = pool.all_published().filter_map(|slot| Some((slot.slot, pool.slot(slot)?)));
        for (slot, view) in published {
            usage.add(&view, view.length_bytes);
            if self.pins.count(slot) > 0 {
                usage.pin(view.slot_bytes);
            }
            let key = Note::from_words(pool.note(slot)).key;
            let found = self.find(&key, pool);
            if found != Some(slot) {
                report.find(
                    "kv.slot",
                    format_args!("the key {key} of slot {slot} leads to slot {found:?}"),
                );
            }
            if self.policy.holds(slot) == waiting.contains(&slot) {
                report.find(
                    "kv.policy",
                    format_args!("slot {slot} is published and the policy does not know it once"),
                );
            }
        }
        if usage != self.usage {
            let counted = self.usage;
            report.find("kv.usage", format_args!("counted {counted:?}, expected {usage:?}"));
        }
    }

    fn audit_order(&self, report: &mut AuditReport) {
        if let Err(fault) = self.policy.audit() {
            report.find("kv.policy", format_args!("{fault}"));
        }
        let held = u64::from(self.policy.count()) + self.found.len() as u64;
        report.expect_equal("kv.policy", "number of blocks", held, self.usage.blocks);
        let pinned = u64::from(self.policy.pinned_count());
        report.expect_equal("kv.policy", "pinned blocks", pinned, self.usage.pinned_blocks);
    }

    fn audit_pins(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        if let Err(slot) = self.pins.audit() {
            report.find("kv.pins", format_args!("the pins of slot {slot} do not add up"));
        }
        for slot in self.pins.slots().filter(|&slot| pool.published(slot).is_none()) {
            report.find("kv.pins", format_args!("slot {slot} is pinned, is not published"));
        }
    }
}
