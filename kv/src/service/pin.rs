//! Pinning and unpinning, and what a peer's end does to its pins.

use super::Core;
use crate::key::Key;
use crate::protocol::KeyOutcome;
use onecopy_transport::Serial;
use onecopy_transport::service::ServiceContext;

impl Core {
    /// Keeps the block from being evicted and deleted until this peer unpins it as often, or ends.
    // r[impl kv.pin]
    pub(super) fn pin(
        &mut self,
        serial: Serial,
        key: &Key,
        context: &mut ServiceContext<'_>,
    ) -> KeyOutcome {
        let Some(slot) = self.find_live(key, context) else {
            return KeyOutcome::NotFound;
        };
        let pins_max = self.pins_per_peer_max;
        let Some(pinned) = self.pins.pin(serial, slot.slot, pins_max) else {
            return KeyOutcome::PinQuota { pins_max };
        };
        if pinned.first {
            self.policy.pin(slot.slot);
            self.usage.pin(slot_bytes(slot.slot, context));
        }
        KeyOutcome::Done { pins: pinned.count }
    }

    /// Takes one pin of this peer away.
    // r[impl kv.unpin]
    pub(super) fn unpin(
        &mut self,
        serial: Serial,
        key: &Key,
        context: &mut ServiceContext<'_>,
    ) -> KeyOutcome {
        let Some(slot) = self.find_live(key, context) else {
            return KeyOutcome::NotFound;
        };
        let Some(unpinned) = self.pins.unpin(serial, slot.slot) else {
            return KeyOutcome::NotPinned;
        };
        if unpinned.last {
            self.release(slot.slot, context);
        }
        KeyOutcome::Done { pins: unpinned.count }
    }

    // r[impl kv.pin_dies]
    pub(super) fn peer_gone(&mut self, serial: Serial, context: &mut ServiceContext<'_>) {
        for slot in self.pins.forget_peer(serial) {
            self.release(slot, context);
        }
    }

    /// Nobody has this slot pinned any more.
    fn release(&mut self, slot: u32, context: &ServiceContext<'_>) {
        self.policy.unpin(slot);
        self.usage.unpin(slot_bytes(slot, context));
    }
}

fn slot_bytes(slot: u32, context: &ServiceContext<'_>) -> u64 {
    let view = context.pool.published(slot).and_then(|slot| context.pool.slot(slot));
    view.map_or(0, |view| view.slot_bytes)
}
