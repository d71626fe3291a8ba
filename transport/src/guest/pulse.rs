//! How a guest that polls, without a watcher, finds out that its host is gone: nobody tells it, and
//! asking the system costs a system call. A host that serves changes its heartbeat word; only when
//! that has stood still for long is the system asked.

use crate::control::ControlReader;
use crate::format::HostState;
use std::time::{Duration, Instant};

/// The heartbeat may stand still for so many of its intervals before the system is asked.
pub(super) const SILENT_INTERVALS: u32 = 20;

/// What the control area says about the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It has changed its heartbeat since the last look.
    Beats,
    /// Nothing new.
    Nothing,
    /// It has been silent for long: the system has to be asked.
    Silent,
    /// Another host has taken its place.
    Replaced,
}

/// What was seen of the host.
#[derive(Debug)]
pub(super) struct Pulse {
    boot_epoch: u64,
    heartbeat: u64,
    /// When the heartbeat changed last, or the system was asked.
    since: Instant,
    interval: Duration,
}

impl Pulse {
    /// Of the host that serves now and changes its heartbeat once in `interval`.
    pub(super) fn new(control: &ControlReader, interval: Duration) -> Pulse {
        Pulse {
            boot_epoch: control.boot_epoch(),
            heartbeat: control.host_heartbeat(),
            since: Instant::now(),
            interval: interval.max(Duration::from_millis(1)),
        }
    }

    /// Looks at the control area; makes no system call.
    // r[impl guest.polling.host-gone]
    pub(super) fn look(&mut self, control: &ControlReader, now: Instant) -> Sign {
        if control.boot_epoch() != self.boot_epoch {
            return Sign::Replaced;
        }
        let heartbeat = control.host_heartbeat();
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.since = now;
            return Sign::Beats;
        }
        // One that has said goodbye in the header is on its way out.
        let has_left = matches!(control.host_state(), Ok(Some(HostState::Left)));
        let patience = if has_left { self.interval } else { self.interval * SILENT_INTERVALS };
        if now.saturating_duration_since(self.since) < patience {
            return Sign::Nothing;
        }
        self.since = now;
        Sign::Silent
    }
}
