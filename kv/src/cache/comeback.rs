//! Coming back after the host went away: one attach for all handles, and what was asked is asked again
//! where that is safe.

use super::pinned::Pinned;
use super::{Cache, LookupPath};
use crate::error::AskError;
use onecopy_transport::guest::{AttachError, CallError, Guest, LinkEnd, ReserveError};
use onecopy_transport::wire::Refusal;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// First pause between two tries to attach; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
pub(super) const PAUSE_LAST: Duration = Duration::from_millis(50);
/// How long a lookup that needs no host may be held up by the attach to the next one, or a thread of a
/// runtime where tasks look up.
const IN_PASSING: Duration = Duration::from_millis(20);

/// What all handles to one guest share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Since when there has been no host, while there is none.
    outage: Mutex<Option<Instant>>,
    /// The tries of lookups that need no host to attach to the next one.
    in_passing: Mutex<InPassing>,
    pub(super) pinned: Pinned,
    /// Keys that the host was asked about although lookups are direct.
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct InPassing {
    is_underway: bool,
    /// When the latest try began.
    tried: Option<Instant>,
}

/// The right to attach in passing. Nobody else has it until this is dropped: those who tried meanwhile
/// would only wait for this one, each with a thread of its own.
pub(super) struct TurnToReturn(Arc<Shared>);

impl Drop for TurnToReturn {
    fn drop(&mut self) {
        self.0.in_passing.lock().unwrap_or_else(PoisonError::into_inner).is_underway = false;
    }
}

impl Shared {
    /// Since when there has been no host: since now at the latest.
    fn outage_since(&self) -> Instant {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        *outage.get_or_insert_with(Instant::now)
    }

    /// Counts keys that the host is asked about.
    pub(super) fn count_asked(&self, keys: usize, lookup: LookupPath) {
        if lookup == LookupPath::Direct {
            self.asked.fetch_add(keys as u64, Ordering::Relaxed);
        }
    }

    /// How many they were.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn end_outage(&self) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An error that may say that nothing travels any more.
pub(super) trait MayEnd {
    /// Why nothing does.
    fn link_end(&self) -> Option<LinkEnd>;
}

impl MayEnd for CallError {
    fn link_end(&self) -> Option<LinkEnd> {
        if let CallError::Link(end) = self { Some(*end) } else { None }
    }
}

impl MayEnd for AskError {
    fn link_end(&self) -> Option<LinkEnd> {
        if let AskError::Call(call) = self { call.link_end() } else { None }
    }
}

impl MayEnd for ReserveError {
    fn link_end(&self) -> Option<LinkEnd> {
        if let ReserveError::Link(end) = self { Some(*end) } else { None }
    }
}

impl Cache {
    /// The guest that requests go to.
    #[inline]
    pub(super) fn current(&self) -> Cow<'_, Guest> {
        if self.guest.is_superseded() {
            Cow::Owned(self.guest.latest())
        } else {
            Cow::Borrowed(&self.guest)
        }
    }

    /// Asks what can be asked twice; again on a new attach when the host went away meanwhile.
    // r[impl kv.reattach]
    #[inline]
    pub(super) fn repeatedly<T, E: MayEnd>(
        &self,
        until: Instant,
        mut ask: impl FnMut(&Guest) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let guest = self.current();
            match ask(&guest) {
                Err(error) if self.came_back(&guest, &error, until) => {}
                outcome => return outcome,
            }
        }
    }

    /// Asks what must not be asked twice. When the host went away before, it is asked on a new attach;
    /// when it goes away meanwhile, the error says so.
    // r[impl kv.reattach.once]
    pub(super) fn once<T, E: MayEnd>(
        &self,
        until: Instant,
        ask: impl FnOnce(&Guest) -> Result<T, E>,
    ) -> Result<T, E> {
        let guest = self.current();
        match guest.end() {
            Some(end) if self.came_back(&guest, &CallError::Link(end), until) => {
                ask(&self.current())
            }
            _ => ask(&guest),
        }
    }

    /// After an error on this guest: whether there is another attach now to ask on.
    #[cold]
    pub(super) fn came_back(&self, guest: &Guest, error: &impl MayEnd, until: Instant) -> bool {
        let Some(end) = error.link_end() else { return false };
        // Another thread has done it.
        if !self.current().is_same_attach(guest) {
            return true;
        }
        let Some(patience) = self.reattach else { return false };
        let is_gone = matches!(end, LinkEnd::HostGone | LinkEnd::HostLeft);
        is_gone && self.attach_while(guest, patience, until)
    }

    /// Tries to attach: at least once, and while the outage has not lasted for too long.
    // r[impl kv.reattach.patience]
    fn attach_while(&self, guest: &Guest, patience: Duration, until: Instant) -> bool {
        let waits_until = self.shared.outage_since().checked_add(patience).unwrap_or(until);
        let waits_until = waits_until.min(until);
        let mut pause = PAUSE_FIRST;
        loop {
            match self.attach_once(guest, until) {
                Ok(()) => return true,
                Err(error) if !is_passing(&error) => {
                    tracing::warn!(%error, "no attach to the next host");
                    return false;
                }
                Err(error) => {
                    let left = waits_until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        tracing::debug!(%error, "there is no host");
                        return false;
                    }
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(PAUSE_LAST);
                }
            }
        }
    }

    /// Before a lookup that may need no host: tries to attach to the next one where there is none any more,
    /// now and then, so that it hears of what is used and need not wait for this guest.
    // r[impl kv.direct_returns]
    #[inline]
    pub(super) fn return_if_due(&self) {
        if self.guest.is_known_over()
            && let Some(turn) = self.turn_to_return()
        {
            self.return_in_passing(turn);
        }
    }

    /// The right to try an attach to the next host, where one is due and none is under way.
    #[cold]
    pub(super) fn turn_to_return(&self) -> Option<TurnToReturn> {
        if self.reattach.is_none() || !self.current().is_known_over() {
            return None;
        }
        let now = Instant::now();
        let is_due = |tried: Instant| now.saturating_duration_since(tried) >= PAUSE_LAST;
        // Another thread may be about to take it.
        let mut in_passing = self.shared.in_passing.try_lock().ok()?;
        if in_passing.is_underway || !in_passing.tried.is_none_or(is_due) {
            return None;
        }
        *in_passing = InPassing { is_underway: true, tried: Some(now) };
        Some(TurnToReturn(Arc::clone(&self.shared)))
    }

    pub(super) fn return_in_passing(&self, _turn: TurnToReturn) {
        let until = Instant::now() + IN_PASSING;
        if let Err(error) = self.attach_once(&self.current(), until) {
            tracing::debug!(%error, "no attach to the next host in passing");
        }
    }

    pub(super) fn attach_once(&self, guest: &Guest, until: Instant) -> Result<(), AttachError> {
        guest.reattach_with(until, |next| self.pin_again(next, until))?;
        self.shared.end_outage();
        Ok(())
    }
}

/// Whether it may be otherwise in a moment.
fn is_passing(error: &AttachError) -> bool {
    match error {
        AttachError::Connect(_)
        | AttachError::Send(_)
        | AttachError::Receive(_)
        | AttachError::Underway => true,
        AttachError::Ended(end) => matches!(end, LinkEnd::HostGone | LinkEnd::HostLeft),
        AttachError::Refused(refusal) => {
            matches!(refusal, Refusal::Leaving | Refusal::Full { .. } | Refusal::Resources { .. })
        }
        _ => false,
    }
}
