//! A request and its answer over a [`Link`].

use super::error::CallError;
use super::link::{Link, LinkState, Locked, Outgoing};
use super::options::REQUESTS_MAX;
use super::parker::Wish;
use super::pending::Answer;
use super::wait::WaitError;
use std::time::Instant;

impl Link {
    /// Sends a request, waiting for room until the deadline.
    #[inline]
    pub(super) fn submit<'a, F: FnOnce(&mut [u8])>(
        &'a self,
        mut state: Locked<'a>,
        outgoing: Outgoing,
        fill: F,
        deadline: Instant,
    ) -> Result<(Locked<'a>, u32), CallError> {
        let mut fill = Some(fill);
        match self.try_submit(&mut state, outgoing, &mut fill) {
            Ok(request_id) => Ok((state, request_id)),
            Err(CallError::Full) => self.submit_when_room(state, outgoing, &mut fill, deadline),
            Err(error) => Err(error),
        }
    }

    // r[impl guest.back-pressure]
    #[cold]
    fn submit_when_room<'a, F: FnOnce(&mut [u8])>(
        &'a self,
        state: Locked<'a>,
        outgoing: Outgoing,
        fill: &mut Option<F>,
        deadline: Instant,
    ) -> Result<(Locked<'a>, u32), CallError> {
        let mut sent = Err(CallError::Full);
        let waited = self.wait_until(state, Wish::Room(outgoing.length), deadline, |state| {
            sent = self.try_submit(state, outgoing, fill);
            sent != Err(CallError::Full)
        });
        match waited {
            Ok(state) => sent.map(|request_id| (state, request_id)),
            Err((_, WaitError::Ended(end))) => Err(CallError::Link(end)),
            Err((_, WaitError::DeadlineExceeded)) => {
                Err(CallError::DeadlineExceeded { sent: false })
            }
        }
    }

    /// Waits for the answer to a request. When it does not come in time, it is given up.
    pub(super) fn await_answer<'a>(
        &'a self,
        state: Locked<'a>,
        request_id: u32,
        deadline: Instant,
    ) -> Result<(Locked<'a>, Answer), CallError> {
        let waited = self.await_or_keep(state, request_id, deadline);
        waited.map_err(|(mut state, error)| {
            self.abandon(&mut state, request_id);
            error
        })
    }

    /// Waits for the answer to a request, which stays in flight when it does not come in time.
    pub(super) fn await_or_keep<'a>(
        &'a self,
        state: Locked<'a>,
        request_id: u32,
        deadline: Instant,
    ) -> Result<(Locked<'a>, Answer), (Locked<'a>, CallError)> {
        let wish = Wish::Answer(request_id & (REQUESTS_MAX - 1));
        let answered = |state: &mut LinkState| state.desk.pending.is_answered(request_id);
        match self.wait_until(state, wish, deadline, answered) {
            Ok(mut state) => match state.desk.pending.take(request_id) {
                Some(answer) => Ok((state, answer)),
                None => Err((state, CallError::Taken)),
            },
            Err((state, WaitError::Ended(end))) => Err((state, CallError::Link(end))),
            Err((state, WaitError::DeadlineExceeded)) => {
                Err((state, CallError::DeadlineExceeded { sent: true }))
            }
        }
    }

    /// Nobody waits for this request any more.
    // r[impl guest.abandon]
    pub(super) fn abandon(&self, state: &mut LinkState, request_id: u32) {
        #[cfg(feature = "tokio")]
        state.desk.parked.tasks.forget(request_id & (REQUESTS_MAX - 1));
        if let Some(Answer::Slot { granted, .. }) = state.desk.pending.abandon(request_id) {
            self.return_slot(state, granted);
        }
    }

    /// A short spin for an answer that fits `target` and comes while nobody else wants the link:
    /// it goes from the ring to where it is wanted. `None`: wait in earnest.
    // r[impl guest.call.direct]
    #[inline]
    pub(super) fn answer_directly(
        &self,
        state: &mut LinkState,
        request_id: u32,
        target: &mut [u8],
    ) -> Option<usize> {
        let copied = self.take_directly(state, request_id, target);
        if state.desk.pending.in_flight() > 0 {
            // The host learns of room when the ring was read empty.
            self.drain(state);
            self.tell_of_room(state);
        }
        copied
    }

    #[inline]
    fn take_directly(
        &self,
        state: &mut LinkState,
        request_id: u32,
        target: &mut [u8],
    ) -> Option<usize> {
        loop {
            let LinkState { spin, consumer, .. } = state;
            let is_ready = || consumer.is_ready() || self.is_contended();
            let found = if self.polling { spin.spin_alone(is_ready) } else { spin.spin(is_ready) };
            if !found {
                return None;
            }
            // An error or a frame that is not for this place is for `drain` to find.
            let Ok(Some(frame)) = consumer.try_read() else { return None };
            let header = frame.header();
            let length = header.length as usize;
            let fits = header.flags == 0 && length <= target.len();
            if header.request_id == request_id
                && fits
                && state.desk.pending.answered_directly(request_id, header.kind)
            {
                return Some(frame.copy_into(target));
            }
            if let Err(error) = state.desk.dispatch(&frame) {
                drop(frame);
                self.broken(state, error);
                return None;
            }
            if header.request_id == request_id {
                return None;
            }
        }
    }
}
