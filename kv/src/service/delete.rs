//! Taking blocks out on request: deletes, and reports of corrupt blocks.

use super::Core;
use crate::key::Key;
use crate::note::Note;
use crate::protocol::{KeyOutcome, ReportEntry};
use onecopy_shm::SlotRef;
use onecopy_transport::service::ServiceContext;

impl Core {
    /// Unpublishes at once, unless anybody has the key pinned.
    // r[impl kv.delete]
    // r[impl kv.delete_busy]
    // r[impl kv.delete_guarded]
    pub(super) fn delete(&mut self, key: &Key, context: &mut ServiceContext<'_>) -> KeyOutcome {
        let Some(slot) = self.find_live(key, context) else {
            return KeyOutcome::NotFound;
        };
        let pins = self.pins.count(slot.slot);
        if pins > 0 {
            self.counted.deletes_busy += 1;
            return KeyOutcome::Busy { pins };
        }
        if self.policy.is_guarded(slot.slot) {
            self.counted.deletes_busy += 1;
            return KeyOutcome::Guarded;
        }
        self.unpublish(slot.slot, key, context);
        self.counted.deletes += 1;
        KeyOutcome::Done { pins: 0 }
    }

    /// A reader says that this block is not what its checksum says. It is retired if it is still
    /// the same one (same slot, same generation, same key), pinned or not. The host does not read
    /// payloads, so it takes the reader's word: a false report costs one block and nothing else.
    // r[impl kv.report]
    pub(super) fn report(
        &mut self,
        entry: &ReportEntry,
        context: &mut ServiceContext<'_>,
    ) -> KeyOutcome {
        match self.reported_slot(entry, context) {
            Some(slot) => {
                self.unpublish(slot, &entry.key, context);
                self.counted.corrupt += 1;
                KeyOutcome::Done { pins: 0 }
            }
            None => {
                self.counted.reports_stale += 1;
                KeyOutcome::NotFound
            }
        }
    }

    /// The slot of this block will never be used again: the block goes with it, pinned or not.
    // r[impl kv.withdraw]
    pub(super) fn withdraw(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) {
        if context.pool.published(slot.slot) == Some(slot) {
            let note = Note::from_words(context.pool.note(slot.slot));
            self.unpublish(slot.slot, &note.key, context);
            self.counted.withdrawn += 1;
        }
    }

    fn reported_slot(&self, entry: &ReportEntry, context: &ServiceContext<'_>) -> Option<u32> {
        let reported = SlotRef::from_u64(entry.slot.get())?;
        let published = context.pool.published(reported.slot)?;
        let note = Note::from_words(context.pool.note(reported.slot));
        (published == reported && note.key == entry.key).then_some(reported.slot)
    }
}
