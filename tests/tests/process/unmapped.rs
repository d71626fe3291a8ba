//! Processes that live and have left the segment.

use crate::{PEER, busy_writer};
use onecopy_tests::harness::{Peer, Segment, TestHost, soon};
use rustix::process::{Pid, test_kill_process};

fn lives(peer: &Peer) -> bool {
    let pid = Pid::from_raw(peer.pid() as i32).unwrap();
    test_kill_process(pid).is_ok()
}

// r[verify peer.unmapped]
#[test]
fn a_guest_that_executes_another_program_is_gone_though_its_process_lives() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    guest.ok("pin 1");
    guest.ok("reserve 9000 2");
    guest.ok("execute");
    let (goodbye, slots) = host.wait_recovered(guest.serial());
    assert!(!goodbye && slots >= 2, "{slots} slots");
    assert!(lives(&guest));
    assert!(other.ok("delete 1").contains("true"));
    host.wait_stat("slots_retired", 0);
    assert_eq!(segment.files("leases"), [other.serial()]);
    host.assert_clean();
    guest.kill();
}

// r[verify peer.unmapped]
// r[verify guest.leases-last]
#[test]
fn a_guest_that_was_cut_off_is_gone_when_it_has_let_go_of_everything() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 2);
    assert!(host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap());
    assert!(guest.error("ping").contains("CutOff"));
    guest.ok("drop_cache");
    let waiting = host.stat("slots_quarantined");
    assert!(waiting >= 2);
    // What is left keeps the rest: first the block that it reads, then a slot that it fills.
    for order in ["check", "let_go", "scribble 1"] {
        guest.ok(order);
        host.wait_ticks(20);
        assert_eq!(
            (host.stat("recovered"), host.stat("slots_quarantined")),
            (0, waiting),
            "{order}"
        );
    }
    guest.ok("unreserve");
    assert_eq!(host.wait_recovered(guest.serial()), (false, waiting));
    assert!(lives(&guest));
    assert_eq!(host.stat("slots_quarantined"), 0);
    host.assert_clean();
}

// r[verify peer.unmapped]
#[test]
fn a_thread_that_goes_on_when_the_main_thread_has_ended_has_the_segment_mapped() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer socket");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    guest.ok("reserve 9000 2");
    guest.ok("main_thread_ends");
    let maps = format!("/proc/{}/maps", guest.pid());
    onecopy_tests::harness::wait_for("the end of the main thread", || {
        std::fs::read_to_string(&maps).is_ok_and(|maps| maps.is_empty())
    });
    guest.ok("close_socket");
    host.wait_stat("suspected", 1);
    for _ in 0..3 {
        guest.ok("scribble 5");
        assert_eq!(guest.ok("check"), "1");
        host.wait_ticks(10);
    }
    assert_eq!(host.stat("recovered"), 0);
    guest.kill();
    assert!(host.wait_recovered(guest.serial()).1 >= 2);
    host.assert_clean();
}
