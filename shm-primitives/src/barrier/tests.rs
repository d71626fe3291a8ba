use super::{enlist, fence_everyone, is_available};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::thread;

const ROUNDS: usize = 20_000;

/// What the two sides of a round store; no two on one cache line.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

fn wait_for(word: &Line, value: u64) {
    for looks in 0_u64.. {
        if word.0.load(Ordering::Acquire) >= value {
            return;
        }
        // The other side may have no core.
        if looks % 1024 == 1023 { thread::yield_now() } else { spin_loop() }
    }
}

/// Two sides that store and then look, one of them without a fence: at least one sees the other's store.
/// Without the fence of the other, some of the rounds fail wherever a store waits for its turn.
// r[verify lease.fence]
#[test]
fn a_side_without_a_fence_is_fenced_by_the_other() {
    if !is_available() || enlist().is_err() {
        println!("skipped: the kernel, or a filter, does not let membarrier through");
        return;
    }
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (Line::default(), Line::default())).collect();
    let (begun, ended) = (Line::default(), Line::default());
    let missed = thread::scope(|scope| {
        let often = scope.spawn(|| {
            let look = |((lease, retired), round): (&(Line, Line), u64)| {
                wait_for(&begun, round);
                lease.0.store(1, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                let saw = retired.0.load(Ordering::Relaxed);
                ended.0.store(round, Ordering::Release);
                saw
            };
            rounds.iter().zip(1..).map(look).collect::<Vec<_>>()
        });
        let look = |((lease, retired), round): (&(Line, Line), u64)| {
            begun.0.store(round, Ordering::Release);
            // Sooner and later than the other side.
            (0..round % 64).for_each(|_| spin_loop());
            retired.0.store(1, Ordering::Relaxed);
            fence_everyone().unwrap();
            let saw = lease.0.load(Ordering::Relaxed);
            wait_for(&ended, round);
            saw
        };
        let seldom: Vec<_> = rounds.iter().zip(1..).map(look).collect();
        let often = often.join().unwrap();
        often.iter().zip(&seldom).filter(|both| *both == (&0, &0)).count()
    });
    assert_eq!(missed, 0, "of {ROUNDS} rounds in which neither saw the other");
}
