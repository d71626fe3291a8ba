//! Workers end, stop and go on at every step; the oracle is that every request counts once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use super::{RequestOutcome, Supervisor, Worker};

mod kill;
mod misuse;
mod process;

type Hook = Box<dyn FnMut(&'static str)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Called by the shipped code between two shared stores.
pub(super) fn at_step(name: &'static str) {
    HOOK.with_borrow_mut(|hook| {
        if let Some(hook) = hook {
            hook(name);
        }
    });
}

/// Runs something with a hook at each step of this thread.
fn with_hook<T>(hook: impl FnMut(&'static str) + 'static, run: impl FnOnce() -> T) -> T {
    HOOK.set(Some(Box::new(hook)));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    HOOK.set(None);
    outcome.unwrap_or_else(|reason| std::panic::resume_unwind(reason))
}

/// What a killed worker leaves with: nothing of it runs after the step.
struct Killed(&'static str);

/// Runs something and ends it at the `k`-th step, from 0. The name of that step; `None` if it came to
/// its end before.
fn killed_at(k: usize, run: impl FnOnce()) -> Option<&'static str> {
    let mut left = k;
    let hook = move |name| {
        if left == 0 {
            // Without the panic hook: this is no failure.
            std::panic::resume_unwind(Box::new(Killed(name)));
        }
        left -= 1;
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| with_hook(hook, run)));
    match outcome.map_err(|reason| reason.downcast::<Killed>()) {
        Ok(()) => None,
        Err(Ok(killed)) => Some(killed.0),
        Err(Err(reason)) => panic_any(reason),
    }
}

fn join(supervisor: &mut Supervisor, place: u32) -> Worker {
    supervisor.start(place).unwrap();
    Worker::join(supervisor.file(), place).unwrap()
}

/// What the tests say came of a request.
fn outcome_of(request: u32) -> RequestOutcome {
    let n = u64::from(request) + 1;
    RequestOutcome {
        references: n,
        hits: 2 * n,
        lookup_ns: 3 * n,
        publish_ns: 4 * n,
        bytes_verified: 5 * n,
        mismatches: 6 * n,
    }
}

/// Does one request, if there is one.
fn do_one(worker: &mut Worker) -> Option<u32> {
    let request = worker.take()?;
    worker.begin();
    worker.finish(request, &outcome_of(request)).unwrap();
    Some(request)
}

/// Does requests until there is none left. Which.
fn do_all(worker: &mut Worker) -> Vec<u32> {
    std::iter::from_fn(|| do_one(worker)).collect()
}

fn done(supervisor: &Supervisor) -> BTreeSet<u32> {
    supervisor.outcomes().unwrap().into_iter().map(|(request, _)| request).collect()
}

fn assert_all_done(supervisor: &Supervisor) {
    let expected: Vec<_> =
        (0..supervisor.request_count()).map(|request| (request, outcome_of(request))).collect();
    assert_eq!(supervisor.outcomes().unwrap(), expected);
}
