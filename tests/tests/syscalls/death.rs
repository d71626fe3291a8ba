//! A process that is killed before each of its calls in turn.

use crate::PEER;
use crate::host::{SERVE_SMALL, attach, check_blocks, store_blocks};
use crate::sweep::kill_at_each;
use onecopy_tests::harness::{Blow, Peer, Segment, TestHost, Trap, wait_for};

/// A host that is killed in what it is told; then another one serves the same segment.
fn kill_host(segment: &Segment, nth: u32, orders: &[&str]) -> Option<bool> {
    let mut host = Peer::start(PEER, segment.path());
    let trap = Trap::of(&mut host)?;
    trap.arm(nth, Blow::Kill);
    let answered = orders.iter().all(|order| {
        let answer = host.try_tell(order);
        answer.is_some_and(|answer| answer.starts_with("ok"))
    });
    let met = trap.disarm().hit.is_some();
    assert!(answered || met, "it lives as long as it is let");
    // It may have answered in the moment in which another thread of it was met.
    if !met {
        return Some(false);
    }
    host.wait();
    Some(true)
}

// r[verify resources.calls]
#[test]
fn a_host_that_makes_a_segment_or_leaves_it() {
    let segment = Segment::new();
    kill_at_each("host, start to goodbye", |nth| {
        let orders = [SERVE_SMALL, "host_audit", "host_leave"];
        let Some(killed) = kill_host(&segment, nth, &orders) else { return false };
        let host = TestHost::start(&segment);
        let cache = attach(segment.path()).unwrap();
        store_blocks(&cache);
        check_blocks(&cache);
        drop(cache);
        host.assert_clean();
        host.leave().unwrap();
        std::fs::remove_dir_all(segment.path()).unwrap();
        killed
    });
}

// r[verify resources.calls]
#[test]
fn a_host_that_takes_over_a_segment() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let cache = attach(segment.path()).unwrap();
    store_blocks(&cache);
    let mut bystander = Peer::attached(PEER, segment.path(), "writer");
    bystander.ok("hold 3");
    bystander.ok("reserve 5000 2");
    drop(cache);
    host.leave().unwrap();
    kill_at_each("host, restart", |nth| {
        let Some(killed) = kill_host(&segment, nth, &[SERVE_SMALL]) else { return false };
        let host = TestHost::start(&segment);
        let cache = attach(segment.path()).unwrap();
        check_blocks(&cache);
        drop(cache);
        bystander.ok("check");
        host.assert_clean();
        host.leave().unwrap();
        killed
    });
}

// r[verify resources.calls]
#[test]
fn a_guest_from_its_attach_to_its_goodbye() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    kill_at_each("guest", |nth| {
        let mut guest = Peer::start(PEER, segment.path());
        let Some(trap) = Trap::of(&mut guest) else { return false };
        trap.arm(nth, Blow::Kill);
        let number = 1000 + u64::from(nth);
        let orders = ["attach writer", "reserve 5000 2", "publish", "hold", "pin", "detach"];
        for order in orders {
            if guest.try_tell(&format!("{order} {number}")).is_none() {
                break;
            }
        }
        let killed = trap.disarm().hit.is_some();
        guest.wait();
        drop(trap);
        wait_for("the files of a dead guest to go", || {
            segment.files("rings").is_empty() && segment.files("leases").is_empty()
        });
        host.assert_clean();
        killed
    });
    let cache = attach(segment.path()).unwrap();
    store_blocks(&cache);
    check_blocks(&cache);
}
