//! Latencies, counted in shared memory: 32 steps for each doubling, so a value is known to 1.6 %.
//!
//! One process writes each count, so a count is a load and a store; a kill loses one at most.

use std::sync::atomic::Ordering;

use hdrhistogram::{CreationError, Histogram};

use super::Board;

/// Steps of each doubling, as a power of two.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
/// Largest latency that is told apart, in nanoseconds: 18 minutes.
const LATENCY_NS_MAX: u64 = (1 << 40) - 1;
/// Counts of one kind of latency.
pub(super) const LATENCY_WORDS: u64 = count_of(LATENCY_NS_MAX) + 1;

/// Which count a latency belongs to.
const fn count_of(latency_ns: u64) -> u64 {
    if latency_ns < STEPS {
        return latency_ns;
    }
    let latency_ns = if latency_ns > LATENCY_NS_MAX { LATENCY_NS_MAX } else { latency_ns };
    let shift = latency_ns.ilog2() - STEP_BITS;
    (shift as u64 + 1) * STEPS + (latency_ns >> shift) - STEPS
}

/// The middle of the latencies of a count, in nanoseconds.
fn middle_of(count: u64) -> u64 {
    if count < STEPS {
        return count;
    }
    let shift = count / STEPS - 1;
    let lowest = (count % STEPS + STEPS) << shift;
    lowest + ((1 << shift) >> 1)
}

impl Board {
    pub(super) fn count_latency(&self, first: u64, latency_ns: u64) {
        let word = first + count_of(latency_ns);
        let counted = self.load(word, Ordering::Relaxed);
        self.store(word, counted + 1, Ordering::Relaxed);
    }

    /// All latencies whose counts start at these words, in nanoseconds, with three digits.
    pub(super) fn latencies(
        &self,
        firsts: impl Iterator<Item = u64>,
    ) -> Result<Histogram<u64>, CreationError> {
        let mut total = Histogram::new_with_max(LATENCY_NS_MAX, 3)?;
        firsts.for_each(|first| self.add_latencies(first, &mut total));
        Ok(total)
    }

    fn add_latencies(&self, first: u64, total: &mut Histogram<u64>) {
        for count in 0..LATENCY_WORDS {
            let counted = self.load(first + count, Ordering::Relaxed);
            if counted > 0 {
                total.saturating_record_n(middle_of(count), counted);
            }
        }
    }
}
