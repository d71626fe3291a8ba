//! Taking slots out of the magazines, and asking the host for more.

use super::error::{CallError, LinkEnd, ReserveError};
use super::held::{HeldSlot, Reservation};
use super::link::{LinkState, Locked, Outgoing};
use super::magazine::Magazines;
use super::options::REQUESTS_MAX;
use super::parker::Wish;
use super::pending::Answer;
use super::wait::WaitError;
use super::{Guest, Inner};
use crate::format::Role;
use crate::pool::ClassIndex;
use crate::wire::{QuotaError, Refill, RequestError, kind};
use onecopy_shm::copy_shared;
use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

#[cfg(feature = "tokio")]
mod tasks;

/// How long a reservation waits before it asks again whether a reader is done: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(16);

/// What is to be reserved.
#[derive(Clone, Copy)]
struct Wanted {
    class: ClassIndex,
    slot_bytes: u64,
    size_bytes: u64,
}

impl Guest {
    /// Reserves a slot of at least `size_bytes`: out of stock, else from the host. Where room comes
    /// only of slots that somebody still reads, it waits for them until the deadline.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(&self, size_bytes: u64, deadline: Instant) -> Result<Reservation, ReserveError> {
        let inner = &self.inner;
        let wanted = inner.wanted(size_bytes)?;
        let mut state = inner.link.lock();
        loop {
            if let Some(held) = inner.take(&mut state, wanted.class)? {
                drop(state);
                return reservation(held);
            }
            state = inner.refill(state, wanted, 1, deadline)?;
        }
    }

    /// Reserves a slot out of stock; when there is none, asks the host for some without waiting.
    ///
    /// # Errors
    /// [`ReserveError::NotStocked`] when there is none now; else [`ReserveError`].
    pub fn try_reserve(&self, size_bytes: u64) -> Result<Reservation, ReserveError> {
        let inner = &self.inner;
        let wanted = inner.wanted(size_bytes)?;
        let mut state = inner.link.lock();
        inner.link.drain(&mut state);
        if let Some(held) = inner.take(&mut state, wanted.class)? {
            drop(state);
            return reservation(held);
        }
        let (outgoing, refill) = inner.refill_request(&state, wanted, 1);
        let bytes = refill.as_bytes();
        let fill = |target: &mut [u8]| copy_shared!("ring.request.half", target, bytes);
        match inner.link.try_submit(&mut state, outgoing, &mut Some(fill)) {
            Ok(request_id) => inner.link.abandon(&mut state, request_id),
            Err(CallError::Full) => {}
            Err(error) => return Err(wanted.error(error)),
        }
        Err(ReserveError::NotStocked { slot_bytes: wanted.slot_bytes })
    }

    /// Reserves `count` slots of at least `size_bytes` each; all or none.
    ///
    /// # Errors
    /// [`ReserveError`].
    // r[impl guest.reserve.many]
    pub fn reserve_many(
        &self,
        size_bytes: u64,
        count: u32,
        deadline: Instant,
    ) -> Result<Vec<Reservation>, ReserveError> {
        let inner = &self.inner;
        let wanted = inner.wanted(size_bytes)?;
        let mut taken = Vec::new();
        let mut state = inner.link.lock();
        loop {
            let missing = (count as usize).saturating_sub(taken.len());
            if missing == 0 {
                drop(state);
                break;
            }
            match inner.take(&mut state, wanted.class) {
                Ok(Some(held)) => taken.push(held),
                // What was taken goes back when it is dropped, which wants the mutex: after `state`.
                Ok(None) => state = inner.refill(state, wanted, missing as u64, deadline)?,
                Err(error) => {
                    drop(state);
                    return Err(error);
                }
            }
        }
        taken.into_iter().map(reservation).collect()
    }
}

fn reservation(held: HeldSlot) -> Result<Reservation, ReserveError> {
    // That it lies in the pool was checked when it came; growth is told before it is used.
    let granted = held.granted;
    held.inner.growth.covers(granted.offset + granted.slot_bytes);
    if let Some(populated) = &held.inner.populated {
        populated.cover(granted.offset, granted.slot_bytes);
    }
    Reservation::of(held).map_err(|_| ReserveError::WrongRole)
}

impl Inner {
    // r[impl guest.reserve.role]
    fn wanted(&self, size_bytes: u64) -> Result<Wanted, ReserveError> {
        self.enter()?;
        if self.role != Role::Writer {
            return Err(ReserveError::WrongRole);
        }
        let classes = &self.control.geometry().classes;
        let index = classes.partition_point(|&slot_bytes| slot_bytes < size_bytes);
        let class = ClassIndex::try_from(index).ok();
        match (class, classes.get(index)) {
            (Some(class), Some(&slot_bytes)) => Ok(Wanted { class, slot_bytes, size_bytes }),
            _ => {
                let slot_bytes_max = classes.last().copied().unwrap_or(0);
                Err(ReserveError::TooLarge { size_bytes, slot_bytes_max })
            }
        }
    }

    /// Takes a slot out of stock.
    #[inline]
    fn take(
        self: &Arc<Self>,
        state: &mut LinkState,
        class: ClassIndex,
    ) -> Result<Option<HeldSlot>, ReserveError> {
        if let Some(end) = self.link.end_of(state) {
            return Err(ReserveError::Link(end));
        }
        if self.closing.is_begun() {
            return Err(ReserveError::Link(LinkEnd::Detached));
        }
        Ok(state.desk.magazines.pop(class).map(|granted| HeldSlot::new(self, granted)))
    }

    fn refill_request(&self, state: &LinkState, wanted: Wanted, count: u64) -> (Outgoing, Refill) {
        let count = state.desk.magazines.refill_count(wanted.class, count);
        let refill = Refill { size_bytes: wanted.size_bytes.into(), count: count.into() };
        (Outgoing::inline(kind::REFILL, size_of::<Refill>() as u32), refill)
    }

    /// Waits for slots in stock, asking the host for some if there are none. Slots that the last
    /// reader lets go of are announced to nobody: the host is asked again now and then.
    // r[impl guest.reserve.waits-for-readers]
    #[cold]
    fn refill<'a>(
        &'a self,
        state: Locked<'a>,
        wanted: Wanted,
        count: u64,
        deadline: Instant,
    ) -> Result<Locked<'a>, ReserveError> {
        let (mut state, mut pause, mut reason) = (state, PAUSE_MIN, None);
        loop {
            let (unchanged, error) = match self.refill_from_all(state, wanted, count, deadline) {
                Ok(state) => return Ok(state),
                Err(failed) => failed,
            };
            let until = Instant::now() + pause;
            match error {
                // What the host said before tells more.
                ReserveError::DeadlineExceeded { .. } => return Err(reason.unwrap_or(error)),
                error if !error.waits_for_readers() || until >= deadline => return Err(error),
                error => reason = Some(error),
            }
            let has = |state: &mut LinkState| state.desk.magazines.has(wanted.class);
            state = match self.link.wait_until(unchanged, Wish::Stock, until, has) {
                Ok(state) | Err((state, WaitError::DeadlineExceeded)) => state,
                Err((_, WaitError::Ended(end))) => return Err(ReserveError::Link(end)),
            };
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks for slots. What stands in the way may be stock of other classes: then that goes back, and
    /// the host is asked once more.
    // r[impl guest.reserve.stock-elsewhere]
    fn refill_from_all<'a>(
        &'a self,
        state: Locked<'a>,
        wanted: Wanted,
        count: u64,
        deadline: Instant,
    ) -> Result<Locked<'a>, (Locked<'a>, ReserveError)> {
        let (state, error) = match self.try_refill(state, wanted, count, deadline) {
            Ok(state) => return Ok(state),
            Err(refused) => refused,
        };
        if !error.is_for_room() || state.desk.magazines.is_empty() {
            return Err((state, error));
        }
        let state = self.give_back_all(state, wanted, deadline)?;
        self.try_refill(state, wanted, count, deadline)
    }

    /// Gives back all that is in stock.
    fn give_back_all<'a>(
        &'a self,
        state: Locked<'a>,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Locked<'a>, (Locked<'a>, ReserveError)> {
        let wish = Wish::Room(8);
        let waited = self.link.wait_until(state, wish, deadline, |state| {
            while self.link.try_give_back(state, Magazines::take_any) {}
            state.desk.magazines.is_empty()
        });
        waited.map_err(|(state, error)| match error {
            WaitError::Ended(end) => (state, ReserveError::Link(end)),
            WaitError::DeadlineExceeded => (state, wanted.error(CallError::Full)),
        })
    }

    // r[impl guest.reserve.refill]
    fn try_refill<'a>(
        &'a self,
        mut state: Locked<'a>,
        wanted: Wanted,
        count: u64,
        deadline: Instant,
    ) -> Result<Locked<'a>, (Locked<'a>, ReserveError)> {
        // They may be on their way already.
        self.link.drain(&mut state);
        if state.desk.magazines.has(wanted.class) {
            return Ok(state);
        }
        let (outgoing, refill) = self.refill_request(&state, wanted, count);
        let bytes = refill.as_bytes();
        let fill = |target: &mut [u8]| copy_shared!("ring.request.half", target, bytes);
        let (state, request_id) = match self.link.submit(state, outgoing, fill, deadline) {
            Ok(asked) => asked,
            Err(error) => return Err((self.link.lock(), wanted.error(error))),
        };
        let wish = Wish::Answer(request_id & (REQUESTS_MAX - 1));
        let waited = self.link.wait_until(state, wish, deadline, |state| {
            state.desk.pending.is_answered(request_id) || state.desk.magazines.has(wanted.class)
        });
        let (mut state, failed) = match waited {
            Ok(state) => (state, None),
            Err((state, WaitError::Ended(end))) => (state, Some(ReserveError::Link(end))),
            Err((state, WaitError::DeadlineExceeded)) => {
                let slot_bytes = wanted.slot_bytes;
                (state, Some(ReserveError::DeadlineExceeded { slot_bytes }))
            }
        };
        let answer = state.desk.pending.take(request_id);
        if answer.is_none() {
            // What it brings when it is answered goes into stock.
            self.link.abandon(&mut state, request_id);
        }
        match (answer, failed) {
            _ if state.desk.magazines.has(wanted.class) => Ok(state),
            (Some(Answer::Refused(words)), _) => Err((
                state,
                match RequestError::decode(&words) {
                    Some(refused) => ReserveError::Refused(refused),
                    None => ReserveError::UnknownAnswer { code: words.code.get() },
                },
            )),
            (_, Some(error)) => Err((state, error)),
            // Another thread was faster.
            (_, None) => Ok(state),
        }
    }
}

impl ReserveError {
    /// Whether there may be room once stock of other classes is given back.
    fn is_for_room(&self) -> bool {
        matches!(
            self,
            ReserveError::Refused(
                RequestError::Quota { .. }
                    | RequestError::NoRoom { .. }
                    | RequestError::Over(QuotaError::Slots { .. })
            )
        )
    }

    /// Whether there may be room once somebody lets go of a lease.
    fn waits_for_readers(&self) -> bool {
        matches!(self, ReserveError::Refused(RequestError::NoRoom { limbo_slots: 1.., .. }))
    }
}

impl Wanted {
    fn error(self, error: CallError) -> ReserveError {
        match error {
            CallError::Link(end) => ReserveError::Link(end),
            CallError::Forked(forked) => ReserveError::Forked(forked),
            CallError::Refused(refused) => ReserveError::Refused(refused),
            // No other error comes of a frame of two words.
            _ => ReserveError::DeadlineExceeded { slot_bytes: self.slot_bytes },
        }
    }
}
