//! Requests to the host and its service.

use super::error::{CallError, Forked};
use super::held::Reservation;
use super::link::{Outgoing, SLOT_FLAGS};
use super::reply::Reply;
use super::{Guest, Inner, Pending};
use crate::wire::{SERVICE_KIND_MAX, SERVICE_KIND_MIN, SlotPayload, kind};
use onecopy_shm::copy_shared;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

impl Inner {
    /// What every call does first.
    #[inline]
    pub(super) fn enter(&self) -> Result<(), Forked> {
        if !self.fork.is_this_process() {
            return Err(Forked);
        }
        // Without a watcher each call does its part.
        if let Some(heartbeat) = &self.link.heartbeat {
            heartbeat.beat();
        }
        Ok(())
    }

    #[inline]
    pub(super) fn check_kind(&self, kind: u8) -> Result<(), CallError> {
        if (SERVICE_KIND_MIN..=SERVICE_KIND_MAX).contains(&kind) {
            Ok(())
        } else {
            Err(CallError::ReservedKind { kind })
        }
    }

    #[inline]
    pub(super) fn check_inline(&self, length: u32) -> Result<(), CallError> {
        if length <= self.inline_bytes_max {
            return Ok(());
        }
        let max_bytes = self.inline_bytes_max.into();
        Err(CallError::TooLarge { length_bytes: length.into(), max_bytes })
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask(
        self: &Arc<Self>,
        outgoing: Outgoing,
        fill: impl FnOnce(&mut [u8]),
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let state = self.link.lock();
        let (state, request_id) = self.link.submit(state, outgoing, fill, deadline)?;
        let (state, answer) = self.link.await_answer(state, request_id, deadline)?;
        let reply = Reply::new(self, answer);
        drop(state);
        reply.map(Reply::told)
    }
}

impl Guest {
    /// Sends a request and waits for the answer. The payload travels in the frame if it is short
    /// enough, else it is copied into a slot that is reserved for it.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(&self, kind: u8, payload: &[u8], deadline: Instant) -> Result<Reply, CallError> {
        match u32::try_from(payload.len()) {
            Ok(length) if length <= self.inner.inline_bytes_max => {
                let fill = |target: &mut [u8]| copy_shared!("ring.request.half", target, payload);
                self.call_with(kind, length, fill, deadline)
            }
            _ => {
                self.inner.check_kind(kind)?;
                let mut reservation = self.reserve(payload.len() as u64, deadline)?;
                if let Some(target) = reservation.get_mut(..payload.len()) {
                    copy_shared!("slot.payload.half", target, payload);
                }
                self.call_slot(kind, reservation, payload.len() as u64, deadline)
            }
        }
    }

    /// Sends a request that `fill` writes into the ring, and waits for the answer. `fill` gets
    /// `length` bytes, at most [`Guest::inline_bytes_max`], which hold what earlier frames left; it
    /// must be short and must not use the guest.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_with(
        &self,
        kind: u8,
        length: u32,
        fill: impl FnOnce(&mut [u8]),
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        self.inner.enter()?;
        self.inner.check_kind(kind)?;
        self.inner.check_inline(length)?;
        self.inner.ask(Outgoing::inline(kind, length), fill, deadline)
    }

    /// As [`Guest::call_with`], for short answers: copies the answer into `reply` and returns its
    /// length. Takes no memory.
    ///
    /// # Errors
    /// [`CallError`].
    // r[impl guest.call.direct]
    #[inline]
    pub fn call_into(
        &self,
        kind: u8,
        length: u32,
        fill: impl FnOnce(&mut [u8]),
        reply: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, CallError> {
        let inner = &self.inner;
        inner.enter()?;
        inner.check_kind(kind)?;
        inner.check_inline(length)?;
        let link = &inner.link;
        let outgoing = Outgoing::inline(kind, length);
        let (mut state, request_id) = link.submit(link.lock(), outgoing, fill, deadline)?;
        if let Some(copied) = link.answer_directly(&mut state, request_id, reply) {
            return Ok(copied);
        }
        let (state, answer) = link.await_answer(state, request_id, deadline)?;
        let answer = Reply::new(inner, answer);
        drop(state);
        let answer = answer?.told();
        match reply.get_mut(..answer.len()) {
            Some(target) => {
                target.copy_from_slice(&answer);
                Ok(answer.len())
            }
            None => Err(CallError::ReplyTooLong {
                length_bytes: answer.len() as u64,
                capacity_bytes: reply.len() as u64,
            }),
        }
    }

    /// Sends a request whose payload stands in the first `length_bytes` of a slot, and waits for the
    /// answer. The slot comes back with an answer that stands in it; else it goes back into stock
    /// when the host has answered.
    ///
    /// # Errors
    /// [`CallError`].
    // r[impl guest.call.slot]
    pub fn call_slot(
        &self,
        kind: u8,
        reservation: Reservation,
        length_bytes: u64,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        self.submit_slot(kind, reservation, length_bytes, deadline)?.wait(deadline)
    }

    /// Sends a request whose payload stands in the first `length_bytes` of a slot.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn submit_slot(
        &self,
        kind: u8,
        reservation: Reservation,
        length_bytes: u64,
        deadline: Instant,
    ) -> Result<Pending, CallError> {
        self.inner.enter()?;
        self.inner.check_kind(kind)?;
        reservation.check_attach(&self.inner)?;
        let granted = reservation.held.granted;
        if length_bytes > granted.slot_bytes {
            let (slot, slot_bytes) = (granted.slot.slot, granted.slot_bytes);
            return Err(CallError::BeyondSlot { slot, length_bytes, slot_bytes });
        }
        let payload =
            SlotPayload { slot: granted.slot.to_u64().into(), length_bytes: length_bytes.into() };
        let length = payload.as_bytes().len() as u32;
        let outgoing = Outgoing { kind, flags: SLOT_FLAGS, length, request_slot: Some(granted) };
        let bytes = payload.as_bytes();
        let fill = |target: &mut [u8]| copy_shared!("ring.request.half", target, bytes);
        let link = &self.inner.link;
        let (state, request_id) = link.submit(link.lock(), outgoing, fill, deadline)?;
        // From here on the table of requests has the slot.
        reservation.held.release();
        drop(state);
        Ok(Pending::new(&self.inner, request_id))
    }

    /// Sends a request if there is room now.
    ///
    /// # Errors
    /// [`CallError::Full`] when there is none; else [`CallError`].
    // r[impl guest.back-pressure]
    pub fn try_submit_with(
        &self,
        kind: u8,
        length: u32,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Pending, CallError> {
        self.inner.enter()?;
        self.inner.check_kind(kind)?;
        self.inner.check_inline(length)?;
        let mut state = self.inner.link.lock();
        // What has been answered meanwhile may make room.
        self.inner.link.drain(&mut state);
        let outgoing = Outgoing::inline(kind, length);
        let request_id = self.inner.link.try_submit(&mut state, outgoing, &mut Some(fill))?;
        drop(state);
        Ok(Pending::new(&self.inner, request_id))
    }

    /// Sends a request, waiting for room until the deadline. Many may be in flight; `fill` is as for
    /// [`Guest::call_with`].
    ///
    /// # Errors
    /// [`CallError`].
    pub fn submit_with(
        &self,
        kind: u8,
        length: u32,
        fill: impl FnOnce(&mut [u8]),
        deadline: Instant,
    ) -> Result<Pending, CallError> {
        self.inner.enter()?;
        self.inner.check_kind(kind)?;
        self.inner.check_inline(length)?;
        let link = &self.inner.link;
        let outgoing = Outgoing::inline(kind, length);
        let (state, request_id) = link.submit(link.lock(), outgoing, fill, deadline)?;
        drop(state);
        Ok(Pending::new(&self.inner, request_id))
    }

    /// The time that a small frame takes to the host and back.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn ping(&self, deadline: Instant) -> Result<Duration, CallError> {
        let started = Instant::now();
        self.inner.enter()?;
        self.inner.ask(Outgoing::inline(kind::PING, 0), |_| {}, deadline)?;
        Ok(started.elapsed())
    }

    /// The host's figures, as JSON.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn host_stats(&self, deadline: Instant) -> Result<String, CallError> {
        let text = self.ask_text(kind::STATS, deadline)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What the host's audit found: whether it is clean, and its findings as text.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn host_audit(&self, deadline: Instant) -> Result<(bool, String), CallError> {
        let audit = self.ask_text(kind::AUDIT, deadline)?;
        let (clean, text) = audit.split_first().unwrap_or((&0, &[]));
        Ok((*clean == 1, String::from_utf8_lossy(text).into_owned()))
    }
}
