//! Slots that somebody in this process holds: reservations, and answers that stand in a slot.

use super::Inner;
use super::error::StaleReservation;
use super::magazine::GrantedSlot;
use super::{Forked, Guest};
use crate::format::Role;
use onecopy_shm::SlotRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A granted slot out of its magazine. Dropping it puts it back.
#[derive(Debug)]
pub(super) struct HeldSlot {
    pub(super) inner: Arc<Inner>,
    pub(super) granted: GrantedSlot,
    /// Serial of the attach that a request last named the slot to.
    named_to: AtomicU32,
}

impl HeldSlot {
    /// Takes charge of a slot that came out of a magazine or with an answer. To be called with the
    /// link's mutex, under which it came: then an attach that takes this one's place knows of it.
    pub(super) fn new(inner: &Arc<Inner>, granted: GrantedSlot) -> HeldSlot {
        inner.kept.add(granted.slot);
        let named_to = AtomicU32::new(inner.serial);
        HeldSlot { inner: Arc::clone(inner), granted, named_to }
    }

    /// Whether the attach that a request named the slot to was given up for a later one.
    fn is_named_to_earlier(&self) -> bool {
        self.inner.link.is_superseded() && {
            let latest = Guest { inner: Arc::clone(&self.inner) }.latest();
            latest.serial() != self.named_to.load(Ordering::Relaxed)
        }
    }

    /// Lets go of the slot without putting it back: it is the host's now, or travels there.
    pub(super) fn release(mut self) -> GrantedSlot {
        let granted = self.granted;
        self.inner.kept.remove(granted.slot);
        self.granted.slot_bytes = 0;
        granted
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        // No class has slots of 0 bytes.
        let was_let_go = self.granted.slot_bytes == 0;
        if was_let_go || !self.inner.fork.is_this_process() {
            return;
        }
        self.inner.put_back(self.granted);
    }
}

/// A slot to be filled: `DerefMut` to its bytes, in place. What stands in them is left from earlier
/// use. Dropping it puts the slot back into the guest's stock.
#[derive(Debug)]
pub struct Reservation {
    pub(super) held: HeldSlot,
}

impl Reservation {
    /// The slot, as the host knows it.
    #[inline]
    pub fn slot(&self) -> SlotRef {
        self.held.granted.slot
    }

    /// Bytes that it holds.
    #[inline]
    pub fn slot_bytes(&self) -> u64 {
        self.held.granted.slot_bytes
    }

    /// Serial of the attach that reserved it.
    pub fn serial(&self) -> u32 {
        self.held.inner.serial
    }

    /// The slot, for a request of `guest` that names it in its payload.
    ///
    /// # Errors
    /// [`StaleReservation`]: another attach reserved it, and `guest` has not taken it over.
    // r[impl guest.reservation.stale]
    pub fn slot_for(&self, guest: &Guest) -> Result<SlotRef, StaleReservation> {
        self.check_attach(&guest.inner)?;
        self.held.named_to.store(guest.inner.serial, Ordering::Relaxed);
        Ok(self.slot())
    }

    pub(super) fn check_attach(&self, inner: &Arc<Inner>) -> Result<(), StaleReservation> {
        let reserved_in = &self.held.inner;
        let was_handed_over =
            || Arc::ptr_eq(&reserved_in.kept, &inner.kept) && inner.kept.holds(self.slot());
        if Arc::ptr_eq(reserved_in, inner) || was_handed_over() {
            return Ok(());
        }
        let reserved_by = self.held.inner.serial;
        Err(StaleReservation { slot: self.slot(), reserved_by, serial: inner.serial })
    }

    /// Forgets the reservation because a request that was sent consumes the slot: from the moment
    /// its frame is committed the slot is the host's, whatever the answer. (Whether it was sent:
    /// [`super::CallError::request_sent`].)
    pub fn into_slot(self) -> SlotRef {
        let slot = self.slot();
        if !self.held.is_named_to_earlier() {
            self.held.release();
        }
        // Else that attach is over and the host has not done it: what was handed over since is this
        // process's, and goes into stock with this reservation.
        slot
    }

    pub(super) fn of(held: HeldSlot) -> Result<Reservation, HeldSlot> {
        // A reader has no writable mapping of the pool.
        if held.inner.role == Role::Writer { Ok(Reservation { held }) } else { Err(held) }
    }
}

impl Guest {
    /// That this process is the one that attached.
    #[inline]
    pub(super) fn check_process(&self) -> Result<(), Forked> {
        if self.inner.fork.is_this_process() { Ok(()) } else { Err(Forked) }
    }
}
