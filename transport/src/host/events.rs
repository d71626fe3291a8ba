//! What a host tells whoever listens: attaches, deaths, recovery, growth.

use super::CutOffReason;
use crate::Serial;
use std::time::{Duration, Instant};

/// Something that happened in a host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// At a start: memory was taken, or populated. The last one of a start has all of it.
    Reserved {
        /// Bytes until now.
        reached_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A guest is in service.
    Attached {
        /// Its serial.
        serial: Serial,
        /// Its process, in the host's PID namespace.
        pid: u32,
    },
    /// A guest's heartbeat is late, or its link is closed.
    Suspected {
        /// Its serial.
        serial: Serial,
    },
    /// A suspected guest is back.
    Cleared {
        /// Its serial.
        serial: Serial,
    },
    /// A guest's link was ended by the host; what it holds is quarantined until it is dead.
    CutOff {
        /// Its serial.
        serial: Serial,
        /// Why.
        reason: CutOffReason,
    },
    /// All that a guest held has been taken back.
    Recovered {
        /// Its serial.
        serial: Serial,
        /// Its process, in the host's PID namespace.
        pid: u32,
        /// Whether it said goodbye, or its guest has attached anew and needs nothing of it any more;
        /// otherwise it was proven dead.
        goodbye: bool,
        /// Slots taken back.
        slots: u64,
        /// From the moment the host saw the proof to the end of recovery.
        took: Duration,
        /// When recovery ended.
        at: Instant,
    },
    /// SIGKILL was sent to a guest.
    Killed {
        /// Its serial.
        serial: Serial,
        /// Its process, in the host's PID namespace.
        pid: u32,
    },
    /// What a guest held was written off, and it is no peer any more.
    WrittenOff {
        /// Its serial.
        serial: Serial,
        /// Its process, in the host's PID namespace.
        pid: u32,
        /// Slots that are never used again.
        slots: u64,
    },
    /// The pool has grown.
    Grown {
        /// Its size before, in bytes.
        from_bytes: u64,
        /// Its size now, in bytes.
        to_bytes: u64,
    },
    /// The pool could not grow.
    GrowthFailed {
        /// The size it was to have, in bytes.
        to_bytes: u64,
        /// What was in the way.
        reason: String,
    },
}
