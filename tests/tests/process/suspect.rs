//! Guests whose heartbeat is late.

use crate::embedded::Embedded;
use crate::{PEER, busy_writer};
use onecopy::protocol::{Head, PublishEntry, kind as kv_kind};
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, key, soon};
use onecopy_transport::format::{RingsHeader, Role, SuspectReason};
use onecopy_transport::host::{HostEvent, HostOptions};
use onecopy_transport::inspect::inspect;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::wire::{Refill, kind};
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

fn wary(options: &mut HostOptions) {
    options.suspect_after_intervals = 25;
}

fn wait_suspected(host: &mut TestHost, wanted: u32) {
    host.wait_event("suspected", |event| match *event {
        HostEvent::Suspected { serial } if serial == wanted => Some(()),
        _ => None,
    });
}

fn wait_cleared(host: &mut TestHost, wanted: u32) {
    host.wait_event("cleared", |event| match *event {
        HostEvent::Cleared { serial } if serial == wanted => Some(()),
        _ => None,
    });
}

// r[verify peer.suspect]
#[test]
fn a_stopped_guest_is_suspected_keeps_what_it_holds_and_is_cleared() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, wary);
    let mut guest = busy_writer(&segment, 2);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    guest.stop();
    wait_suspected(&mut host, guest.serial());
    other.ok("delete 1");
    other.ok("store_many 10 50");
    assert_eq!((host.stat("recovered"), host.stat("slots_retired")), (0, 1));
    assert!(host.stat("slots_granted") >= 2);
    host.assert_clean();

    guest.go_on();
    wait_cleared(&mut host, guest.serial());
    assert_eq!(guest.ok("check"), "1");
    guest.ok("publish 2");
    guest.ok("ping");
    host.assert_clean();

    guest.stop();
    wait_suspected(&mut host, guest.serial());
    guest.kill();
    let (goodbye, slots) = host.wait_recovered(guest.serial());
    assert!(!goodbye && slots >= 1);
    assert_eq!(host.stat("slots_retired"), 0);
    assert_ne!(other.ok("get 2"), "miss", "what it published when it was back stays");
    host.assert_clean();
}

// r[verify peer.suspicion]
#[test]
fn the_peer_table_says_why_a_guest_is_suspect() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, wary);
    let guest = Peer::attached(PEER, segment.path(), "writer");
    let suspicion = || {
        let path = SegmentPath::new(segment.path()).unwrap();
        let service = CacheService::new(CacheServiceOptions::default());
        let [peer] = &inspect(&path, service).unwrap().peers[..] else { panic!() };
        peer.fields.suspicion.map(|suspicion| suspicion.reason)
    };
    assert_eq!(suspicion(), None);
    guest.stop();
    wait_suspected(&mut host, guest.serial());
    assert_eq!(suspicion(), Some(SuspectReason::HeartbeatLate));
    guest.go_on();
    wait_cleared(&mut host, guest.serial());
    assert_eq!(suspicion(), None);
    host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap();
    assert_eq!(suspicion(), Some(SuspectReason::CutOff));
}

/// Asks for eight slots, publishes half of them, and says whether the host sends more unasked.
fn is_topped_up(guest: &mut RawGuest, numbers: std::ops::Range<u64>, expected: bool) -> bool {
    let refill = Refill { size_bytes: 1000.into(), count: 8.into() };
    let granted = guest.ask(kind::REFILL, 0, refill.as_bytes());
    assert_eq!(granted.refusal(), None);
    let slots = granted.granted();
    assert!(slots.len() >= 8, "{} slots", slots.len());
    let mut publish =
        Head { count: (slots.len() as u32).into(), flags: 0.into() }.as_bytes().to_vec();
    for (slot, number) in slots.iter().zip(numbers) {
        let entry = PublishEntry {
            slot: slot.to_u64().into(),
            length_bytes: 0.into(),
            checksum: 0.into(),
            ttl_s: 0.into(),
            flags: 0.into(),
            key: key(number),
        };
        publish.extend_from_slice(entry.as_bytes());
    }
    guest.send(kv_kind::PUBLISH, 0, 2, &publish);
    let answer = guest.receive_until(soon()).unwrap();
    assert_eq!((answer.header.kind, answer.refusal()), (kv_kind::PUBLISH, None));
    // They come at the end of the turn that took the slots.
    let patience = Duration::from_millis(if expected { 60_000 } else { 500 });
    let unasked = guest.receive_until(Instant::now() + patience);
    if let Some(frame) = &unasked {
        assert_eq!((frame.header.kind, frame.header.request_id), (kind::GRANTS, 0));
        let words: Vec<u8> =
            frame.granted().iter().flat_map(|slot| slot.to_u64().to_le_bytes()).collect();
        guest.send(kind::GIVE_BACK, 0, 0, &words);
    }
    unasked.is_some()
}

// r[verify peer.suspect]
#[test]
fn a_suspect_gets_no_slots_ahead_of_need() {
    let segment = Segment::new();
    // The raw guest never beats.
    let mut host = TestHost::with(&segment, |options| options.suspect_after_intervals = 100);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    assert!(is_topped_up(&mut guest, 0..99, true), "a guest in good standing");
    wait_suspected(&mut host, guest.serial());
    assert!(!is_topped_up(&mut guest, 100..199, false), "a suspect");

    let beat = offset_of!(RingsHeader, guest_heartbeat) as u64;
    // Any change will do.
    guest.rings.word(beat).unwrap().store(u64::MAX, Ordering::Relaxed);
    wait_cleared(&mut host, guest.serial());
    assert!(is_topped_up(&mut guest, 200..299, true), "a guest that is back");
    host.assert_clean();
}

// r[verify peer.suspect]
#[test]
fn a_host_that_stood_still_suspects_nobody() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let mut host =
        Embedded::start(&segment, |options| options.suspect_after_intervals = 50, service);
    let mut guest = Peer::start(PEER, segment.path());
    host.ok(&mut guest, "attach writer");
    host.serve_for(Duration::from_millis(100));
    // The whole machine sleeps for longer than the guest may be silent.
    guest.stop();
    // Its last beat has been seen.
    host.serve_for(Duration::from_millis(100));
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..3 {
        host.once();
    }
    assert_eq!(host.stat("suspected"), 0);
    guest.go_on();
    host.serve_for(Duration::from_millis(300));
    assert_eq!(host.stat("suspected"), 0);
    // And to see that it would have been: now the host goes on without the guest.
    guest.stop();
    let events = std::mem::take(&mut host.events.try_iter().collect::<Vec<_>>());
    assert!(!events.iter().any(|event| matches!(event, HostEvent::Suspected { .. })));
    host.serve_for(Duration::from_millis(50 * 20 + 500));
    assert_eq!(host.stat("suspected"), 1);
}
