//! Guests that leave in order.

use crate::busy_writer;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Segment, TestHost};
use onecopy_transport::inspect::inspect;
use onecopy_transport::segment::SegmentPath;

fn rows(segment: &Segment) -> usize {
    let service = CacheService::new(CacheServiceOptions::default());
    let path = SegmentPath::new(segment.path()).unwrap();
    inspect(&path, service).unwrap().peers.len()
}

// r[verify peer.recover]
#[test]
fn a_goodbye_is_refused_while_anything_is_held_and_then_leaves_nothing() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 2);
    let refused = guest.error("detach");
    assert!(refused.contains("InUse { leases: 1, slots: 2, requests: 0 }"), "{refused}");
    guest.ok("let_go");
    let refused = guest.error("detach");
    assert!(refused.contains("InUse { leases: 0, slots: 2, requests: 0 }"), "{refused}");
    // Nothing was lost by asking.
    guest.ok("publish 2");
    guest.ok("unreserve");
    guest.ok("pin 1");
    assert_eq!(rows(&segment), 1);

    guest.ok("detach");
    assert!(host.wait_recovered(guest.serial()).0, "it said goodbye");
    assert_eq!(rows(&segment), 0);
    assert!(segment.files("rings").is_empty() && segment.files("leases").is_empty());
    assert_eq!((host.stat("slots_granted"), host.stat("pinned_blocks")), (0, 0));
    assert_eq!((host.stat("departed"), host.stat("recovered")), (1, 0));
    assert!(guest.error("ping").contains("Detached"));
    host.assert_clean();
}

// r[verify peer.recover]
#[test]
fn the_last_drop_says_goodbye_after_all_that_it_held() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 2);
    guest.ok("drop_cache");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(host.stat("departed"), 0, "guards keep the attach");
    guest.ok("check");
    guest.ok("let_go");
    assert_eq!(host.stat("departed"), 0);
    guest.ok("unreserve");
    assert!(host.wait_recovered(guest.serial()).0);
    assert_eq!((host.stat("slots_granted"), host.stat("guests")), (0, 0));
    host.assert_clean();
}
