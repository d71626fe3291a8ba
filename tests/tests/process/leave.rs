//! Hosts that leave in order.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, TestHost, wait_for};
use onecopy_transport::format::HostState;
use onecopy_transport::inspect::inspect;
use onecopy_transport::segment::SegmentPath;

// r[verify host.goodbye]
#[test]
fn guests_tell_a_host_that_left_from_one_that_died_and_the_segment_stays() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let mut sleeper = Peer::attached(PEER, segment.path(), "reader");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    host.leave().unwrap();
    assert!(guest.error("ping").contains("HostLeft"));
    assert!(guest.error("get 1").contains("HostLeft"));
    wait_for("the news", || sleeper.ok("end").contains("HostLeft"));
    assert_eq!(guest.ok("check"), "1", "what is leased can be read on");

    let path = SegmentPath::new(segment.path()).unwrap();
    let service = || onecopy::service::CacheService::new(Default::default());
    let left = inspect(&path, service()).unwrap();
    assert_eq!(left.host_state, Some(HostState::Left));
    assert!(left.audit.unwrap().report.is_clean());
    let host = TestHost::start(&segment);
    assert_eq!((host.epoch(), host.stat("blocks")), (2, 1));
    guest.ok("reattach");
    assert!(guest.ok("get 1").starts_with("5000 "));
    host.assert_clean();
}

// r[verify host.goodbye]
#[test]
fn a_host_that_removes_its_segment_leaves_nothing() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.remove_on_leave = true);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    host.leave().unwrap();
    assert!(!segment.path().exists());
    assert!(guest.error("ping").contains("HostLeft"));
    assert_eq!(guest.ok("check"), "1", "its mappings outlive the names");
    assert!(guest.error("reattach").contains("Connect"));
}
