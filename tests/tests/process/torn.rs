//! Guests that cut the files which they may write.

use crate::PEER;
use crate::hostile::Steady;
use onecopy::error::{AskError, PublishError};
use onecopy_shm::{Access, LeaseTable, Mapping, SlotRef, lease_table_bytes, ring_layout};
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, key, soon, wait_for};
use onecopy_transport::control::{ControlReader, read_geometry};
use onecopy_transport::format::{RINGS_REQUEST_OFFSET, Role, TABLE_ALIGNMENT_BYTES};
use onecopy_transport::guest::{
    AreaError, AttachError, CallError, LeaseError, LinkEnd, LinkError, Torn,
};
use onecopy_transport::host::{CutOffReason, HostEvent, Settlement};
use onecopy_transport::wire::kind;
use rustix::fs::ftruncate;
use std::sync::atomic::Ordering;

/// Positions of descriptors in a welcome.
const RINGS: usize = 2;
const LEASES: usize = 3;

fn reason_of(host: &mut TestHost, guest: u32) -> CutOffReason {
    host.wait_event("cut off", |event| match event {
        HostEvent::CutOff { serial, reason } if *serial == guest => Some(reason.clone()),
        _ => None,
    })
}

// r[verify peer.torn]
#[test]
fn who_cuts_its_rings_loses_its_link_and_nobody_else_anything() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    // All of it; all but the head; the answers alone.
    for (round, cut) in ["all", "rings", "answers"].into_iter().enumerate() {
        let mut guest = RawGuest::attach(segment.path(), Role::Writer);
        let serial = guest.serial();
        guest.reserve(5000);
        let quarantined = host.stat("slots_quarantined");
        let bytes = match cut {
            "all" => 0,
            "rings" => RINGS_REQUEST_OFFSET,
            _ => answers_offset(&guest),
        };
        ftruncate(&guest.descriptors[RINGS], bytes).unwrap();
        if cut == "answers" {
            // They are met when there is one.
            guest.send(kind::PING, 0, 1, &[7; 64]);
        }
        wait_for("the cut", || {
            guest.ring();
            guest.is_cut_off()
        });
        assert_eq!(reason_of(&mut host, serial), CutOffReason::RingsTorn);
        assert_eq!(host.stat("cut_off_rings_torn"), round as u64 + 1);
        assert!(host.stat("slots_quarantined") > quarantined, "its process lives");
    }
    steady.noticed_nothing();
    host.assert_clean();
}

fn answers_offset(guest: &RawGuest) -> u64 {
    let capacity = guest.welcome.ring_capacity_bytes.get();
    let ring_bytes = ring_layout(capacity.into()).unwrap().size_bytes;
    RINGS_REQUEST_OFFSET + ring_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES)
}

/// The slot that a peer says it has stored a block in.
fn stored(answer: String) -> SlotRef {
    let words: Vec<u32> = answer.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    SlotRef { slot: words[0], generation: words[1] }
}

/// A reader's lease of this slot, stored in its own table without a word to anybody.
fn lease(guest: &RawGuest, host: &TestHost, slot: SlotRef) -> LeaseTable {
    let capacity = host.guest(Role::Reader).geometry().leases_max as u32;
    let bytes = lease_table_bytes(capacity);
    let mapping = Mapping::map(&guest.descriptors[LEASES], bytes, Access::ReadWrite).unwrap();
    let table = LeaseTable::new(mapping.region(0, bytes).unwrap(), capacity).unwrap();
    let _stays = table.lease(slot).unwrap();
    table
}

// r[verify peer.torn]
// r[verify pool.reclaim]
#[test]
fn who_cuts_its_lease_table_is_cut_off_before_a_slot_is_freed_on_the_ground_of_it() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let steady = Steady::start(&segment);
    let slot = stored(writer.ok("store 5001 5000"));
    let honest = host.guest(Role::Reader);
    let kept = stored(writer.ok("store 5002 5000"));
    let guard = honest.lease(kept).unwrap().unwrap();

    let guest = RawGuest::attach(segment.path(), Role::Reader);
    let _table = lease(&guest, &host, slot);
    writer.ok("delete 5001");
    writer.ok("delete 5002");
    host.wait_stat("slots_retired", 2);
    assert_eq!(host.stat("cut_off"), 0);

    ftruncate(&guest.descriptors[LEASES], 0).unwrap();
    assert_eq!(reason_of(&mut host, guest.serial()), CutOffReason::LeasesTorn);
    wait_for("the end of its socket", || guest.is_cut_off());
    assert_eq!(attached_word(&guest), 0, "it can tell that its leases protect nothing");
    assert_eq!(host.stat("cut_off_leases_torn"), 1);
    // What it has given up is free; what others lease is theirs.
    host.wait_stat("slots_retired", 1);
    assert!(onecopy_tests::harness::is_payload(5002, &guard));
    drop(guard);
    host.wait_stat("slots_retired", 0);
    assert_eq!(host.stat("recovered"), 0, "its process lives");
    steady.noticed_nothing();
    host.assert_clean();
}

fn attached_word(guest: &RawGuest) -> u64 {
    let control_bytes = guest.welcome.control_bytes.get();
    let control = Mapping::map(&guest.descriptors[0], control_bytes, Access::ReadOnly).unwrap();
    let (geometry, _) = read_geometry(&control).unwrap();
    let reader = ControlReader::new(control, geometry).unwrap();
    let word = reader.attached(guest.welcome.row.get().into()).unwrap();
    word.load(Ordering::Relaxed)
}

// r[verify peer.write-off]
#[test]
fn who_cut_its_lease_table_is_written_off_with_what_is_left_in_it() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let slot = stored(writer.ok("store 5001 5000"));
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    guest.reserve(9000);
    let _table = lease(&guest, &host, slot);
    let serial = guest.serial();
    host.handle().cut_off(serial, "by hand", soon()).unwrap();
    ftruncate(&guest.descriptors[LEASES], 0).unwrap();
    let quarantined = host.stat("slots_quarantined");
    let settled = host.handle().settle(serial, Settlement::WriteOff, soon()).unwrap();
    assert_eq!((settled.leases, settled.slots.slots), (0, quarantined), "it let go of the block");
    assert_eq!(attached_word(&guest), 0, "it can tell that its leases protect nothing");
    assert_ne!(writer.ok("get 5001"), "miss", "which is nobody else's loss");
    writer.ok("delete 5001");
    host.wait_stat("slots_retired", 0);
    assert_eq!(host.stat("slots_written_off"), quarantined);
    writer.ok("ping");
    assert_eq!(
        host.events().iter().filter(|event| matches!(event, HostEvent::CutOff { .. })).count(),
        1
    );
    host.assert_clean();
}

// r[verify peer.torn]
#[test]
fn a_lease_table_that_was_cut_while_no_host_was_there_does_not_keep_the_next_one_out() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("store 1 5000");
    let guest = RawGuest::attach(segment.path(), Role::Reader);
    // As long as it has its table mapped it is not gone.
    let capacity = host.guest(Role::Reader).geometry().leases_max as u32;
    let bytes = lease_table_bytes(capacity);
    let _mapped = Mapping::map(&guest.descriptors[LEASES], bytes, Access::ReadWrite).unwrap();
    host.leave().unwrap();
    ftruncate(&guest.descriptors[LEASES], 0).unwrap();

    let mut host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("delete 1");
    assert_eq!(reason_of(&mut host, guest.serial()), CutOffReason::LeasesTorn);
    assert_eq!(attached_word(&guest), 0);
    host.wait_stat("slots_retired", 0);
    host.assert_clean();
}

fn cut_pool(segment: &Segment, bytes: u64) {
    let pool = std::fs::OpenOptions::new().write(true).open(segment.path().join("pool")).unwrap();
    pool.set_len(bytes).unwrap();
}

// r[verify guest.torn]
#[test]
fn a_guest_whose_pool_was_cut_is_told_and_takes_no_zeroes_for_data() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("store 1 5000");
    let reader = host.cache(Role::Reader);
    let filler = host.cache(Role::Writer);
    let torn_at = reader.guest().pool_read_only().base_address;
    let block = reader.lookup(&key(1)).unwrap().unwrap();
    block.check_intact().unwrap();
    let mut fill = filler.reserve(5000).unwrap();
    fill[..10].fill(1);
    filler.guest().ping(soon()).unwrap();

    cut_pool(&segment, 4096);
    assert!(block.iter().all(|byte| *byte == 0), "the process lives, the bytes are gone");
    assert_eq!(block.check_intact(), Err(Torn { area: "pool" }));
    fill[..10].fill(2);
    let torn = LinkEnd::Broken(LinkError::Torn(Torn { area: "pool" }));
    let error = fill.publish(&key(2), 10, Default::default()).unwrap_err();
    let expected =
        matches!(&error, PublishError::Ask(AskError::Call(CallError::Link(end))) if *end == torn);
    assert!(expected, "{error:?}");
    assert!(reader.lookup(&key(1)).is_err());
    let slot = block.slot();
    let error = reader.guest().lease(slot).map(|_| ()).unwrap_err();
    assert_eq!(error, LeaseError::Torn(Torn { area: "pool" }));
    assert_eq!(reader.guest().end(), Some(torn));
    // Who comes anew is told at once; the host has not touched a byte of it.
    let error = reader.guest().reattach(soon()).unwrap_err();
    let expected = matches!(
        &error,
        AttachError::Area(AreaError::TooSmall { area: "pool", found_bytes: 4096, .. })
    );
    assert!(expected, "{error:?}");
    assert_eq!(host.stat("cut_off"), 0);
    host.assert_clean();

    // With the file long again it is mapped anew, and what was torn is not kept.
    cut_pool(&segment, host.stat("pool_bytes"));
    let again = reader.guest().reattach(soon()).unwrap();
    again.ping(soon()).unwrap();
    assert_ne!(again.pool_read_only().base_address, torn_at);
}
