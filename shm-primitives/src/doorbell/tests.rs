use super::*;
use crate::Mapping;
use crate::region::Region;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as StdOrdering};
use std::time::{Duration, Instant};

fn region() -> Region {
    Mapping::heap(FUTEX_DOORBELL_BYTES).unwrap().region(0, FUTEX_DOORBELL_BYTES).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

// r[verify doorbell.prepare]
#[test]
fn every_sleep_has_an_odd_value_of_its_own() {
    let region = region();
    let word = region.read_word(0).unwrap();
    let mut sleeper = Sleeper::new(region.word(0).unwrap());
    let mut values = Vec::new();
    for turn in 0..4 {
        sleeper.prepare();
        values.push(word.load(Ordering::Relaxed));
        if turn % 2 == 0 {
            sleeper.awake();
            assert_eq!(word.load(Ordering::Relaxed) % 2, 0);
        }
    }
    assert_eq!(values, [1, 3, 5, 7]);
    let mut heir = Sleeper::new(region.word(0).unwrap());
    assert_eq!(word.load(Ordering::Relaxed), 8);
    heir.prepare();
    assert_eq!(word.load(Ordering::Relaxed), 9);
}

// r[verify doorbell.ring]
// r[verify doorbell.once]
#[test]
fn a_waker_rings_once_for_each_sleep() {
    let region = region();
    let mut sleeper = Sleeper::new(region.word(0).unwrap());
    let mut waker = Waker::new(region.read_word(0).unwrap());
    let mut other = Waker::new(region.read_word(0).unwrap());
    for _ in 0..3 {
        assert!(!waker.should_ring());
        sleeper.prepare();
        assert!(waker.should_ring());
        assert!(!waker.should_ring());
        assert!(other.should_ring(), "each waker by itself");
        sleeper.awake();
    }
    assert!(!waker.should_ring());
}

// r[verify doorbell.deadline]
#[test]
fn a_wait_ends_at_its_deadline() {
    let mut sleeper = FutexSleeper::new(&region()).unwrap();
    let began = Instant::now();
    let deadline = began + Duration::from_millis(20);
    assert!(!sleeper.wait(deadline, || false).unwrap());
    assert!(Instant::now() >= deadline);
    assert!(!sleeper.wait(began, || false).unwrap(), "a deadline in the past");
    assert!(sleeper.wait(began, || true).unwrap(), "ready comes before late");
}

// r[verify doorbell.sequence]
#[test]
fn two_threads_hand_over_without_losing_a_wake_up() {
    const TURNS: u64 = 5_000;
    let (there, back) = (region(), region());
    let turn = Arc::new(AtomicU64::new(0));
    let play = |mine: Region, theirs: Region, parity: u64| {
        let turn = Arc::clone(&turn);
        let mut sleeper = FutexSleeper::new(&mine).unwrap();
        let mut waker = FutexWaker::new(&theirs).unwrap();
        move || {
            for count in (parity..TURNS).step_by(2) {
                let mine = || turn.load(StdOrdering::Acquire) == count;
                assert!(sleeper.wait(soon(), mine).unwrap());
                turn.store(count + 1, StdOrdering::Release);
                waker.signal();
            }
        }
    };
    let first = std::thread::spawn(play(there.clone(), back.clone(), 0));
    let second = std::thread::spawn(play(back, there, 1));
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(turn.load(StdOrdering::Relaxed), TURNS);
}

#[test]
fn a_doorbell_needs_room() {
    let small = Mapping::heap(64).unwrap().region(0, 64).unwrap();
    assert!(FutexSleeper::new(&small).is_err());
    assert!(FutexWaker::new(&small).is_err());
}
