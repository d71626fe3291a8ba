//! Attaching anew after the host went away: the new attach takes over what this process still uses.
//!
//! In this order: nothing more is taken in on the old link or out of its stock; the host is told which
//! slots are still in use, and grants them to the new attach; then it is told that this was all, and
//! frees the rest; then threads find the new attach. Until then whoever drops a slot puts it aside.

use super::attach::{AttachError, Earlier};
use super::error::{CallError, LinkError};
use super::link::{LinkState, Outgoing};
use super::magazine::GrantedSlot;
use super::succession::{Begun, Turn};
use super::{Guest, Inner};
use crate::wire::{Handover, kind};
use onecopy_shm::{SlotRef, SlotState, SlotWord};
use std::mem::size_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use zerocopy::IntoBytes;

const HEAD_BYTES: usize = size_of::<Handover>();

impl Guest {
    /// Attaches anew to the host that serves the segment now, when the link of this attach is over
    /// (see [`Guest::end`]); else it is this guest that comes back. The new one has a serial and rings
    /// of its own. When the segment is the same, mappings and lease table stay, so guards of this
    /// handle stay valid; reservations and answers in slots become the new attach's and can be
    /// published there. When another clone has done it already, that guest comes back.
    ///
    /// # Errors
    /// [`AttachError`]. What could not be taken over stays this process's, for the next try.
    // r[impl guest.reattach]
    pub fn reattach(&self, deadline: Instant) -> Result<Guest, AttachError> {
        self.reattach_with(deadline, |_| {})
    }

    /// As [`Guest::reattach`]; `restore` is called with the new attach before the host is told that
    /// nothing else of the earlier one is in use. Until it returns, or the host's patience ends, the
    /// host gives nothing up that the earlier attach may have asked it to keep.
    ///
    /// # Errors
    /// As for [`Guest::reattach`].
    pub fn reattach_with(
        &self,
        deadline: Instant,
        restore: impl FnOnce(&Guest),
    ) -> Result<Guest, AttachError> {
        self.check_process()?;
        let mut guest = self.clone();
        loop {
            let inner = Arc::clone(&guest.inner);
            match inner.succession.begin(deadline) {
                Begun::Done(next) => guest = next,
                Begun::Mine(turn) if inner.is_over() => {
                    return inner.attach_anew(turn, deadline, restore);
                }
                Begun::Mine(_) => {
                    if !guest.is_same_attach(self) {
                        self.inner.succession.shorten(&guest);
                    }
                    return Ok(guest);
                }
                Begun::TooLate => return Err(AttachError::Underway),
            }
        }
    }

    /// The attach that has taken this one's place, or this one.
    pub fn latest(&self) -> Guest {
        let mut guest = self.clone();
        let mut steps = 0;
        while guest.is_superseded()
            && let Some(next) = guest.inner.succession.next()
        {
            guest = next;
            steps += 1;
        }
        // The next one is as near as it gets: every call of an old handle comes by here.
        if steps > 1 {
            self.inner.succession.shorten(&guest);
        }
        guest
    }

    /// Whether both are handles of one attach.
    pub fn is_same_attach(&self, other: &Guest) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether this attach was given up for a later one.
    #[inline]
    pub fn is_superseded(&self) -> bool {
        self.inner.link.is_superseded()
    }
}

impl Inner {
    /// Asks the system too: a host that was killed just now may not have been noticed.
    fn is_over(self: &Arc<Self>) -> bool {
        if self.link.socket.is_known_closed() {
            self.link.set_closed();
        }
        Guest { inner: Arc::clone(self) }.end().is_some()
    }

    fn attach_anew(
        &self,
        turn: Turn<'_>,
        deadline: Instant,
        restore: impl FnOnce(&Guest),
    ) -> Result<Guest, AttachError> {
        let earlier = Earlier {
            areas: &self.areas,
            leases: &self.leases,
            kept: &self.kept,
            lease_serial: self.lease_serial,
            growth: &self.growth,
            segment_id: self.segment_id,
        };
        let guest = Guest::attach_after(&self.options, deadline, earlier)?;
        self.link.supersede(&mut self.link.lock());
        let is_heir = Arc::ptr_eq(&self.kept, &guest.inner.kept);
        let handed_over = match is_heir {
            true => guest.inner.take_over(deadline, || restore(&guest)),
            false => {
                restore(&guest);
                Ok(())
            }
        };
        turn.done(guest.clone());
        if is_heir {
            guest.inner.take_in_dropped();
        }
        match handed_over {
            Ok(()) => Ok(guest),
            Err(error) => Err(guest.inner.give_up(error)),
        }
    }

    /// Tells the host what of the earlier attaches is still in use, and then that this was all.
    // r[impl guest.reattach.kept]
    fn take_over(
        self: &Arc<Self>,
        deadline: Instant,
        restore: impl FnOnce(),
    ) -> Result<(), CallError> {
        let slots = self.still_granted();
        let frame_bytes = self.link.lock().producer.frame_length_max() as usize;
        let slots_max = (frame_bytes.saturating_sub(HEAD_BYTES) / size_of::<u64>()).max(1);
        for some in slots.chunks(slots_max) {
            self.send_handover(some, false, deadline)?;
        }
        restore();
        self.send_handover(&[], true, deadline)
    }

    /// The slots that this process uses and that are still its own. What a request had handed over
    /// when the host died may have been carried out: then the slot is somebody else's.
    fn still_granted(&self) -> Vec<SlotRef> {
        let mut slots = self.kept.all();
        slots.retain(|&slot| {
            let is_granted = self.is_granted(slot);
            if !is_granted {
                self.kept.forget(slot);
            }
            is_granted
        });
        slots
    }

    fn is_granted(&self, slot: SlotRef) -> bool {
        // Relaxed: the host has stored it before this attach was welcomed.
        let word = SlotWord::decode(self.control.load_slot_word(slot.slot, Ordering::Relaxed));
        word.is_ok_and(|word| {
            word.generation() == slot.generation
                && !word.is_written_off()
                && matches!(word.state(), SlotState::Granted | SlotState::Quarantined)
        })
    }

    fn send_handover(
        self: &Arc<Self>,
        slots: &[SlotRef],
        last: bool,
        deadline: Instant,
    ) -> Result<(), CallError> {
        let head = Handover { last: u64::from(last).into() };
        let length = HEAD_BYTES + size_of_val(slots);
        let fill = |target: &mut [u8]| {
            let (first, words) = target.split_at_mut(HEAD_BYTES);
            first.copy_from_slice(head.as_bytes());
            for (word, slot) in words.chunks_exact_mut(size_of::<u64>()).zip(slots) {
                word.copy_from_slice(&slot.to_u64().to_le_bytes());
            }
        };
        self.ask(Outgoing::inline(kind::HANDOVER, length as u32), fill, deadline).map(|_| ())
    }

    /// What was dropped before threads could find this attach goes into its stock.
    fn take_in_dropped(&self) {
        let dropped = self.kept.take_dropped();
        let mut state = self.link.lock();
        for granted in dropped {
            self.put_in_stock(&mut state, granted);
        }
    }

    /// An attach that could not take everything over is of no use: the next one will.
    fn give_up(&self, error: CallError) -> AttachError {
        let mut state = self.link.lock();
        if let CallError::Refused(refused) = error {
            self.link.broken(&mut state, LinkError::HandoverRefused(refused));
        }
        let end = self.link.end_of(&mut state);
        let end =
            end.unwrap_or_else(|| match self.link.broken(&mut state, LinkError::HandoverLate) {
                CallError::Link(end) => end,
                _ => super::LinkEnd::HostGone,
            });
        AttachError::Ended(end)
    }

    /// Puts a slot that nobody uses any more into the stock of the attach that has it now.
    // r[impl guest.reservation.drop]
    pub(super) fn put_back(&self, granted: GrantedSlot) {
        let mut state = self.link.lock();
        if !self.link.is_superseded() {
            return self.put_in_stock(&mut state, granted);
        }
        drop(state);
        self.pass_on(granted);
    }

    fn put_in_stock(&self, state: &mut LinkState, granted: GrantedSlot) {
        if self.kept.remove(granted.slot) {
            self.link.return_slot(state, granted);
        }
    }

    #[cold]
    fn pass_on(&self, granted: GrantedSlot) {
        match self.succession.next_or(|| self.kept.put_aside(granted)) {
            Some(next) if Arc::ptr_eq(&next.inner.kept, &self.kept) => next.inner.put_back(granted),
            // Void: it was in a segment, or in the hands of a host, that is not there any more.
            Some(_) => {
                self.kept.remove(granted.slot);
            }
            None => {}
        }
    }
}
