//! Waiting without sleeping, but not for ever.

use std::hint::spin_loop;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// Looks between two looks at the clock.
const LOOKS: u32 = 4096;

/// How one round waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When to give up.
    pub(crate) deadline: Instant,
    /// Whether the other process needs the core that this one is on. (After pinning the operating
    /// system says one core to both of them, so it cannot be asked here.)
    pub(crate) shares_core: bool,
}

impl Patience {
    /// Looks until there is something, an error, or the deadline has passed. `answered` is for the
    /// error.
    #[inline]
    pub(crate) fn poll<T>(
        &self,
        answered: u64,
        mut look: impl FnMut() -> Result<Option<T>, BenchError>,
    ) -> Result<T, BenchError> {
        loop {
            for _ in 0..LOOKS {
                if let Some(found) = look()? {
                    return Ok(found);
                }
                if self.shares_core {
                    yield_now();
                } else {
                    spin_loop();
                }
            }
            self.left(answered)?;
        }
    }

    /// What is left of the time.
    pub(crate) fn left(&self, answered: u64) -> Result<Duration, BenchError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(BenchError::TimedOut { answered }) } else { Ok(left) }
    }
}
