//! Uses that guests note for the host: of those that die, and of those that lie.

use crate::PEER;
use crate::embedded::Embedded;
use crate::hostile::Steady;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost};
use onecopy_transport::format::{RingsHeader, Role, TOUCH_SHARDS};
use onecopy_transport::layout::RingsLayout;
use onecopy_transport::wire::kind;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

// r[verify touch.before_request]
#[test]
fn what_a_dead_guest_had_noted_counts() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let mut host = Embedded::start(&segment, |_| {}, service);
    let mut victim = Peer::start(PEER, segment.path());
    host.ok(&mut victim, "attach writer");
    host.ok(&mut victim, "store 7 5000");
    assert_eq!(host.stat("direct_hits"), 0);
    // Nobody serves from here on.
    for _ in 0..3 {
        assert_eq!(victim.ok("find 7"), "5000");
    }
    victim.kill();

    host.serve_until("recovery", || segment.files("rings").is_empty());
    assert_eq!((host.stat("direct_hits"), host.stat("touches_lost")), (3, 0));
    host.assert_clean();
}

// r[verify touch.hostile]
#[test]
fn lies_in_a_touch_log_cost_nobody_anything() {
    let segment = Segment::new();
    let host = TestHost::start(&segment);
    let steady = Steady::start(&segment);
    let mut guest = RawGuest::attach(segment.path(), Role::Reader);
    let rings = guest.rings.clone();
    let word = |offset: u64| rings.word(offset).unwrap();
    let entries = word(offset_of!(RingsHeader, touch_entries) as u64).load(Ordering::Relaxed);
    let entries = u32::try_from(entries).unwrap();
    let layout = RingsLayout::new(guest.welcome.ring_capacity_bytes.get(), entries).unwrap();
    word(offset_of!(RingsHeader, touch_shards) as u64).store(u64::MAX, Ordering::Relaxed);
    let shard_words = 8 + u64::from(entries);
    // Slots that there are, of generations that there may be, and slots that there are not.
    for shard in 0..TOUCH_SHARDS as u64 {
        for entry in 0..u64::from(entries) {
            let slot = if entry % 2 == 0 { entry } else { u64::MAX >> (entry % 40) };
            let place = layout.touches + 8 * (shard * shard_words + 8 + entry);
            word(place).store((slot << 32) | (entry % 3), Ordering::Relaxed);
        }
    }
    let all = u64::from(entries) * TOUCH_SHARDS as u64;
    for position in [u64::MAX, 1 << 40, 3, 4_000_000_000, 2, 5 << 20, 0] {
        for shard in 0..TOUCH_SHARDS as u64 {
            word(layout.touches + 8 * shard * shard_words).store(position, Ordering::Release);
        }
        let before = host.stat("touches");
        assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
        assert!(host.stat("touches") - before <= all, "{position}");
    }
    assert!(!guest.is_cut_off());
    assert!(host.stat("touches_lost") > 0);
    steady.noticed_nothing();
    host.assert_clean();
}
