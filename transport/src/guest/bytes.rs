#![expect(unsafe_code, reason = "turns a held or leased slot into a slice of its bytes")]
//! The bytes of slots: the only place where the guest makes slices of the pool.

use super::held::{HeldSlot, Reservation};
use super::lease::{HoldsGuest, SlotGuard};
use std::ops::{Deref, DerefMut};

impl HeldSlot {
    /// The first `length_bytes` of an answer that stands in this slot.
    pub(super) fn answer_bytes(&self, length_bytes: u64) -> &[u8] {
        // SAFETY: the host granted the slot to this attach alone and stored the answer before it
        // committed the frame that names it; it does not write there again before the slot is given
        // back, which dropping `self` does. Nobody in this process has the slot but `self`, which is
        // borrowed. The host never truncates the pool; where somebody else
        // does, the mapping's guard has zeroes there and the guest is told (`check_intact`).
        let bytes = unsafe { self.inner.pool.read.bytes(self.granted.offset, length_bytes) };
        // In range: checked against the pool's published size when the answer came.
        bytes.unwrap_or_default()
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let granted = self.held.granted;
        let Some(region) = &self.held.inner.pool.write else { return &[] };
        // SAFETY: the slot is granted to this attach alone, and in this process to this reservation
        // alone, which is borrowed: nobody writes it meanwhile. The host never truncates the pool; where somebody else
        // does, the mapping's guard has zeroes there and the guest is told (`check_intact`).
        let bytes = unsafe { region.bytes(granted.offset, granted.slot_bytes) };
        bytes.unwrap_or_default()
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        let granted = self.held.granted;
        let Some(region) = &self.held.inner.pool.write else { return &mut [] };
        // SAFETY: the slot is granted to this attach alone, and in this process to this reservation
        // alone, which is borrowed mutably: nobody else reads or writes it meanwhile. The pool is
        // never truncated.
        let bytes = unsafe { region.bytes_mut(granted.offset, granted.slot_bytes) };
        bytes.unwrap_or_default()
    }
}

impl<G: HoldsGuest> Deref for SlotGuard<G> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (offset, length_bytes) = self.range();
        let pool = &self.guest.guest().inner.pool.read;
        // SAFETY: the guard holds a lease that was stored before the slot was seen published and
        // this guest attached, so the slot keeps its bytes until the lease is released, which
        // dropping the last clone does; published bytes never change. The host never truncates the pool; where somebody else
        // does, the mapping's guard has zeroes there and the guest is told (`check_intact`).
        let bytes = unsafe { pool.bytes(offset, length_bytes) };
        // In range: checked when the guard was made.
        bytes.unwrap_or_default()
    }
}
