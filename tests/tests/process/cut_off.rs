//! Guests that the host has cut off, and that live on.

use crate::{PEER, busy_writer};
use onecopy_shm::SlotRef;
use onecopy_tests::harness::{Peer, Segment, TestHost, soon};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{LeaseError, LinkEnd};
use onecopy_transport::host::{CutOffReason, HostEvent};

// r[verify peer.cut_off]
#[test]
fn a_guest_that_is_cut_off_learns_it_and_keeps_what_it_reads_until_it_dies() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 3);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    assert!(host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap());
    host.wait_event("cut off", |event| match event {
        HostEvent::CutOff { serial, reason } if *serial == guest.serial() => {
            assert_eq!(*reason, CutOffReason::ByHand("by hand".to_owned()));
            Some(())
        }
        _ => None,
    });
    // Its calls would wait for ten minutes, were they not told.
    assert!(guest.error("ping").contains("CutOff"));
    assert!(guest.error("get 1").contains("CutOff"));
    assert!(guest.error("reserve 100 1").contains("CutOff"));
    assert!(guest.ok("end").contains("CutOff"));

    let quarantined = host.stat("slots_quarantined");
    assert!(quarantined >= 3);
    assert_eq!(other.ok("delete 1"), "true");
    other.ok("store_many 10 300");
    assert_eq!(guest.ok("check"), "1", "its lease is honoured");
    assert_eq!((host.stat("slots_retired"), host.stat("recovered")), (1, 0));
    assert_eq!(host.stat("slots_quarantined"), quarantined);
    host.assert_clean();

    // It may come back as another peer, and take over what it still uses.
    let again: u32 = guest.ok("reattach").parse().unwrap();
    assert_ne!(again, guest.serial());
    assert_eq!(guest.ok("store 2 5000").split(' ').next(), Some("first"));
    assert_eq!(guest.ok("check"), "1");
    assert_eq!(host.stat("slots_quarantined"), 0);
    assert!(host.wait_recovered(guest.serial()).0, "its earlier attach is over");

    guest.kill();
    assert!(!host.wait_recovered(again).0);
    assert_eq!((host.stat("slots_quarantined"), host.stat("slots_retired")), (0, 0));
    assert_eq!(segment.files("leases"), [other.serial()]);
    host.assert_clean();
    assert!(!host.handle().cut_off(guest.serial(), "again", soon()).unwrap());
}

// r[verify peer.cut_off]
#[test]
fn a_guest_that_is_cut_off_gets_no_new_leases() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let answer = writer.ok("store 1 5000");
    let words: Vec<u32> = answer.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    let slot = SlotRef { slot: words[0], generation: words[1] };
    let guest = host.guest(Role::Reader);
    let held = guest.lease(slot).unwrap().unwrap();
    assert!(host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap());
    assert!(matches!(guest.lease(slot), Err(LeaseError::CutOff)));
    onecopy_tests::harness::wait_for("the end", || guest.end() == Some(LinkEnd::CutOff));
    assert!(onecopy_tests::harness::is_payload(1, &held));
    drop(held);
    host.assert_clean();
}
