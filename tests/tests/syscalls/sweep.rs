//! Going through the system calls of an operation.

use onecopy_tests::harness::{Blow, Call, Trap};

/// Makes every call fail, and not each so-many-th.
const ALL: &str = "ONECOPY_SYSCALLS";
/// Most errors that the table has for one call.
const ERRORS_MAX: usize = 5;
/// Where not all calls are met, each so-many-th.
const STRIDE: u32 = 7;

/// What an attempt met.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    pub call: Call,
}

impl Met {
    /// A call that takes something away: what it leaves when it fails is what it was to take.
    pub fn is_removal(&self) -> bool {
        ["unlinkat", "rmdir", "unlink"].contains(&self.call.name)
    }
}

/// Something that a peer does, and what has to be so around it.
pub trait Operation {
    fn trap(&self) -> &Trap;
    /// Before the first attempt.
    fn prepare(&mut self);
    /// Does it once.
    fn attempt(&mut self) -> Result<(), String>;
    /// Nothing is left of an attempt that failed; the next can follow.
    fn after_failure(&mut self, met: &Met);
    /// It has worked: all is in order, and everything is as before.
    fn finish(&mut self);
}

/// How often it is tried to meet a call at all.
const SWEEPS_MAX: usize = 20;

fn stride() -> u32 {
    if std::env::var_os(ALL).is_some() { 1 } else { STRIDE }
}

/// Has each call fail with each of its errors, the first call last.
pub fn sweep(name: &str, operation: &mut impl Operation) {
    operation.prepare();
    operation.attempt().unwrap();
    operation.finish();
    let (mut failures, mut errors) = (0, 0);
    // An operation that makes few calls may do without where its host happens to be awake.
    for which in (0..SWEEPS_MAX).flat_map(|_| 0..ERRORS_MAX) {
        if which == 0 && failures > 0 {
            break;
        }
        // Other calls for each error.
        let mut nth = 1 + which as u32 % stride();
        while let Some(failed) = one_failure(operation, nth, which) {
            (failures, errors) = (failures + 1, errors + u32::from(failed));
            nth += stride();
        }
    }
    println!("{name}: {failures} calls failed, {errors} times the operation with them");
    assert!(failures > 0, "no call was met");
}

/// Whether the attempt failed too; `None` when there was no such call.
fn one_failure(operation: &mut impl Operation, nth: u32, which: usize) -> Option<bool> {
    operation.prepare();
    operation.trap().arm(nth, Blow::Fail(which));
    let outcome = operation.attempt();
    let seen = operation.trap().disarm();
    let Some((call, errno)) = seen.hit else {
        outcome.unwrap();
        operation.finish();
        return None;
    };
    let met = Met { call };
    println!("{} with {errno:?} brought {outcome:?}", call.name);
    let failed = outcome.is_err();
    if failed {
        operation.after_failure(&met);
        operation.attempt().unwrap();
    }
    operation.finish();
    Some(failed)
}

/// Kills the peer before each of its calls in turn. `attempt` makes a new peer, arms its trap with
/// what it is given, and has it begin; it says whether the peer was met.
pub fn kill_at_each(name: &str, mut attempt: impl FnMut(u32) -> bool) {
    let mut kills = 0;
    let mut nth = 1;
    while attempt(nth) {
        kills += 1;
        nth += stride();
    }
    println!("{name}: killed before {kills} calls");
    assert!(kills > 0, "nobody was killed");
}
