//! Which attach took the place of another. One thread attaches anew for all; the others wait for it.

use super::Guest;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Who comes after an attach.
#[derive(Debug, Default)]
pub(super) struct Succession {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// It lives as long as anything of the earlier attach, because guards of that are leases of this
    /// one now.
    guest: Option<Guest>,
    /// A thread is attaching anew.
    is_underway: bool,
}

/// What a thread that wants to attach anew finds.
pub(super) enum Begun<'a> {
    /// It has been done.
    Done(Guest),
    /// It is this thread's to do.
    Mine(Turn<'a>),
    /// Another thread has been at it until the deadline.
    TooLate,
}

/// The right to attach anew; dropping it lets another thread try.
pub(super) struct Turn<'a>(&'a Succession);

impl Succession {
    /// Begins to attach anew, unless that has been done.
    pub(super) fn begin(&self, deadline: Instant) -> Begun<'_> {
        let mut state = self.lock();
        loop {
            if let Some(guest) = &state.guest {
                return Begun::Done(guest.clone());
            }
            if !state.is_underway {
                state.is_underway = true;
                return Begun::Mine(Turn(self));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Begun::TooLate;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The attach that came next, if one has.
    pub(super) fn next(&self) -> Option<Guest> {
        self.lock().guest.clone()
    }

    /// The attach that came next; where none has, `otherwise` runs before one can.
    pub(super) fn next_or(&self, otherwise: impl FnOnce()) -> Option<Guest> {
        let state = self.lock();
        if state.guest.is_none() {
            otherwise();
        }
        state.guest.clone()
    }

    /// Leads straight to a later attach, so that those between the two can go.
    pub(super) fn shorten(&self, latest: &Guest) {
        let mut state = self.lock();
        let between = state.guest.replace(latest.clone());
        // Without the mutex: its end says goodbye.
        drop(state);
        drop(between);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// This attach comes next.
    pub(super) fn done(self, guest: Guest) {
        self.0.lock().guest = Some(guest);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_underway = false;
        self.0.changed.notify_all();
    }
}
