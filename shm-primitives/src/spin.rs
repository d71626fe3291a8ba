//! How long to look before going to sleep.
//!
//! To go to sleep and be woken takes tens of microseconds on a virtual machine, and whoever wakes pays
//! for a part of them. So a wait begins with looking for about as long as that: what comes within it is
//! had without. A look that goes on for more than some microseconds makes way for other threads on its
//! core, so that on a crowded machine it is those who are waited for that run, and not those who wait.

use crate::sync::{spin_loop, yield_now};
#[cfg(not(loom))]
use crate::sys::online_cores;

/// Turns to begin with. A turn is one look and one pause of the processor: tens of nanoseconds.
const TURNS_FIRST: u32 = 2048;
/// Never fewer: what an answer takes from a host that has to be woken first. With less, two sides that
/// have once gone to sleep would sleep through every answer, and each would have to wake the other.
const TURNS_MIN: u32 = 1024;
/// Turns at most by default.
const TURNS_MAX: u32 = 4096;
/// So many turns with the processor to oneself: an answer from a side that is awake comes within them.
const TURNS_ALONE: u32 = 256;
/// From then on every so many turns the thread makes way for others on its core.
const TURNS_PER_WAY: u32 = 32;

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
    // r[impl doorbell.spin.makes-way]
    #[inline]
    pub fn spin(&mut self, ready: impl FnMut() -> bool) -> bool {
        self.look(ready, yield_now)
    }

    /// The same without ever making way for others, which is a system call: for whoever polls.
    #[inline]
    pub fn spin_alone(&mut self, ready: impl FnMut() -> bool) -> bool {
        self.look(ready, spin_loop)
    }

    #[inline]
    fn look(&mut self, mut ready: impl FnMut() -> bool, mut make_way: impl FnMut()) -> bool {
        if ready() {
            // Nothing was waited for, so nothing was learned.
            return true;
        }
        for turn in 0..self.turns {
            if turn >= TURNS_ALONE && turn.is_multiple_of(TURNS_PER_WAY) {
                make_way();
            } else {
                spin_loop();
            }
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
        let mut budget = SpinBudget::for_cores(5000, 2);
        assert_eq!(budget.turns(), 2048);
        let mut looks = 0;
        let mut third_look = || {
            looks += 1;
            looks % 3 == 0
        };
        assert!(budget.spin(&mut third_look));
        assert_eq!(budget.turns(), 4096);
        assert!(budget.spin(&mut third_look));
        assert_eq!(budget.turns(), 5000);
        for expected in [2500, 1250, 1024, 1024] {
            let mut looks = 0;
            let before = budget.turns();
            assert!(!budget.spin(|| {
                looks += 1;
                false
            }));
            assert_eq!((looks, budget.turns()), (before + 1, expected));
        }
        assert!(budget.spin(|| true));
        assert_eq!(budget.turns(), 1024, "ready at the first look");
    }

    // r[verify doorbell.spin.makes-way]
    #[test]
    fn a_long_look_makes_way_for_others_and_a_short_one_does_not() {
        let ways_made_in = |looks_wanted: u32| {
            let (mut looks, mut ways) = (0, 0);
            let mut budget = SpinBudget::for_cores(1024, 2);
            let ready = || {
                looks += 1;
                looks == looks_wanted
            };
            assert_eq!(budget.look(ready, || ways += 1), looks_wanted <= 1025);
            ways
        };
        assert_eq!(ways_made_in(257), 0);
        assert_eq!(ways_made_in(258), 1);
        assert_eq!(ways_made_in(2000), (1024 - 256) / 32);
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
