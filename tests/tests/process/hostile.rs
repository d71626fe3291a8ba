//! Guests that write nonsense: each loses its request or its link, and nobody else anything.

use crate::PEER;
use onecopy_shm::{FRAME_KIND_MAX, ring_layout};
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, wait_for};
use onecopy_transport::format::{RINGS_REQUEST_OFFSET, RingsHeader, Role, TABLE_ALIGNMENT_BYTES};
use onecopy_transport::wire::{Refill, RequestError, kind};
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// Another guest under load, and what it has to say at the end.
pub struct Steady(Peer);

impl Steady {
    pub fn start(segment: &Segment) -> Steady {
        let mut peer = Peer::attached(PEER, segment.path(), "writer");
        peer.ok("load 1 100");
        Steady(peer)
    }

    pub fn noticed_nothing(mut self) {
        let figures = self.0.ok("load_stop");
        let words: Vec<u64> = figures.split(' ').map(|word| word.parse().unwrap()).collect();
        assert!(words[1] > 0 && words[2] == 0, "{figures}");
    }
}

fn malformed(refusal: Option<RequestError>, length: u64) {
    let Some(RequestError::Malformed { length_bytes, .. }) = refusal else { panic!("{refusal:?}") };
    assert_eq!(length_bytes, length);
}

// r[verify link.hostile]
#[test]
fn nonsense_is_refused() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let mut other = RawGuest::attach(segment.path(), Role::Writer);
    let slot = other.reserve(5000);

    for unknown in [8, 15, kind::GRANTS, kind::LEAVING, 31] {
        let refusal = guest.ask(unknown, 0, &[0; 8]).refusal();
        assert_eq!(refusal, Some(RequestError::UnknownKind { kind: unknown.into() }));
    }
    for of_service in (32..=FRAME_KIND_MAX).filter(|kind| *kind != 39) {
        let refusal = guest.ask(of_service, 0xff, &[0xff; 16]).refusal();
        assert!(refusal.is_some(), "kind {of_service}");
        let refusal = guest.ask(of_service, 0, &[0xff; 100]).refusal();
        assert!(refusal.is_some(), "kind {of_service}");
    }
    malformed(guest.ask(kind::REFILL, 0, &[1; 15]).refusal(), 15);
    malformed(guest.ask(kind::REFILL, 0, &[]).refusal(), 0);
    let huge = Refill { size_bytes: u64::MAX.into(), count: u64::MAX.into() };
    let refusal = guest.ask(kind::REFILL, 0, huge.as_bytes()).refusal();
    assert!(matches!(refusal, Some(RequestError::TooLarge { .. })), "{refusal:?}");
    // A goodbye that names another attach is none.
    let another = u64::from(other.serial()).to_le_bytes();
    malformed(guest.ask(kind::GOODBYE, 0, &another).refusal(), 8);
    malformed(guest.ask(kind::GOODBYE, 0, &[]).refusal(), 0);
    // A text is asked for from its beginning on.
    malformed(guest.ask(kind::STATS, 0, &[]).refusal(), 0);
    malformed(guest.ask(kind::AUDIT, 0, &8_u64.to_le_bytes()).refusal(), 8);
    malformed(guest.ask(kind::STATS, 0, &u64::MAX.to_le_bytes()).refusal(), 8);
    assert!(guest.ask(kind::AUDIT, 0, &0_u64.to_le_bytes()).bytes.len() > 8);
    // To give back what is another's, or nobody's, gives nothing back.
    let refused = host.stat("requests_refused");
    let words = [slot.to_u64(), 0, u64::MAX, 1 << 32].map(u64::to_le_bytes).concat();
    guest.send(kind::GIVE_BACK, 0, 0, &[&words[..], &[1, 2, 3]].concat());
    assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    assert_eq!(host.stat("requests_refused") - refused, 5);
    // One's own goes back once.
    let own = guest.reserve(5000);
    let words = [own.to_u64(), own.to_u64()].map(u64::to_le_bytes).concat();
    guest.send(kind::GIVE_BACK, 0, 0, &words);
    assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    assert_eq!(host.stat("requests_refused") - refused, 6);

    other.send(kind::GIVE_BACK, 0, 0, &slot.to_u64().to_le_bytes());
    assert_eq!(other.ask(kind::PING, 0, &[]).refusal(), None);
    assert_eq!(host.stat("requests_refused") - refused, 6, "it was still the other's");
    // Words that say nothing are believed to say nothing.
    for field in [offset_of!(RingsHeader, guest_heartbeat), offset_of!(RingsHeader, guest_asleep)] {
        guest.rings.word(field as u64).unwrap().store(u64::MAX, Ordering::Relaxed);
        assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    }
    guest.rings.word(0).unwrap().store(77, Ordering::Relaxed);
    assert!(!guest.is_cut_off() && !other.is_cut_off());
    assert_eq!(host.stat("cut_off"), 0);
    steady.noticed_nothing();
    host.assert_clean();
}

// r[verify link.hostile]
// r[verify peer.cut_off]
#[test]
fn a_broken_ring_ends_that_link_and_no_other() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    // Garbage where a header belongs; frames longer than any may be; a wrap where none can be.
    let too_long = 1 << 24 | 0xff_ffff;
    let mut cut = 0;
    // A process that has none of the segment's files any more is as good as dead.
    let mut kept = Vec::new();
    for header in [u64::MAX, too_long, 1 << 24 | (16 << 10), 0xff << 24 | 40, 5] {
        let mut guest = RawGuest::attach(segment.path(), Role::Writer);
        guest.reserve(5000);
        let quarantined = host.stat("slots_quarantined");
        overwrite_next_header(&guest, header);
        guest.ring();
        wait_for("the cut", || guest.is_cut_off());
        cut += 1;
        assert_eq!(host.stat("cut_off"), cut);
        assert!(host.stat("slots_quarantined") > quarantined);
        kept.push(guest);
    }
    // A read position in the answers that cannot be: beyond what was written, and of no frame.
    for position in [u64::MAX, 1 << 40, 1 << 20] {
        let mut guest = RawGuest::attach(segment.path(), Role::Writer);
        assert_eq!(guest.ask(kind::PING, 0, b"fine").bytes, b"fine");
        let capacity = u64::from(guest.welcome.ring_capacity_bytes.get());
        let ring_bytes = ring_layout(capacity).unwrap().size_bytes;
        let answers = RINGS_REQUEST_OFFSET + ring_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        guest.rings.word(answers).unwrap().store(position, Ordering::Relaxed);
        let mut sent = 0;
        wait_for("the cut", || {
            // It is looked at when room runs out.
            if sent < 40 && guest.requests.has_room(4000).unwrap() {
                sent += 1;
                guest.send(kind::PING, 0, sent, &[0; 4000]);
            }
            guest.is_cut_off()
        });
        cut += 1;
        kept.push(guest);
    }
    assert_eq!(host.stat("cut_off"), cut);
    assert_eq!(host.stat("recovered"), 0, "their process lives");
    steady.noticed_nothing();
    host.assert_clean();
}

/// Stores a header word behind all that the guest has sent.
fn overwrite_next_header(guest: &RawGuest, header: u64) {
    let capacity = u64::from(guest.welcome.ring_capacity_bytes.get());
    let data = RINGS_REQUEST_OFFSET + ring_layout(capacity).unwrap().data_offset;
    let word = |index: u64| guest.rings.word(data + index * 8).unwrap();
    let mut index = 0;
    loop {
        let found = word(index).load(Ordering::Relaxed);
        if found == 0 {
            word(index).store(header, Ordering::Release);
            return;
        }
        // A header and a payload of whole words; its length stands in the header.
        index += 1 + (found & 0xff_ffff).div_ceil(8);
    }
}
