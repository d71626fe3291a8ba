use super::{enlist, fence_everyone, is_available};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const ROUNDS: u32 = 20_000;

/// A machine without a core for each side runs fewer rounds.
const TIME_FOR_ROUNDS: Duration = Duration::from_secs(10);
/// The other side has failed.
const NO_ANSWER: Duration = Duration::from_secs(60);
/// There are no more rounds.
const OVER: u64 = u64::MAX;

/// What the two sides of a round store; no two on one cache line.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Returns what the word has once it is that much.
fn wait_for(word: &Line, value: u64) -> u64 {
    let since = Instant::now();
    let mut looks = 0_u32;
    loop {
        let found = word.0.load(Ordering::Acquire);
        if found >= value {
            return found;
        }
        looks = looks.wrapping_add(1);
        if !looks.is_multiple_of(1024) {
            spin_loop();
            continue;
        }
        assert!(since.elapsed() < NO_ANSWER, "no answer in round {value}");
        // The other side may have no core.
        thread::yield_now();
    }
}

/// Whether this process can be fenced and can fence; says so if it cannot.
pub(crate) fn can_fence() -> bool {
    let can = is_available() && enlist().is_ok();
    if !can {
        println!("skipped: the kernel, or a filter, does not let membarrier through");
    }
    can
}

/// Has two threads act at once in each of at most `ROUNDS` rounds, the first of them in a thread of its
/// own; both have acted before the next round begins. What they returned, round by round.
pub(crate) fn race(
    mut first: impl FnMut(u32) -> bool + Send,
    mut second: impl FnMut(u32) -> bool,
) -> Vec<(bool, bool)> {
    let (begun, ended) = (Line::default(), Line::default());
    let until = Instant::now() + TIME_FOR_ROUNDS;
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut outcomes = Vec::new();
            for round in 0..ROUNDS {
                let number = u64::from(round) + 1;
                if wait_for(&begun, number) == OVER {
                    break;
                }
                outcomes.push(first(round));
                ended.0.store(number, Ordering::Release);
            }
            outcomes
        });
        let mut outcomes = Vec::new();
        for round in (0..ROUNDS).take_while(|_| Instant::now() < until) {
            let number = u64::from(round) + 1;
            begun.0.store(number, Ordering::Release);
            // Sooner and later than the other side.
            (0..round % 64).for_each(|_| spin_loop());
            outcomes.push(second(round));
            wait_for(&ended, number);
        }
        begun.0.store(OVER, Ordering::Release);
        others.join().unwrap().into_iter().zip(outcomes).collect()
    })
}

/// Two sides that store and then look, one of them without a fence: at least one sees the other's store.
/// Without the fence of the other, some of the rounds fail wherever a store waits for its turn.
// r[verify lease.fence]
#[test]
fn a_side_without_a_fence_is_fenced_by_the_other() {
    if !can_fence() {
        return;
    }
    let words: Vec<_> = (0..ROUNDS).map(|_| (Line::default(), Line::default())).collect();
    let often = |round: u32| {
        let (lease, retired) = &words[round as usize];
        lease.0.store(1, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        retired.0.load(Ordering::Relaxed) == 1
    };
    let seldom = |round: u32| {
        let (lease, retired) = &words[round as usize];
        retired.0.store(1, Ordering::Relaxed);
        fence_everyone().unwrap();
        lease.0.load(Ordering::Relaxed) == 1
    };
    let rounds = race(often, seldom);
    let missed = rounds.iter().filter(|round| **round == (false, false)).count();
    assert_eq!(missed, 0, "of {} rounds in which neither saw the other", rounds.len());
}
