//! Models of the doorbell: no wake-up is lost, whether the kernel remembers a ring (an eventfd) or
//! not (a futex). What is handed over is relaxed, so that nothing but the doorbell orders it.

use super::futex_word::FutexWord;
use super::{FutexSleeper, FutexWaker, Sleeper, Waker};
use crate::Mapping;
use crate::sync::{AtomicU64, Ordering::Relaxed, thread};
use loom::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Counter;
use std::time::{Duration, Instant};

const COMMITS: u64 = 3;

/// An eventfd: a ring stays until a sleep takes it.
struct EventFd {
    rung: Mutex<bool>,
    sleepers: Condvar,
}

impl EventFd {
    fn new() -> EventFd {
        EventFd { rung: Mutex::new(false), sleepers: Condvar::new() }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.sleepers.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.sleepers.wait(rung).unwrap();
        }
        *rung = false;
    }
}

fn ends() -> (Sleeper, Waker) {
    let region = Mapping::heap(8).unwrap().region(0, 8).unwrap();
    (Sleeper::new(region.word(0).unwrap()), Waker::new(region.read_word(0).unwrap()))
}

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(body);
}

#[test]
fn no_wake_up_is_lost_with_an_eventfd() {
    let slept_in_any = Arc::new(Counter::new(0));
    let slept = Arc::clone(&slept_in_any);
    model(move || {
        let (mut sleeper, mut waker) = ends();
        let kernel = Arc::new(EventFd::new());
        let committed = Arc::new(AtomicU64::new(0));
        let (eventfd, commits) = (Arc::clone(&kernel), Arc::clone(&committed));
        let writer = thread::spawn(move || {
            let mut rings = 0;
            for count in 1..=COMMITS {
                commits.store(count, Relaxed);
                if waker.should_ring() {
                    rings += 1;
                    eventfd.ring();
                }
            }
            rings
        });
        let mut sleeps = 0;
        let mut seen = 0;
        while seen < COMMITS {
            sleeper.prepare();
            sleeps += 1;
            let now = committed.load(Relaxed);
            if now == seen {
                slept.fetch_add(1, Relaxed);
                kernel.sleep();
            }
            sleeper.awake();
            seen = committed.load(Relaxed).max(seen);
        }
        let rings: u64 = writer.join().unwrap();
        assert!(rings <= sleeps, "{rings} rings for {sleeps} sleeps");
    });
    assert!(slept_in_any.load(Relaxed) > 0);
}

#[test]
fn no_wake_up_is_lost_with_a_futex() {
    let rung_in_any = Arc::new(Counter::new(0));
    let rung = Arc::clone(&rung_in_any);
    model(move || {
        let (sleeper, waker) = ends();
        let sequence = FutexWord::model();
        let mut waker = FutexWaker::over(waker, sequence.clone());
        let mut sleeper = FutexSleeper::over(sleeper, sequence);
        let committed = Arc::new(AtomicU64::new(0));
        let commits = Arc::clone(&committed);
        let rung = Arc::clone(&rung);
        let writer = thread::spawn(move || {
            for count in 1..=COMMITS {
                commits.store(count, Relaxed);
                rung.fetch_add(u64::from(waker.signal()), Relaxed);
            }
        });
        // Never reached: the model's futex knows no time.
        let deadline = Instant::now() + Duration::from_secs(1 << 20);
        for wanted in 1..=COMMITS {
            assert!(sleeper.wait(deadline, || committed.load(Relaxed) >= wanted).unwrap());
        }
        writer.join().unwrap();
    });
    assert!(rung_in_any.load(Relaxed) > 0);
}
