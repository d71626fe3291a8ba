//! The clock that all processes share.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

use crate::orders::Span;

/// Nanoseconds since some moment that is the same for all processes of the machine.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

impl Span {
    /// A span that begins after `delay`.
    pub(crate) fn after(delay: Duration, length: Duration) -> Span {
        let start_ns = now_ns() + delay.as_nanos() as u64;
        Span { start_ns, end_ns: start_ns + length.as_nanos() as u64 }
    }
}
