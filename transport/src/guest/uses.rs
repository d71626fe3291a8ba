//! Telling the host of uses that it was not asked about.

use super::Guest;
use onecopy_shm::SlotRef;

impl Guest {
    /// Notes for the host's order of eviction that the published block in this slot was used: for
    /// whoever finds blocks without asking the host, right after the lease. It costs a few instructions
    /// and may be lost (see `HostOptions::touch_entries`); the host takes the notes of a guest before it
    /// carries out the next request of it. In a forked child, and after a goodbye, it does nothing.
    // r[impl touch.note]
    #[inline]
    pub fn note_use(&self, slot: SlotRef) {
        let inner = &self.inner;
        if !inner.fork.is_this_process() || inner.closing.is_begun() {
            return;
        }
        if inner.link.is_superseded() {
            return self.note_use_later(slot);
        }
        inner.touches.note(slot);
    }

    /// Nobody looks at the log of an attach whose place another one took.
    #[cold]
    fn note_use_later(&self, slot: SlotRef) {
        if let Some(next) = self.inner.succession.next() {
            next.note_use(slot);
        }
    }
}
