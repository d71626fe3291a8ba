//! Requests that cannot be: each is told apart, and nothing is lost by asking.

use crate::{PEER, busy_writer};
use onecopy::error::PublishError;
use onecopy_tests::harness::{Peer, Segment, TestHost, key, payload, soon};
use onecopy_transport::format::Role;
use onecopy_transport::guest::ReserveError;
use onecopy_transport::host::HostEvent;
use onecopy_transport::wire::RequestError;
use std::time::Duration;

// r[verify kv.roles]
#[test]
fn a_reader_reserves_nothing() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut reader = Peer::attached(PEER, segment.path(), "reader");
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("store 1 5000");
    assert!(reader.error("reserve 100 1").contains("WrongRole"));
    assert!(reader.error("store 2 100").contains("WrongRole"));
    assert!(reader.error("delete 1").contains("WrongRole"));
    assert!(reader.ok("get 1").starts_with("5000 "));
    host.assert_clean();
}

// r[verify pool.classes]
#[test]
fn a_value_larger_than_the_largest_slot_is_refused_with_both_sizes() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let cache = host.cache(Role::Writer);
    let error = cache.store(&key(1), &payload(1, (256 << 10) + 1)).unwrap_err();
    let PublishError::Reserve(error) = error else { panic!("{error}") };
    assert_eq!(error, ReserveError::TooLarge { size_bytes: 262_145, slot_bytes_max: 262_144 });
    assert!(cache.store(&key(1), &payload(1, 256 << 10)).unwrap().is_first());
    assert!(cache.store(&key(2), &[]).unwrap().is_first());
    assert_eq!(cache.lookup(&key(2)).unwrap().unwrap().len(), 0);
    host.assert_clean();
}

// r[verify kv.first_writer]
#[test]
fn the_second_writer_of_a_key_learns_that_it_was_second() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut first = Peer::attached(PEER, segment.path(), "writer");
    let mut second = Peer::attached(PEER, segment.path(), "writer");
    let answer = first.ok("store 1 5000");
    assert!(answer.starts_with("first "));
    let again = second.ok("store 1 5000");
    assert_eq!(again, answer.replace("first", "there"));
    first.ok("detach");
    second.ok("detach");
    host.wait_stat("guests", 0);
    assert_eq!((host.stat("slots_granted"), host.stat("slots_published")), (0, 1));
    host.assert_clean();
}

// r[verify kv.wrong_class]
#[test]
fn a_pool_whose_room_sits_in_the_wrong_class_says_so() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| {
        options.pool_bytes = 2 << 20;
        options.pool_bytes_max = 2 << 20;
        options.slot_bytes_max = Some(64 << 10);
    });
    let cache = host.cache(Role::Writer);
    // The whole pool in slots of 4 KiB, every second one free, so that no extent is.
    let mut stored = 0_u64;
    // The last one may have to go before it is pinned.
    while cache.store(&key(stored), &payload(stored, 4096)).is_ok()
        && cache.pin(&key(stored)).is_ok()
    {
        stored += 1;
        assert!(stored < 1000);
    }
    assert!(stored > 100, "{stored}");
    for number in (0..stored).filter(|number| number % 2 == 0) {
        cache.unpin(&key(number)).unwrap();
        cache.delete(&key(number)).unwrap();
    }
    let error = cache.guest().reserve(64 << 10, soon()).unwrap_err();
    let text = error.to_string();
    let ReserveError::Refused(RequestError::NoRoom {
        slot_bytes,
        free_elsewhere_bytes,
        limbo_slots,
        growable_bytes,
    }) = error
    else {
        panic!("{error}")
    };
    assert_eq!((slot_bytes, limbo_slots, growable_bytes), (64 << 10, 0, 0));
    assert!(free_elsewhere_bytes >= (stored / 2 - 64) * 4096, "{free_elsewhere_bytes}");
    let said = format!("{free_elsewhere_bytes} bytes are free in other size classes");
    assert!(text.contains(&said), "{text}");
    for number in (0..stored).filter(|number| number % 2 == 1) {
        assert!(cache.lookup(&key(number)).unwrap().is_some(), "{number} is pinned");
    }
    host.assert_clean();
}

// r[verify memory.fork-guard]
#[test]
fn a_forked_child_is_no_guest_and_its_end_changes_nothing() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 2);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    for _ in 0..5 {
        assert_eq!(guest.ok("fork"), "Some(77)", "what the child exits with");
    }
    other.ok("delete 1");
    other.ok("store_many 10 100");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(guest.ok("check"), "1", "the child let go of nothing");
    assert_eq!(host.stat("slots_retired"), 1);
    let gone = host.events().iter().any(|event| matches!(event, HostEvent::Recovered { .. }));
    assert!(!gone);
    guest.ok("publish 2");
    assert_ne!(other.ok("get 2"), "miss");
    guest.ok("let_go");
    guest.ok("unreserve");
    guest.ok("detach");
    assert!(host.wait_recovered(guest.serial()).0);
    host.assert_clean();
}
