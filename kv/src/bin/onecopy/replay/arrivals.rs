//! When requests of a replay arrive. All guests of one replay go by one clock, also those that replace
//! others.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The times at which requests arrive.
pub struct Arrivals {
    /// When the first request arrives, on the monotonic clock.
    started_ns: u64,
    /// How much faster than the timestamps; `None`: everything is there from the start.
    speed: Option<f64>,
    /// Timestamp of the first request, in milliseconds.
    first_ms: u64,
}

impl Arrivals {
    pub fn new(started_ns: u64, speed: Option<f64>, first_ms: u64) -> Arrivals {
        Arrivals { started_ns, speed, first_ms }
    }

    /// Waits until the request with this timestamp has arrived.
    // r[impl cli.replay.speed]
    pub fn wait_for(&self, timestamp_ms: u64) {
        if let Some(wait) = self.time_to(timestamp_ms, now_ns()) {
            std::thread::sleep(wait);
        }
    }

    /// How long it is from now to an arrival; nothing if that was before.
    fn time_to(&self, timestamp_ms: u64, now_ns: u64) -> Option<Duration> {
        let since_first_ms = timestamp_ms.saturating_sub(self.first_ms);
        // Beyond the range of the type it is the largest value: centuries.
        let after_ns = (since_first_ms as f64 * 1e6 / self.speed?) as u64;
        let arrival_ns = self.started_ns.saturating_add(after_ns);
        arrival_ns.checked_sub(now_ns).filter(|&wait_ns| wait_ns > 0).map(Duration::from_nanos)
    }
}

/// The monotonic clock, which all processes share, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock counts from the start of the machine: never negative.
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::Arrivals;
    use std::time::Duration;

    // r[verify cli.replay.speed]
    #[test]
    fn arrivals_follow_the_timestamps_from_the_first_one_on() {
        let arrivals = Arrivals::new(5_000_000, Some(2.0), 1_000);
        assert_eq!(arrivals.time_to(1_000, 5_000_000), None);
        assert_eq!(arrivals.time_to(1_010, 5_000_000), Some(Duration::from_millis(5)));
        assert_eq!(arrivals.time_to(1_010, 9_000_000), Some(Duration::from_millis(1)));
        assert_eq!(arrivals.time_to(1_010, 10_000_000), None, "it has just arrived");
        assert_eq!(arrivals.time_to(1_010, 11_000_000), None, "it is late");
        assert_eq!(arrivals.time_to(990, 0), Some(Duration::from_millis(5)), "before the first");
        let at_once = Arrivals::new(5_000_000, None, 0);
        assert_eq!(at_once.time_to(u64::MAX, 0), None);
        assert!(arrivals.time_to(u64::MAX, 0) > Some(Duration::from_secs(1 << 32)));
    }
}
