//! Leases without a fence of their own race a host that has their readers fenced.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{fresh_table, slot};
use crate::barrier::fence_everyone;
use crate::barrier::tests::{ROUNDS, can_fence, race};
use crate::error::LeaseError;
use crate::lease::{LeaseCell, fence_before_scan};
use crate::slot::SlotWord;

const ATTACHED: u64 = 5;

/// A slot that nobody leased before, on a cache line of its own.
#[repr(align(128))]
struct Slot(AtomicU64);

/// A reader that holds the lease of a published slot was seen by the host that retired it. Without
/// `fence_everyone` the processor looks at the slot before others see the lease, now and then: 6 of 8 runs
/// on two busy cores failed, with 6 to 54 such rounds.
// r[verify lease.fence]
// r[verify lease.order]
#[test]
fn a_lease_without_a_fence_is_seen_or_refused() {
    if !can_fence() {
        return;
    }
    let published = SlotWord::UNCARVED.carve().unwrap().grant(1).unwrap().publish().unwrap();
    let retired = published.retire().unwrap();
    let slots: Vec<_> = (0..ROUNDS).map(|_| Slot(AtomicU64::new(published.bits()))).collect();
    let table = fresh_table(64).fenced_by_host();
    let scan = table.scan();
    let lease = |round: u32| {
        let state = |ordering| slots[round as usize].0.load(ordering);
        table.lease_published(slot(round + 1), state, |_| ATTACHED, ATTACHED)
    };

    let mut held: Option<LeaseCell> = None;
    let reader = |round: u32| {
        // What it has from the round before: the host has looked by now.
        held.take().into_iter().for_each(|cell| table.release(cell));
        // The last lease is the one that counts, since it stays until the host has looked.
        for _ in 0..round / 64 % 8 {
            lease(round).into_iter().for_each(|cell| table.release(cell));
        }
        match lease(round) {
            Ok(cell) => held = Some(cell),
            Err(LeaseError::NotPublished { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        held.is_some()
    };
    let host = |round: u32| {
        slots[round as usize].0.store(retired.bits(), Ordering::Release);
        fence_before_scan();
        fence_everyone().unwrap();
        scan.names(slot(round + 1))
    };
    let rounds = race(reader, host);
    let count = |outcome| rounds.iter().filter(|round| **round == outcome).count();
    let (missed, waits, refused) =
        (count((true, false)), count((true, true)), count((false, false)));
    println!("{} rounds: {waits} wait for the reader, {refused} refused", rounds.len());
    assert_eq!(
        missed,
        0,
        "of {} rounds in which the host missed a lease that stands",
        rounds.len()
    );
}
