//! Readers that rely on the host for their fences, and what becomes of them and of hosts where membarrier is
//! forbidden.

use super::PEER;
use onecopy_shm::barrier;
use onecopy_tests::harness::{Peer, Segment, TestHost};

/// Whether this machine has what the tests forbid.
fn is_possible() -> bool {
    let is_possible = barrier::is_available();
    if !is_possible {
        println!("skipped: the kernel, or a filter, does not let membarrier through");
    }
    is_possible
}

fn forbidden(segment: &Segment) -> Peer {
    let mut peer = Peer::start(PEER, segment.path());
    peer.ok("forbid_membarrier");
    peer
}

// r[verify lease.fence]
#[test]
fn a_host_that_cannot_fence_waits_for_the_guests_that_rely_on_it() {
    if !is_possible() {
        return;
    }
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 1 20");
    first.kill();
    let mut next = forbidden(&segment);
    let refused = next.error("host 8 8");
    assert!(refused.contains("membarrier"), "{refused}");
    guest.kill();
    next.ok("host 8 8");
    assert_eq!(next.ok("host_stat blocks"), "20", "none is lost");
    // Readers fence themselves now.
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    assert_ne!(guest.ok("find 3"), "0");
    guest.ok("delete 3");
    guest.ok("detach");
    next.ok("host_leave");
}

// r[verify lease.fence]
// r[verify guest.detach]
#[test]
fn a_goodbye_that_cannot_tell_what_is_leased_is_an_error() {
    if !is_possible() {
        return;
    }
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("forbid_membarrier");
    let refused = guest.error("detach");
    assert!(refused.contains("NoFence"), "{refused}");
    assert_ne!(guest.ok("get 1"), "miss", "it is attached as before");
    // One that was not let enlist has fences of its own, and may say goodbye.
    let mut fenced = forbidden(&segment);
    fenced.attach("attach writer");
    assert_ne!(fenced.ok("get 1"), "miss");
    fenced.ok("detach");
    guest.kill();
    assert!(!host.wait_recovered(guest.serial()).0, "it said no goodbye");
    host.assert_clean();
}
