//! Guests that do to descriptors and words what the protocol does not know, one thing at a time.

use crate::PEER;
use crate::embedded::Embedded;
use crate::hostile::Steady;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_shm::ring_layout;
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, soon, wait_for};
use onecopy_transport::format::{RINGS_REQUEST_OFFSET, RingsHeader, Role, TABLE_ALIGNMENT_BYTES};
use onecopy_transport::host::HostEvent;
use onecopy_transport::wire::{flag, kind};
use rustix::fs::{FlockOperation, OFlags, fcntl_setfl, flock};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

// r[verify link.hostile]
#[test]
fn a_doorbell_that_blocks_who_touches_it_holds_nobody_up() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    // To write it waits until somebody has read it, and nobody may.
    rustix::io::write(&guest.doorbell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    fcntl_setfl(&guest.doorbell, OFlags::empty()).unwrap();
    guest.requests.try_grant(0).unwrap().commit(0, kind::PING, 0, 1).unwrap();
    assert_eq!(guest.answer().header.request_id, 1, "seen at a tick at the latest");
    // To read it waits until somebody has written it.
    let mut count = [0; 8];
    rustix::io::read(&guest.doorbell, &mut count).unwrap();
    guest.requests.try_grant(0).unwrap().commit(0, kind::PING, 0, 2).unwrap();
    assert_eq!(guest.answer().header.request_id, 2);
    host.wait_ticks(3);
    assert_eq!(host.stat("cut_off"), 0);
    steady.noticed_nothing();
    host.assert_clean();
}

// r[verify link.bounded_work]
#[test]
fn a_storm_of_doorbells_and_bytes_costs_no_more_than_looks() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let honest = host.guest(Role::Reader);
    let guest = RawGuest::attach(segment.path(), Role::Reader);
    let (doorbell, socket) = (&guest.doorbell, &guest.socket);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = rustix::io::write(doorbell, &1_u64.to_ne_bytes());
                let _ = socket.send_byte(7);
            }
        });
        let requests = host.stat("requests");
        for _ in 0..300 {
            honest.ping(soon()).unwrap();
        }
        host.wait_ticks(3);
        assert_eq!(host.stat("requests") - requests, 300, "nothing was asked by ringing");
        over.store(true, Ordering::Relaxed);
    });
    assert!(!guest.is_cut_off());
    host.assert_clean();
}

// r[verify host.take_over]
// r[verify segment.reopen]
#[test]
fn locks_of_a_guest_keep_no_later_host_out() {
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    writer.ok("store 1 5000");
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    guest.reserve(9000);
    let lock = |descriptor| flock(descriptor, FlockOperation::NonBlockingLockExclusive).is_ok();
    let locked = guest.descriptors.iter().map(|descriptor| {
        fcntl_setfl(descriptor, OFlags::APPEND).unwrap();
        lock(descriptor)
    });
    // The pool it has twice, and a lock once.
    assert_eq!(locked.collect::<Vec<bool>>(), [true, true, true, true, false]);
    first.kill();
    let host = TestHost::start(&segment);
    assert_eq!((host.stat("blocks"), host.stat("guests_earlier")), (1, 2));
    let mut again = RawGuest::attach_again(segment.path(), guest.serial());
    assert_eq!(again.welcome.lease_serial.get(), guest.serial());
    assert_eq!(again.hand_over(1, &[]), None);
    writer.ok("reattach");
    writer.ok("store 2 5000");
    assert!(writer.ok("get 1").starts_with("5000 "));
    host.assert_clean();
}

// r[verify peer.unmapped]
#[test]
fn who_takes_the_lock_off_its_lease_table_is_taken_for_gone_and_harms_itself() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    guest.reserve(9000);
    let leases = &guest.descriptors[3];
    flock(leases, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(host.handle().cut_off(guest.serial(), "by hand", soon()).unwrap());
    host.wait_ticks(20);
    assert!(host.stat("slots_quarantined") > 0, "a lock of its own shows that it is there");
    flock(leases, FlockOperation::Unlock).unwrap();
    host.wait_recovered(guest.serial());
    assert_eq!(host.stat("slots_quarantined"), 0);
    steady.noticed_nothing();
    host.assert_clean();
}

// r[verify link.hostile]
#[test]
fn what_the_host_has_written_it_does_not_read_back() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    assert_eq!(guest.ask(kind::PING, 0, b"first").bytes, b"first");
    let capacity = u64::from(guest.welcome.ring_capacity_bytes.get());
    let ring = ring_layout(capacity).unwrap();
    let answers = RINGS_REQUEST_OFFSET + ring.size_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
    for round in 0..50_u64 {
        // Its read position in the requests, and every word of the answers.
        let lie = [u64::MAX, 0, 8, 1 << 40][round as usize % 4];
        guest.rings.word(RINGS_REQUEST_OFFSET).unwrap().store(lie, Ordering::Relaxed);
        for offset in (ring.data_offset..ring.size_bytes).step_by(8) {
            guest.rings.word(answers + offset).unwrap().store(lie, Ordering::Relaxed);
        }
        // The consumer here waits for a header: none must stand there before the answer does.
        if lie != 0 {
            for offset in (ring.data_offset..ring.size_bytes).step_by(8) {
                guest.rings.word(answers + offset).unwrap().store(0, Ordering::Relaxed);
            }
        }
        let sent = [round as u8; 40];
        assert_eq!(guest.ask(kind::PING, 0, &sent).bytes, sent, "round {round}");
    }
    assert_eq!(host.stat("cut_off"), 0);
    host.assert_clean();
}

// r[verify link.hostile]
#[test]
fn descriptors_sent_over_an_attached_socket_are_not_taken_in() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    let mut guest = RawGuest::attach(segment.path(), Role::Reader);
    assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    let before = host.descriptors();
    let file = std::fs::File::open("/dev/null").unwrap();
    let many = [file.as_fd(); 8];
    let mut sent = 0;
    while sent < 100 && guest.socket.try_send(b"x", &many).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    for _ in 0..20 {
        other.ok("ping");
        assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    }
    assert_eq!(host.descriptors(), before);
    drop(guest);
    wait_for("the end of its attach", || host.descriptors() < before);
    other.ok("ping");
}

// r[verify link.hostile]
#[test]
fn requests_of_every_kind_and_every_short_length_are_answered_or_refused() {
    const KINDS: std::ops::RangeInclusive<u8> = 1..=48;
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let silent = [kind::GIVE_BACK, kind::GOODBYE, kind::SETTLE];
    for kind in KINDS.filter(|kind| !silent.contains(kind)) {
        for length in [0, 1, 7, 8, 9, 15, 16, 24, 31, 32, 40, 47, 48, 56, 64, 72, 80] {
            for (fill, flags) in
                [(0, 0), (0xff, 0), (0, flag::SLOT), (0xff, flag::SLOT), (0xff, 0xff)]
            {
                guest.send(kind, flags, 1, &vec![fill; length]);
            }
            // Every one of them is answered, whatever comes back.
            (0..5).for_each(|_| assert_eq!(guest.answer().header.kind, kind, "{length} bytes"));
        }
    }
    assert!(!guest.is_cut_off());
    assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    steady.noticed_nothing();
    host.assert_clean();
}

// r[verify peer.suspect]
#[test]
fn of_a_heartbeat_nothing_counts_but_that_it_changes() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let choose = |options: &mut onecopy_transport::host::HostOptions| {
        options.suspect_after_intervals = 5;
    };
    let mut host = Embedded::start(&segment, choose, service);
    let path = segment.path().to_owned();
    let guest = host.serve_while(|| RawGuest::attach(&path, Role::Reader));
    let events = std::mem::replace(&mut host.events, std::sync::mpsc::channel().1);
    let beat = |value: u64| {
        let word = guest.rings.word(offset_of!(RingsHeader, guest_heartbeat) as u64).unwrap();
        word.store(value, Ordering::Relaxed);
    };
    // From the largest there is to the smallest and back: neither is a time, and nothing is added.
    for value in [u64::MAX, 0, u64::MAX, 1, u64::MAX - 1] {
        beat(value);
        let mut suspected = false;
        host.serve_until("suspicion", || {
            suspected |=
                events.try_iter().any(|event| matches!(event, HostEvent::Suspected { .. }));
            suspected
        });
        beat(value ^ 1);
        let mut cleared = false;
        host.serve_until("the end of it", || {
            cleared |= events.try_iter().any(|event| matches!(event, HostEvent::Cleared { .. }));
            cleared
        });
    }
    host.serve_for(Duration::from_millis(1));
    host.assert_clean();
}
