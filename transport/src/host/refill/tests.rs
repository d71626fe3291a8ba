use super::*;
use crate::control::{COLD_WORDS, NOTE_WORDS};
use crate::host::tests::{guests, host_at};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);
/// Requests that wait for growth which does not come.
const WAITING: u32 = 50;

/// A host whose pool is full of published slots, all of which the guest leases, and requests of that
/// guest that wait.
fn full_host(
    base: &tempfile::TempDir,
) -> (Host<crate::host::tests::Idle>, crate::guest::Guest, Vec<crate::guest::SlotGuard>) {
    let mut host = host_at(base, LONG);
    let guest = guests(&mut host, 1).remove(0);
    let serial = guest.serial();
    let class = host.core.pool.classes().class_for(1).unwrap();
    let mut published = Vec::new();
    while let Ok(slot) = host.core.pool.grant(serial, class) {
        host.core.pool.publish(serial, slot, 1, &[0; NOTE_WORDS], &[0; COLD_WORDS]).unwrap();
        published.push(slot);
    }
    let lease = |slot: &SlotRef| guest.lease(*slot).unwrap().unwrap();
    let guards = published.iter().map(lease).collect();
    host.core.service.published = published;
    host.core.parked =
        (1..=WAITING).map(|request_id| Parked { serial, request_id, class, count: 1 }).collect();
    (host, guest, guards)
}

// r[verify growth.refill_waits]
#[test]
fn requests_that_waited_in_vain_are_refused_after_one_look() {
    let base = tempfile::tempdir().unwrap();
    let (mut host, _guest, _guards) = full_host(&base);
    let before = host.core.counters.lease_looks;
    host.answer_parked();
    assert_eq!(host.core.counters.lease_looks - before, 1);
    assert!(host.core.parked.is_empty(), "nothing that one look frees is left for the others");
}

// r[verify growth.refill_waits]
#[test]
fn requests_that_waited_are_answered_one_look_at_a_time() {
    let base = tempfile::tempdir().unwrap();
    let (mut host, guest, guards) = full_host(&base);
    drop(guards);
    for answered in 1..=WAITING {
        let before = host.core.counters.lease_looks;
        host.answer_parked();
        assert_eq!(host.core.counters.lease_looks - before, 1);
        assert_eq!(host.core.parked.len() as u32, WAITING - answered);
    }
    assert_eq!(host.core.pool.granted_to(guest.serial()).slots, u64::from(WAITING));
}
