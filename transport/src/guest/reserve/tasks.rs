//! Reserving, for tasks: the same steps, and none of them blocks.

use super::{PAUSE_MAX, PAUSE_MIN, Wanted, reservation};
use crate::guest::error::{CallError, LinkEnd, ReserveError};
use crate::guest::magazine::Magazines;
use crate::guest::{AsyncGuest, Reservation};
use std::time::Instant;
use tokio::time::{sleep, timeout_at};
use zerocopy::IntoBytes;

impl AsyncGuest {
    /// Reserves a slot of at least `size_bytes`: out of stock, else from the host. Where room comes only
    /// of slots that somebody still reads, it waits for them until the deadline.
    ///
    /// # Errors
    /// [`ReserveError`].
    // r[impl guest.tasks.reserve]
    pub async fn reserve(
        &self,
        size_bytes: u64,
        deadline: Instant,
    ) -> Result<Reservation, ReserveError> {
        let wanted = self.inner().wanted(size_bytes)?;
        let (mut pause, mut reason) = (PAUSE_MIN, None);
        loop {
            if let Some(reserved) = self.take_from_stock(wanted)? {
                return Ok(reserved);
            }
            match self.refill_in_turn(wanted, deadline).await {
                Ok(()) => {}
                // What the host said before tells more.
                Err(error @ ReserveError::DeadlineExceeded { .. }) => {
                    return Err(reason.unwrap_or(error));
                }
                Err(error) if error.waits_for_readers() && Instant::now() + pause < deadline => {
                    reason = Some(error);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take_from_stock(&self, wanted: Wanted) -> Result<Option<Reservation>, ReserveError> {
        let inner = self.inner();
        let mut state = inner.link.lock();
        // They may be on their way already.
        inner.link.drain(&mut state);
        let held = inner.take(&mut state, wanted.class)?;
        drop(state);
        held.map(reservation).transpose()
    }

    /// Has slots come into stock, if there are none when it is this task's turn. A host that is asked by
    /// many at once would send each of them a whole stock. The turn is had by a task of its own: whoever
    /// wants slots may not be polled, and would keep the others from their turn.
    async fn refill_in_turn(&self, wanted: Wanted, deadline: Instant) -> Result<(), ReserveError> {
        let this = self.clone();
        let late = ReserveError::DeadlineExceeded { slot_bytes: wanted.slot_bytes };
        let refill = async move {
            let turn = timeout_at(deadline.into(), this.running.refilling.lock()).await;
            match turn {
                Err(_) => Err(late),
                Ok(_turn) if this.has_stock(wanted) => Ok(()),
                Ok(_turn) => this.refill(wanted, deadline).await,
            }
        };
        // Only a runtime that ends ends its tasks.
        let detached = Err(ReserveError::Link(LinkEnd::Detached));
        tokio::spawn(refill).await.unwrap_or(detached)
    }

    /// Asks for slots. What stands in the way may be stock of other classes: then that goes back, and the
    /// host is asked once more.
    async fn refill(&self, wanted: Wanted, deadline: Instant) -> Result<(), ReserveError> {
        let error = match self.try_refill(wanted, deadline).await {
            Err(error) if error.is_for_room() => error,
            outcome => return outcome,
        };
        if self.inner().link.lock().desk.magazines.is_empty() {
            return Err(error);
        }
        while !self.try_give_back_all() {
            if !self.wait_for_room(deadline).await {
                return Err(wanted.error(CallError::Full));
            }
        }
        self.try_refill(wanted, deadline).await
    }

    /// Gives back all that is in stock, or as much as there is room for. True when nothing is left, and
    /// when nothing travels any more: the next request says so.
    fn try_give_back_all(&self) -> bool {
        let link = &self.inner().link;
        let mut state = link.lock();
        link.drain(&mut state);
        while link.try_give_back(&mut state, Magazines::take_any) {}
        state.desk.magazines.is_empty() || link.end_of(&mut state).is_some()
    }

    fn has_stock(&self, wanted: Wanted) -> bool {
        self.inner().link.lock().desk.magazines.has(wanted.class)
    }

    async fn try_refill(&self, wanted: Wanted, deadline: Instant) -> Result<(), ReserveError> {
        let (outgoing, refill) = {
            let state = self.inner().link.lock();
            self.inner().refill_request(&state, wanted, 1)
        };
        let sent = self.send(outgoing, refill.as_bytes(), deadline).await;
        let pending = sent.map_err(|error| wanted.error(error))?;
        match self.answer(pending, deadline).await {
            Ok(_) => Ok(()),
            Err(CallError::UnknownAnswer { code }) => Err(ReserveError::UnknownAnswer { code }),
            Err(error) => Err(wanted.error(error)),
        }
    }
}
