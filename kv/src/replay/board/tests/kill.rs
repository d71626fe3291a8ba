use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

use super::{
    Worker, assert_all_done, do_all, do_one, done, join, killed_at, outcome_of, with_hook,
};
use crate::replay::board::{RecordState, Supervisor};

const REQUESTS: u32 = 5;

/// Every step there is; a new one has to come here, and one that is gone has to go.
const STEPS: [&str; 10] = [
    "begin.end",
    "finish.done",
    "finish.end",
    "finish.stored",
    "outcome.field",
    "take.counted",
    "take.cursor",
    "take.end",
    "take.gap",
    "take.redo",
];

// r[verify replay.board.recover]
// r[verify replay.board.finish]
// r[verify replay.board.redo]
#[test]
fn a_worker_killed_at_any_step_loses_nothing_and_counts_nothing_twice() {
    let mut fired = BTreeSet::new();
    for k in 0.. {
        let mut supervisor = Supervisor::create(2, REQUESTS).unwrap();
        let mut other = join(&mut supervisor, 1);
        let mut worker = join(&mut supervisor, 0);
        do_one(&mut other);
        let Some(step) = killed_at(k, || drop(do_all(&mut worker))) else {
            assert_all_done(&supervisor);
            break;
        };
        fired.insert(step);
        let before = done(&supervisor);
        let in_hand = supervisor.progress().unwrap().in_hand;
        let unfinished = supervisor.recover(0).unwrap().unfinished;
        assert_eq!(u32::from(unfinished.is_some()), in_hand, "step {k}, {step}");
        assert_eq!(done(&supervisor), before);
        let mut next = join(&mut supervisor, 0);
        // The first thing it does is what the dead one left: its claim, or the gap it made.
        let first = do_one(&mut next);
        if unfinished.is_some() {
            assert_eq!(first, unfinished, "step {k}, {step}");
        }
        // Killed again, and the other one goes on.
        supervisor.recover(0).unwrap();
        do_all(&mut other);
        assert_all_done(&supervisor);
    }
    fired.insert("take.redo");
    assert_eq!(fired.into_iter().collect::<Vec<_>>(), STEPS);
}

// r[verify replay.board.redo]
#[test]
fn a_successor_killed_at_any_step_of_the_redo_hands_it_on() {
    let mut redo_seen = false;
    for k in 0.. {
        let mut supervisor = Supervisor::create(1, REQUESTS).unwrap();
        let mut first = join(&mut supervisor, 0);
        assert_eq!(first.take(), Some(0));
        first.begin();
        assert_eq!(supervisor.recover(0).unwrap().unfinished, Some(0));
        assert_eq!(supervisor.in_hand(0), None);
        let mut second = join(&mut supervisor, 0);
        let step = killed_at(k, || {
            do_one(&mut second);
        });
        redo_seen |= step == Some("take.redo");
        supervisor.recover(0).unwrap();
        let mut third = join(&mut supervisor, 0);
        let first_done = do_one(&mut third);
        let expected = if done(&supervisor).len() == 2 { 1 } else { 0 };
        assert_eq!(first_done, Some(expected), "step {k}, {step:?}");
        do_all(&mut third);
        assert_all_done(&supervisor);
        if step.is_none() {
            break;
        }
    }
    assert!(redo_seen);
}

// r[verify replay.board.begin]
#[test]
fn a_request_is_worked_on_from_the_beginning_of_the_work_to_its_end() {
    let mut supervisor = Supervisor::create(1, REQUESTS).unwrap();
    let mut worker = join(&mut supervisor, 0);
    assert_eq!(worker.take(), Some(0));
    assert_eq!((supervisor.in_hand(0), supervisor.progress().unwrap().in_hand), (None, 1));
    worker.begin();
    assert_eq!(supervisor.in_hand(0), Some(0));
    worker.finish(0, &outcome_of(0)).unwrap();
    assert_eq!(supervisor.in_hand(0), None);
}

/// Stops a worker in a thread of its own at its `k`-th step and lets it go on when told.
struct Stopped {
    go_on: mpsc::Sender<()>,
    thread: thread::JoinHandle<Vec<u32>>,
    /// Whether it stopped at all, and did not come to its end first.
    stopped: bool,
}

fn stop_at(mut worker: Worker, k: usize) -> Stopped {
    let (go_on, wait) = mpsc::channel();
    let (at, reached) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut left = Some(k);
        let end = at.clone();
        let hook = move |_| match left {
            Some(0) => {
                left = None;
                at.send(true).unwrap();
                wait.recv().unwrap();
            }
            Some(more) => left = Some(more - 1),
            None => {}
        };
        let done = with_hook(hook, || do_all(&mut worker));
        let _ = end.send(false);
        done
    });
    let stopped = reached.recv().unwrap();
    Stopped { go_on, thread, stopped }
}

/// The requests that a life has done, as the records say.
fn done_by(supervisor: &Supervisor, life: u32) -> Vec<u32> {
    supervisor.board.requests_in(RecordState::Done { life }).collect()
}

// r[verify replay.board.claim]
#[test]
fn a_worker_stopped_at_any_step_and_one_killed_at_any_step_share_the_work_out() {
    for stop in 0.. {
        let mut last = true;
        for kill in 0.. {
            let mut supervisor = Supervisor::create(2, REQUESTS).unwrap();
            let worker = join(&mut supervisor, 0);
            let stopped = stop_at(worker, stop);
            last &= !stopped.stopped;
            let mut victim = join(&mut supervisor, 1);
            let step = killed_at(kill, || {
                do_all(&mut victim);
            });
            supervisor.recover(1).unwrap();
            let mut next = join(&mut supervisor, 1);
            let by_next = do_all(&mut next);
            let _ = stopped.go_on.send(());
            let by_stopped = stopped.thread.join().unwrap();
            assert_all_done(&supervisor);
            // Each was done by one of them. The stopped one was never taken for dead, so what it
            // had in hand was nobody else's.
            let by_victim = done_by(&supervisor, 2);
            let mut by_all = [by_victim, by_next, by_stopped].concat();
            by_all.sort_unstable();
            assert_eq!(by_all, (0..REQUESTS).collect::<Vec<_>>(), "stop {stop}, kill {kill}");
            if step.is_none() {
                break;
            }
        }
        if last {
            break;
        }
    }
}
