//! How long to look before going to sleep.

use crate::sync::spin_loop;
#[cfg(not(loom))]
use crate::sys::online_cores;

/// Turns to begin with.
const TURNS_FIRST: u32 = 256;
/// Never fewer: some microseconds, which an answer takes from a host that is awake. With less, two
/// sides that have once gone to sleep would sleep through every answer for ever.
const TURNS_MIN: u32 = 128;
/// Turns at most by default. A turn is one look and one pause of the processor: tens of nanoseconds.
const TURNS_MAX: u32 = 4096;

/// An adaptive spin: it grows while spinning pays and shrinks while it does not.
///
/// With one core it does not spin: the other side could not run meanwhile.
#[derive(Clone, Debug)]
pub struct SpinBudget {
    turns: u32,
    turns_max: u32,
}

impl SpinBudget {
    /// A budget for this machine.
    pub fn new() -> SpinBudget {
        SpinBudget::with_turns_max(TURNS_MAX)
    }

    /// A budget of at most `turns_max` looks, none on a machine with one core.
    pub fn with_turns_max(turns_max: u32) -> SpinBudget {
        // Those of the machine: a thread that is pinned to one core still waits for somebody on
        // another.
        SpinBudget::for_cores(turns_max, online_cores())
    }

    // r[impl doorbell.spin.cores]
    fn for_cores(turns_max: u32, cores: usize) -> SpinBudget {
        let turns_max = if cores > 1 { turns_max } else { 0 };
        SpinBudget { turns: TURNS_FIRST.min(turns_max), turns_max }
    }

    /// How many looks the next spin takes at most, beyond the first.
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// Looks until `ready` or until the budget is used up; at least once. Returns whether it was ready.
    // r[impl doorbell.spin.adapts]
    #[inline]
    pub fn spin(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            // Nothing was waited for, so nothing was learned.
            return true;
        }
        for _ in 0..self.turns {
            spin_loop();
            if ready() {
                self.turns = self.turns.saturating_mul(2).min(self.turns_max);
                return true;
            }
        }
        self.turns = (self.turns / 2).max(TURNS_MIN).min(self.turns_max);
        false
    }
}

/// Models have as many cores as they have threads.
#[cfg(loom)]
fn online_cores() -> usize {
    2
}

impl Default for SpinBudget {
    fn default() -> SpinBudget {
        SpinBudget::new()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    // r[verify doorbell.spin.adapts]
    #[test]
    fn the_budget_grows_on_a_hit_and_shrinks_on_a_miss() {
        let mut budget = SpinBudget::for_cores(1000, 2);
        let mut looks = 0;
        let mut third_look = || {
            looks += 1;
            looks % 3 == 0
        };
        assert!(budget.spin(&mut third_look));
        assert_eq!(budget.turns(), 512);
        assert!(budget.spin(&mut third_look));
        assert_eq!(budget.turns(), 1000);
        for expected in [500, 250, 128, 128] {
            let mut looks = 0;
            let before = budget.turns();
            assert!(!budget.spin(|| {
                looks += 1;
                false
            }));
            assert_eq!((looks, budget.turns()), (before + 1, expected));
        }
        assert!(budget.spin(|| true));
        assert_eq!(budget.turns(), 128, "ready at the first look");
    }

    // r[verify doorbell.spin.cores]
    #[test]
    fn one_core_does_not_spin() {
        let mut budget = SpinBudget::for_cores(1000, 1);
        let mut looks = 0;
        assert!(!budget.spin(|| {
            looks += 1;
            false
        }));
        assert!(budget.spin(|| true));
        assert_eq!((looks, budget.turns()), (1, 0));
    }
}
