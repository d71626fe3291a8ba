//! Rule by rule.

use super::rig::{Rig, entry, frame, key};
use crate::note::{Cold, NOTE_CHECKSUM, Note};
use crate::policy::PolicyKind;
use crate::protocol::{KeyOutcome, LOOKUP_PREFIX, PublishOutcome, kind};
use crate::service::{CacheServiceOptions, Capacity};
use onecopy_shm::{SlotRef, SlotState};
use onecopy_transport::service::Payload;
use onecopy_transport::wire::RequestError;

fn rig(capacity: Capacity) -> Rig {
    Rig::new(CacheServiceOptions { capacity, ..CacheServiceOptions::default() })
}

fn unbounded() -> Rig {
    rig(Capacity::Unbounded)
}

const DONE: KeyOutcome = KeyOutcome::Done { pins: 0 };

// r[verify kv.publish]
// r[verify kv.lookup]
#[test]
fn what_was_published_is_found_where_it_stands() {
    let mut rig = unbounded();
    let slot = rig.grant(1, 100);
    assert_eq!(rig.lookup(&[key(1)]), [None]);
    assert_eq!(rig.publish_entries(1, &[entry(slot, &key(1), 100)]), [PublishOutcome::Published]);
    assert_eq!(rig.lookup(&[key(1), key(2), key(1)]), [Some(slot), None, Some(slot)]);
    let view = rig.pool.slot(slot).unwrap();
    assert_eq!((view.state, view.length_bytes), (SlotState::Published, 100));
    let stats = rig.stats();
    assert_eq!((stats.hits, stats.misses, stats.publishes, stats.blocks), (2, 2, 1, 1));
    assert_eq!((stats.bytes, stats.slot_bytes), (100, 128));
    rig.assert_clean();
}

#[test]
fn a_block_may_be_empty_or_fill_the_largest_slot() {
    let mut rig = unbounded();
    for (number, length_bytes) in [(1, 0), (2, 65536)] {
        assert_eq!(rig.publish(1, &key(number), length_bytes), PublishOutcome::Published);
        let slot = rig.lookup(&[key(number)])[0].unwrap();
        assert_eq!(rig.pool.slot(slot).unwrap().length_bytes, length_bytes);
    }
    rig.assert_clean();
}

// r[verify kv.publish]
#[test]
fn the_first_writer_wins_and_the_second_slot_is_free() {
    let mut rig = unbounded();
    let (first, second) = (rig.grant(1, 64), rig.grant(2, 64));
    rig.publish_entries(1, &[entry(first, &key(1), 64)]);
    let outcome = rig.publish_entries(2, &[entry(second, &key(1), 64)]);
    assert_eq!(outcome, [PublishOutcome::AlreadyThere { slot: first.to_u64() }]);
    assert_eq!(rig.lookup(&[key(1)]), [Some(first)]);
    assert_eq!(rig.pool.granted_to(2).slots, 0);
    assert_eq!(rig.stats().duplicates, 1);
    rig.assert_clean();
}

// r[verify kv.publish]
#[test]
fn of_two_blocks_with_one_key_in_a_batch_the_first_is_published() {
    let mut rig = unbounded();
    let slots = [rig.grant(1, 64), rig.grant(1, 64), rig.grant(1, 64)];
    let entries =
        [entry(slots[0], &key(7), 1), entry(slots[1], &key(7), 2), entry(slots[2], &key(8), 3)];
    let outcomes = rig.publish_entries(1, &entries);
    let there = PublishOutcome::AlreadyThere { slot: slots[0].to_u64() };
    assert_eq!(outcomes, [PublishOutcome::Published, there, PublishOutcome::Published]);
    assert_eq!(rig.lookup(&[key(7), key(8)]), [Some(slots[0]), Some(slots[2])]);
    rig.assert_clean();
}

// r[verify kv.publish_touch]
#[test]
fn a_second_store_of_a_block_is_a_use_of_it() {
    let mut rig = rig(Capacity::Blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(3), 64);
    assert!(rig.exists(&key(1)) && !rig.exists(&key(2)) && rig.exists(&key(3)));
}

// r[verify kv.publish_consumes]
#[test]
fn a_refused_block_gives_its_slot_back_and_a_foreign_slot_is_left_alone() {
    let mut rig = rig(Capacity::Bytes(256));
    let foreign = rig.grant(2, 64);
    let long = rig.grant(1, 64);
    let large = rig.grant(1, 4096);
    let stale = SlotRef { slot: long.slot, generation: long.generation + 9 };
    let entries = [
        entry(foreign, &key(1), 64),
        entry(long, &key(2), 65),
        entry(large, &key(3), 1),
        entry(stale, &key(4), 1),
        entry(long, &key(5), 1),
    ];
    let outcomes = rig.publish_entries(1, &entries);
    let expected = [
        PublishOutcome::BadSlot { slot: foreign.to_u64() },
        PublishOutcome::TooLong { length_bytes: 65, slot_bytes: 64 },
        PublishOutcome::LargerThanCapacity { slot_bytes: 4096, capacity_bytes: 256 },
        PublishOutcome::BadSlot { slot: stale.to_u64() },
        PublishOutcome::BadSlot { slot: long.to_u64() },
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(rig.pool.granted_to(1).slots, 0);
    assert_eq!(rig.pool.granted_to(2).slots, 1);
    assert_eq!(rig.stats().refusals, 5);
    rig.assert_clean();
}

// r[verify kv.all_or_answers]
#[test]
fn a_request_that_is_refused_as_a_whole_consumes_nothing() {
    let mut rig = unbounded();
    let slot = rig.grant(1, 64);
    let mut bad = entry(slot, &key(2), 1);
    bad.flags = 1.into();
    let good = entry(slot, &key(1), 1);
    let payload = frame(0, &[good, bad]);
    let error = rig.request(1, kind::PUBLISH, &payload).unwrap_err();
    let offset = 8 + 64 + 28;
    let length_bytes = payload.len() as u64;
    assert_eq!(error, RequestError::Malformed { kind: kind::PUBLISH.into(), length_bytes, offset });
    assert_eq!(rig.pool.granted_to(1).slots, 1);
    assert!(!rig.exists(&key(1)));
}

// r[verify kv.roles]
#[test]
fn a_reader_finds_and_pins_and_neither_publishes_nor_deletes() {
    let mut rig = unbounded();
    rig.publish(1, &key(1), 64);
    let slot = rig.grant(2, 64);
    let publish = frame(0, &[entry(slot, &key(2), 1)]);
    let keys = frame(0, &[key(1)]);
    let mut ask = |kind, payload| rig.request_as(2, false, kind, Payload::Inline(payload));
    assert_eq!(ask(kind::PUBLISH, &publish), Err(RequestError::WrongRole));
    assert_eq!(ask(kind::DELETE, &keys), Err(RequestError::WrongRole));
    for kind in [kind::LOOKUP, kind::EXISTS, kind::PIN, kind::UNPIN] {
        assert!(ask(kind, &keys).is_ok());
    }
    assert_eq!(rig.pool.granted_to(2).slots, 1);
}

// r[verify kv.lookup_prefix]
#[test]
fn a_prefix_lookup_stops_at_the_first_miss() {
    let mut rig = unbounded();
    for number in [1, 2, 4] {
        rig.publish(1, &key(number), 64);
    }
    let keys = [key(1), key(2), key(3), key(4)];
    let found = rig.lookup_with(LOOKUP_PREFIX, &keys);
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false]);
    let stats = rig.stats();
    assert_eq!((stats.hits, stats.misses), (2, 1));
}

// r[verify kv.exists]
#[test]
fn to_be_asked_about_is_no_use() {
    let mut rig = rig(Capacity::Blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    assert!(rig.exists(&key(1)));
    let stats = rig.stats();
    assert_eq!((stats.hits, stats.misses), (0, 0));
    rig.publish(1, &key(3), 64);
    assert!(!rig.exists(&key(1)), "the oldest goes, asked about or not");
}

// r[verify kv.delete]
#[test]
fn a_deleted_block_is_gone_at_once_and_its_slot_waits_for_leases() {
    let mut rig = unbounded();
    rig.publish(1, &key(1), 64);
    let slot = rig.lookup(&[key(1)])[0].unwrap();
    assert_eq!(rig.delete(&key(1)), DONE);
    assert_eq!(rig.lookup(&[key(1)]), [None]);
    assert_eq!(rig.delete(&key(1)), KeyOutcome::NotFound);
    assert_eq!(rig.pool.slot(slot).unwrap().state, SlotState::Retired);
    assert_eq!(rig.pool.reclaim(&mut |leased| leased(slot)), 0);
    assert_eq!(rig.reclaim(), 1);
    assert_eq!(rig.publish(1, &key(1), 64), PublishOutcome::Published);
    rig.assert_clean();
}

// r[verify kv.delete_busy]
// r[verify kv.pin]
// r[verify kv.unpin]
#[test]
fn a_pinned_block_is_neither_deleted_nor_evicted() {
    let mut rig = rig(Capacity::Blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    assert_eq!(rig.pin(1, &key(1)), KeyOutcome::Done { pins: 1 });
    assert_eq!(rig.pin(1, &key(1)), KeyOutcome::Done { pins: 2 });
    assert_eq!(rig.pin(2, &key(1)), KeyOutcome::Done { pins: 1 });
    assert_eq!(rig.delete(&key(1)), KeyOutcome::Busy { pins: 3 });
    rig.publish(1, &key(3), 64);
    assert!(rig.exists(&key(1)) && !rig.exists(&key(2)));
    assert_eq!(rig.unpin(3, &key(1)), KeyOutcome::NotPinned);
    assert_eq!(rig.unpin(1, &key(1)), KeyOutcome::Done { pins: 1 });
    assert_eq!(rig.unpin(1, &key(1)), DONE);
    assert_eq!(rig.unpin(1, &key(1)), KeyOutcome::NotPinned);
    assert_eq!(rig.delete(&key(1)), KeyOutcome::Busy { pins: 1 });
    assert_eq!(rig.unpin(2, &key(1)), DONE);
    assert_eq!(rig.delete(&key(1)), DONE);
    assert_eq!(rig.pin(1, &key(9)), KeyOutcome::NotFound);
    assert_eq!(rig.unpin(1, &key(9)), KeyOutcome::NotFound);
    rig.assert_clean();
}

// r[verify kv.pin_dies]
#[test]
fn pins_die_with_their_peer() {
    let mut rig = unbounded();
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    rig.pin(1, &key(1));
    rig.pin(2, &key(1));
    rig.pin(2, &key(2));
    rig.gone(2);
    assert_eq!(rig.delete(&key(1)), KeyOutcome::Busy { pins: 1 });
    assert_eq!(rig.delete(&key(2)), DONE);
    rig.gone(2);
    assert_eq!((rig.stats().pins, rig.stats().pinned_blocks), (1, 1));
    rig.assert_clean();
}

// r[verify kv.pin_quota]
#[test]
fn a_peer_pins_a_bounded_number_of_blocks() {
    let mut rig = Rig::new(CacheServiceOptions { pins_per_peer_max: 2, ..Default::default() });
    for number in 1..=3 {
        rig.publish(1, &key(number), 64);
    }
    rig.pin(1, &key(1));
    rig.pin(1, &key(2));
    assert_eq!(rig.pin(1, &key(3)), KeyOutcome::PinQuota { pins_max: 2 });
    assert_eq!(rig.pin(1, &key(2)), KeyOutcome::Done { pins: 2 });
    assert_eq!(rig.pin(2, &key(3)), KeyOutcome::Done { pins: 1 });
    rig.assert_clean();
}

// r[verify kv.capacity]
#[test]
fn a_capacity_in_blocks_evicts_the_oldest_before_the_new_goes_in() {
    let mut rig = rig(Capacity::Blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    rig.lookup(&[key(1)]);
    let granted: Vec<SlotRef> = (0..5).map(|_| rig.grant(1, 64)).collect();
    assert_eq!(rig.stats().blocks, 2, "granted slots do not count");
    rig.publish_entries(1, &[entry(granted[0], &key(3), 1)]);
    assert!(rig.exists(&key(1)) && !rig.exists(&key(2)) && rig.exists(&key(3)));
    assert_eq!((rig.stats().evictions, rig.stats().blocks), (1, 2));
    rig.assert_clean();
}

// r[verify kv.used]
#[test]
fn uses_that_guests_tell_of_count_in_the_order_of_eviction() {
    let mut rig = rig(Capacity::Blocks(2));
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    let slot = rig.lookup(&[key(1), key(2)])[0].unwrap();
    rig.used(slot);
    assert_eq!((rig.stats().hits, rig.stats().direct_hits), (2, 1));
    rig.publish(1, &key(3), 64);
    assert!(rig.exists(&key(1)) && !rig.exists(&key(2)));

    // What is not published in this generation is of no age, and no slot at all is nothing.
    let slot = rig.lookup(&[key(3), key(1)])[0].unwrap();
    for generation in [0, slot.generation + 1, u32::MAX] {
        rig.used(SlotRef { generation, ..slot });
    }
    for number in [4000, 4097, u32::MAX] {
        rig.used(SlotRef { slot: number, generation: 1 });
    }
    let granted = rig.grant(1, 64);
    rig.used(granted);
    assert_eq!(rig.stats().direct_hits, 1);
    rig.publish(1, &key(4), 64);
    assert!(rig.exists(&key(1)) && !rig.exists(&key(3)));
    rig.assert_clean();
}

// r[verify kv.capacity]
#[test]
fn a_capacity_in_bytes_counts_slots() {
    let mut rig = rig(Capacity::Bytes(256));
    for number in 1..=4 {
        rig.publish(1, &key(number), 0);
    }
    assert_eq!(rig.stats().evictions, 0);
    rig.publish(1, &key(5), 129);
    let stats = rig.stats();
    assert_eq!((stats.blocks, stats.slot_bytes, stats.evictions), (1, 256, 4));
    rig.assert_clean();
}

// r[verify kv.capacity_too_large]
#[test]
fn what_can_never_fit_evicts_nothing() {
    let mut rig = rig(Capacity::Bytes(256));
    for number in 1..=4 {
        rig.publish(1, &key(number), 64);
    }
    let large = PublishOutcome::LargerThanCapacity { slot_bytes: 4096, capacity_bytes: 256 };
    assert_eq!(rig.publish(1, &key(9), 257), large);
    for number in 2..=4 {
        rig.pin(1, &key(number));
    }
    let pinned = PublishOutcome::AllPinned { pinned_blocks: 3, pinned_bytes: 192 };
    assert_eq!(rig.publish(1, &key(9), 128), pinned);
    assert_eq!((rig.stats().blocks, rig.stats().evictions), (4, 0));
    assert_eq!(rig.publish(1, &key(9), 64), PublishOutcome::Published);
    rig.assert_clean();
    let mut none = super::rules::rig(Capacity::Blocks(0));
    let large = PublishOutcome::LargerThanCapacity { slot_bytes: 64, capacity_bytes: 0 };
    assert_eq!(none.publish(1, &key(1), 1), large);
}

// r[verify kv.policy]
#[test]
fn another_policy_orders_differently() {
    let capacity = Capacity::Blocks(2);
    let policy = PolicyKind::Fifo;
    let mut rig = Rig::new(CacheServiceOptions { capacity, policy, ..Default::default() });
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    rig.lookup(&[key(1)]);
    rig.publish(1, &key(3), 64);
    assert!(!rig.exists(&key(1)) && rig.exists(&key(2)));
}

// r[verify kv.make_room]
#[test]
fn room_is_made_in_the_class_that_is_short() {
    let mut rig = unbounded();
    for number in 0..20 {
        rig.publish(1, &key(number), 64);
    }
    rig.publish(1, &key(100), 128);
    rig.pin(1, &key(0));
    let (small, large) = (rig.class_for(64), rig.class_for(128));
    assert_eq!(rig.make_room(small), 8);
    assert!(rig.exists(&key(0)) && !rig.exists(&key(8)) && rig.exists(&key(9)));
    assert!(rig.exists(&key(100)));
    assert_eq!(rig.make_room(large), 1);
    assert_eq!(rig.make_room(large), 0);
    assert_eq!((rig.stats().evictions, rig.stats().evictions_for_room), (9, 9));
    rig.assert_clean();
}

// r[verify kv.index_full]
#[test]
fn a_full_part_of_the_index_evicts_there() {
    // With 8 slots the index has its fewest buckets, 8: all of them are every key's part.
    let mut rig = Rig::with_slots(CacheServiceOptions::default(), 8);
    let core = rig.service.core.as_mut().unwrap();
    let hash = core.index.hash(&key(500));
    // Entries that no slot is behind, as many as leave room for two.
    for slot in 1000..1062 {
        core.index.insert(hash, slot).unwrap();
    }
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    assert_eq!(rig.publish(1, &key(3), 64), PublishOutcome::Published);
    assert!(!rig.exists(&key(1)) && rig.exists(&key(2)) && rig.exists(&key(3)));
    assert_eq!((rig.stats().evictions, rig.stats().evictions_for_index), (1, 1));
    rig.pin(1, &key(2));
    rig.pin(1, &key(3));
    assert_eq!(rig.publish(1, &key(4), 64), PublishOutcome::IndexFull { neighbours: 64 });
    rig.reclaim();
    assert_eq!(rig.pool.granted_to(1).slots, 0);
    assert_eq!(rig.pool.counts().published.slots, 2);
}

// r[verify kv.ttl]
// r[verify kv.ttl_length]
#[test]
fn a_block_whose_time_is_over_is_a_miss_and_is_retired() {
    let mut rig = unbounded();
    for (number, ttl_s) in [(1, 10), (2, 0), (3, u32::MAX)] {
        let slot = rig.grant(1, 64);
        let mut block = entry(slot, &key(number), 1);
        block.ttl_s = ttl_s.into();
        rig.publish_entries(1, &[block]);
    }
    rig.pin(1, &key(1));
    rig.clock_s += 10;
    assert!(rig.exists(&key(1)), "ten whole seconds may not be over yet");
    rig.clock_s += 1;
    assert!(!rig.exists(&key(1)) && rig.exists(&key(2)) && rig.exists(&key(3)));
    let stats = rig.stats();
    assert_eq!((stats.expired, stats.blocks, stats.pins), (1, 2, 0));
    assert_eq!(rig.unpin(1, &key(1)), KeyOutcome::NotFound);
    assert_eq!(rig.publish(1, &key(1), 64), PublishOutcome::Published);
    rig.assert_clean();
}

// r[verify kv.report]
#[test]
fn a_report_retires_the_block_that_it_names_and_no_other() {
    let mut rig = unbounded();
    rig.publish(1, &key(1), 64);
    rig.publish(1, &key(2), 64);
    let slot = rig.lookup(&[key(1)])[0].unwrap();
    let stale = SlotRef { slot: slot.slot, generation: slot.generation - 1 };
    for (reported, name) in [(slot, key(2)), (stale, key(1)), (SlotRef { slot: 0, ..slot }, key(1))]
    {
        assert_eq!(rig.report(reported, &name), KeyOutcome::NotFound);
    }
    assert_eq!(rig.stats().blocks, 2);
    rig.pin(2, &key(1));
    assert_eq!(rig.report(slot, &key(1)), DONE);
    assert!(!rig.exists(&key(1)) && rig.exists(&key(2)));
    assert_eq!(rig.report(slot, &key(1)), KeyOutcome::NotFound);
    let stats = rig.stats();
    assert_eq!((stats.corrupt, stats.reports_stale, stats.pins), (1, 4, 0));
    rig.assert_clean();
}

// r[verify kv.note]
#[test]
fn note_and_cold_line_say_what_was_published() {
    let mut rig = unbounded();
    let slot = rig.grant(1, 64);
    let mut block = entry(slot, &key(1), 5);
    block.checksum = 77.into();
    block.ttl_s = 9.into();
    rig.publish_entries(1, &[block]);
    let note = Note::from_words(rig.pool.note(slot.slot));
    assert_eq!(note, Note { key: key(1), expiry_s: 110, flags: NOTE_CHECKSUM });
    let cold = Cold::from_words(rig.pool.cold(slot.slot));
    assert_eq!((cold.checksum, cold.published_s), (77, 100));
}

// r[verify kv.stats]
#[test]
fn the_hosts_stats_have_every_figure_by_name() {
    use onecopy_transport::service::Service;
    let mut rig = rig(Capacity::Bytes(1 << 20));
    rig.publish(1, &key(1), 64);
    rig.lookup(&[key(1)]);
    let named = rig.service.stats(&rig.pool);
    let value = |name| named.iter().find(|(found, _)| *found == name).unwrap().1;
    assert_eq!((value("hits"), value("blocks"), value("capacity_bytes")), (1, 1, 1 << 20));
    assert_eq!(rig.stats().words().to_vec(), named.iter().map(|(_, v)| *v).collect::<Vec<_>>());
}
