//! The end of an attach: a goodbye, which lets the host reuse at once what this guest held.

use super::error::{CallError, DetachError, LinkEnd};
use super::link::{Locked, Outgoing};
use super::{Guest, Inner};
use crate::wire::kind;
use onecopy_shm::copy_shared;
use std::mem::size_of;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long the last drop waits for room for its goodbye.
const PARTING_TIME: Duration = Duration::from_millis(100);

impl Guest {
    /// Whether the host is gone or has left. Without a watcher this asks the system.
    pub fn is_host_gone(&self) -> bool {
        matches!(self.end(), Some(LinkEnd::HostGone | LinkEnd::HostLeft))
    }

    /// Why nothing travels on this link any more, if so.
    pub fn end(&self) -> Option<LinkEnd> {
        let inner = &self.inner;
        if !inner.fork.is_this_process() {
            return None;
        }
        if inner.link.heartbeat.is_some() && inner.link.socket.is_known_closed() {
            inner.link.set_closed();
        }
        let mut state = inner.link.lock();
        inner.link.drain(&mut state);
        inner.link.end_of(&mut state)
    }

    /// Says goodbye and waits for the host's answer. Refuses while guards, reservations, replies in
    /// slots or requests in flight are left; nothing is lost then. A host that dies over it may not
    /// have heard it: that is an error, and a guest that attaches anew can say it to the next host.
    /// Afterwards every clone of this handle says [`LinkEnd::Detached`], and nothing shared is touched
    /// any more.
    ///
    /// # Errors
    /// [`DetachError`].
    // r[impl guest.detach]
    pub fn detach(&self, deadline: Instant) -> Result<(), DetachError> {
        self.check_process()?;
        let inner = &self.inner;
        inner.close()?;
        inner.say_goodbye(deadline)
    }
}

impl Inner {
    /// From here on nothing new is leased, and nothing is.
    fn close(&self) -> Result<(), DetachError> {
        // Slots are taken out of stock, and out of answers, with the mutex.
        let state = self.link.lock();
        let leases = self.closing.begin(&self.leases.table).map_err(|error| {
            self.closing.give_up();
            DetachError::NoFence(error)
        })?;
        let slots = self.kept.count();
        let requests = state.desk.pending.awaited();
        drop(state);
        if leases == 0 && slots == 0 && requests == 0 {
            return Ok(());
        }
        self.closing.give_up();
        Err(DetachError::InUse { leases, slots, requests })
    }

    fn say_goodbye(&self, deadline: Instant) -> Result<(), DetachError> {
        let (state, request_id) = self.send_goodbye(deadline).map_err(|error| {
            // Once it is sent the host may have it on record, and leases are no longer looked at.
            self.closing.give_up();
            match error {
                CallError::Link(end) => DetachError::Link(end),
                _ => DetachError::DeadlineExceeded { sent: false },
            }
        })?;
        let (mut state, result) = match self.link.await_or_keep(state, request_id, deadline) {
            Err((state, CallError::DeadlineExceeded { .. })) => {
                (state, Err(DetachError::DeadlineExceeded { sent: true }))
            }
            // A host that goes on has read the goodbye: that is why this guest is none of its any more.
            Ok((state, _)) | Err((state, CallError::Link(LinkEnd::CutOff))) => (state, Ok(())),
            Err((mut state, error)) => {
                // The answer may have come between the last look and the end of the link.
                self.link.drain(&mut state);
                match (state.desk.pending.take(request_id), error) {
                    // Whether the next host waits for this guest is for the next attach to settle.
                    (None, CallError::Link(end)) => return Err(DetachError::Link(end)),
                    _ => (state, Ok(())),
                }
            }
        };
        self.link.finish(&mut state, LinkEnd::Detached);
        drop(state);
        self.stop_watcher();
        result
    }

    /// Commits the last frame of this attach.
    fn send_goodbye(&self, deadline: Instant) -> Result<(Locked<'_>, u32), CallError> {
        let outgoing = Outgoing::inline(kind::GOODBYE, size_of::<u64>() as u32);
        let serial = u64::from(self.serial).to_le_bytes();
        let fill = |target: &mut [u8]| copy_shared!("ring.request.half", target, &serial);
        self.link.submit(self.link.lock(), outgoing, fill, deadline)
    }

    fn stop_watcher(&self) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut watcher) = watcher.take() {
            watcher.stop();
        }
    }
}

impl Drop for Inner {
    // r[impl guest.goodbye]
    // r[impl guest.fork]
    // r[impl crash.t6]
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !self.fork.is_this_process() {
            if let Some(watcher) = watcher {
                watcher.forget();
            }
            return;
        }
        // The last heartbeat comes before the goodbye.
        if let Some(mut watcher) = watcher.take() {
            watcher.stop();
        }
        // A host that is gone, or was told already, is told nothing.
        if let Ok((mut state, _)) = self.send_goodbye(Instant::now() + PARTING_TIME) {
            self.link.finish(&mut state, LinkEnd::Detached);
        }
    }
}
