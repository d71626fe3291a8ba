use super::*;

fn note(number: u64) -> [u64; NOTE_WORDS] {
    std::array::from_fn(|word| number * 10 + word as u64)
}

// r[verify pool.grant]
// r[verify pool.retire]
#[test]
fn a_slot_goes_through_its_life() {
    let mut pool = pool(16);
    let slot = pool.grant(3, 1).unwrap();
    let view = pool.slot(slot).unwrap();
    assert_eq!((view.state, view.owner, view.class), (SlotState::Granted, 3, 1));
    assert_eq!((view.slot_bytes, view.length_bytes), (192, 0));
    assert_eq!(pool.granted_to(3), Holding { slots: 1, bytes: 192 });
    assert_eq!(pool.granted_of_class(3, 1), 1);
    assert_eq!(pool.granted_slots(3).collect::<Vec<_>>(), [slot]);
    assert_clean(&pool);

    pool.publish(3, slot, 100, &note(7), &[9; COLD_WORDS]).unwrap();
    assert_eq!(pool.published(slot.slot), Some(slot));
    assert_eq!(pool.note(slot.slot), note(7));
    assert_eq!(pool.cold(slot.slot), [9; COLD_WORDS]);
    let view = pool.slot(slot).unwrap();
    assert_eq!((view.state, view.owner, view.length_bytes), (SlotState::Published, 0, 100));
    assert_eq!(pool.granted_to(3), Holding::default());
    assert_clean(&pool);

    pool.retire(slot).unwrap();
    assert_eq!(pool.published(slot.slot), None);
    assert_eq!(pool.limbo_len(), 1);
    assert_eq!(reclaim(&mut pool, &[slot]), 0);
    assert_clean(&pool);
    assert_eq!(reclaim(&mut pool, &[]), 1);
    assert_eq!(pool.slot(slot), None);
    assert_clean(&pool);

    let again = pool.grant(4, 1).unwrap();
    assert_eq!(again, SlotRef { slot: slot.slot, generation: slot.generation + 1 });
}

// r[verify pool.recover]
#[test]
fn a_recovered_pool_has_what_was_in_use() {
    let control = control(16);
    let mut pool = VarSlotPool::create(control.clone());
    let [granted, published, retired, quarantined] =
        [1, 1, 1, 2].map(|owner| pool.grant(owner, 1).unwrap());
    publish(&mut pool, 1, published);
    publish(&mut pool, 1, retired);
    pool.retire(retired).unwrap();
    pool.quarantine(2);
    assert_clean(&pool);
    drop(pool);

    let (mut pool, mut found) = VarSlotPool::recover(control).unwrap();
    assert_clean(&pool);
    found.sort_by_key(|found| found.slot);
    let expected = [
        (granted, SlotState::Granted, 1),
        (published, SlotState::Published, 0),
        (retired, SlotState::Retired, 0),
        (quarantined, SlotState::Quarantined, 2),
    ];
    let expected = expected.map(|(slot, state, owner)| FoundSlot { slot, state, owner, class: 1 });
    assert_eq!(found, expected);
    assert_eq!(pool.unfinished(), Unfinished::default());
    assert_eq!(pool.slot(published).unwrap().length_bytes, 10);
    assert_eq!(pool.take_back(1), Holding { slots: 1, bytes: 192 });
    assert_eq!(pool.release_quarantined(2), Holding { slots: 1, bytes: 192 });
    assert_eq!(reclaim(&mut pool, &[]), 1);
    assert_clean(&pool);
}

// r[verify pool.reclaim]
#[test]
fn one_look_serves_the_whole_limbo_and_none_is_made_for_nothing() {
    let mut pool = pool(16);
    assert_eq!(pool.reclaim(&mut |_| panic!("nothing waits")), 0);
    let slots: Vec<SlotRef> = (0..6)
        .map(|_| {
            let slot = pool.grant(1, 0).unwrap();
            publish(&mut pool, 1, slot);
            pool.retire(slot).unwrap();
            slot
        })
        .collect();
    let mut looks = 0;
    let freed = pool.reclaim(&mut |visit| {
        looks += 1;
        visit(slots[1]);
        visit(slots[4]);
        visit(SlotRef { generation: 99, ..slots[5] });
    });
    assert_eq!((looks, freed, pool.limbo_len()), (1, 4, 2));
    assert_clean(&pool);
    // A lease of the look before counts no more.
    assert_eq!(reclaim(&mut pool, &[slots[4]]), 1);
    assert_eq!(pool.slot(slots[4]).unwrap().state, SlotState::Retired);
    assert_eq!(pool.slot(slots[1]), None);
    assert_clean(&pool);
}

// r[verify pool.reclaim]
#[test]
fn a_lease_of_a_slot_in_use_marks_nothing() {
    let mut pool = pool(16);
    let [granted, published] = [(); 2].map(|()| pool.grant(1, 0).unwrap());
    publish(&mut pool, 1, published);
    let retired = pool.grant(1, 0).unwrap();
    publish(&mut pool, 1, retired);
    pool.retire(retired).unwrap();
    assert_eq!(reclaim(&mut pool, &[granted, published]), 1);
    assert_clean(&pool);
    pool.retire(published).unwrap();
    assert_eq!(reclaim(&mut pool, &[]), 1);
    assert_clean(&pool);
}

// r[verify pool.take-back]
#[test]
fn taking_back_frees_what_the_owner_holds_and_nothing_else() {
    let mut pool = pool(16);
    for owner in [1, 2] {
        for class in [0, 1, 2, 0] {
            pool.grant(owner, class).unwrap();
        }
    }
    let published = pool.grant(1, 1).unwrap();
    publish(&mut pool, 1, published);
    let held = Holding { slots: 4, bytes: 64 + 192 + 1024 + 64 };
    assert_eq!(pool.take_back(1), held);
    assert_eq!(pool.take_back(1), Holding::default());
    assert_eq!(pool.granted_to(2), held);
    assert_eq!(pool.published(published.slot), Some(published));
    assert_clean(&pool);
}

// r[verify pool.take-back]
#[test]
fn an_owner_that_is_gone_is_forgotten() {
    let mut pool = pool(16);
    for owner in 1..1000 {
        let slot = pool.grant(owner, 0).unwrap();
        pool.grant(owner, 1).unwrap();
        publish(&mut pool, owner, slot);
        pool.retire(slot).unwrap();
        pool.quarantine(owner);
        assert_eq!(pool.take_back(owner), Holding::default());
        assert_eq!(pool.release_quarantined(owner).slots, 1);
        assert_eq!(reclaim(&mut pool, &[]), 1);
    }
    assert_eq!(pool.owners.rows.len(), 1);
    assert_clean(&pool);
}

// r[verify pool.quarantine]
#[test]
fn quarantined_slots_are_granted_to_nobody() {
    let mut pool = pool(3);
    let slot = pool.grant(1, 2).unwrap();
    assert_eq!(pool.quarantine(1), Holding { slots: 1, bytes: 1024 });
    assert_eq!(pool.quarantine(1), Holding::default());
    assert_eq!(pool.take_back(1), Holding::default());
    let expected = SlotState::Granted;
    let found = SlotState::Quarantined;
    let refused = SlotError::WrongState { slot: slot.slot, found, expected };
    assert_eq!(pool.give_back(1, slot), Err(refused));
    assert!(matches!(pool.grant(2, 2), Err(GrantError::NoRoom(_))));
    assert_eq!(pool.quarantined_of(1), Holding { slots: 1, bytes: 1024 });
    assert_clean(&pool);
    assert_eq!(pool.release_quarantined(1), Holding { slots: 1, bytes: 1024 });
    let again = pool.grant(2, 2).unwrap();
    assert_eq!(again, SlotRef { slot: slot.slot, generation: slot.generation + 1 });
    assert_clean(&pool);
}

#[test]
fn what_cannot_be_granted_is_said() {
    let mut pool = pool(16);
    let refused = GrantError::UnknownClass { class: 3, class_count: 3 };
    assert_eq!(pool.grant(1, 3), Err(refused));
    let (serial, serial_max) = (SERIAL_MAX + 1, SERIAL_MAX);
    assert_eq!(pool.grant(serial, 0), Err(GrantError::SerialTooLarge { serial, serial_max }));
    pool.grant(SERIAL_MAX, 0).unwrap();
    assert_clean(&pool);
}

// r[verify pool.rooms]
#[test]
fn room_goes_to_the_class_that_needs_it() {
    // Three units: three extents of 8 small slots each, or one large slot and a unit.
    let mut pool = pool(4);
    let small: Vec<SlotRef> = (0..24).map(|_| pool.grant(1, 0).unwrap()).collect();
    let no_room = match pool.grant(1, 2) {
        Err(GrantError::NoRoom(no_room)) => no_room,
        other => panic!("{other:?}"),
    };
    let nothing_free = NoRoom {
        class: 2,
        slot_bytes: 1024,
        free_bytes_elsewhere: 0,
        uncarved_bytes: 0,
        limbo_slots: 0,
        limbo_bytes: 0,
        slots_left: 96 - 24,
        growable_bytes: 12 * 512,
    };
    assert_eq!(no_room, nothing_free);
    // One slot left in the middle extent: two units are free, but apart.
    for slot in small.iter().filter(|slot| slot.slot != 12) {
        pool.give_back(1, *slot).unwrap();
    }
    let no_room = match pool.grant(1, 2) {
        Err(GrantError::NoRoom(no_room)) => no_room,
        other => panic!("{other:?}"),
    };
    let apart = NoRoom {
        free_bytes_elsewhere: 7 * 64,
        uncarved_bytes: 1024,
        slots_left: 96 - 8,
        ..nothing_free
    };
    assert_eq!(no_room, apart);
    assert!(no_room.to_string().contains("448 bytes are free in slots of other sizes"));
    assert_clean(&pool);
    pool.take_back(1);
    pool.grant(1, 2).unwrap();
    assert_clean(&pool);
}

// r[verify pool.grow]
#[test]
fn growth_gives_room_once_it_is_published() {
    let control = control(0);
    let mut pool = VarSlotPool::create(control.clone());
    assert!(pool.grant(1, 0).is_err());
    control.set_pool_bytes(512 + 100);
    pool.grow();
    assert!(pool.grant(1, 0).is_err(), "the first unit is the header's");
    assert_clean(&pool);
    control.set_pool_bytes(1024);
    assert!(pool.grant(1, 0).is_err());
    pool.grow();
    let slot = pool.grant(1, 0).unwrap();
    assert_eq!(pool.slot(slot).unwrap().offset, 512);
    control.set_pool_bytes(512);
    pool.grow();
    assert_eq!(pool.counts().pool_bytes, 1024);
}

// r[verify pool.believe-nothing]
#[test]
fn a_reference_of_an_earlier_use_opens_nothing() {
    let mut pool = pool(16);
    let old = pool.grant(1, 0).unwrap();
    pool.give_back(1, old).unwrap();
    let new = pool.grant(1, 0).unwrap();
    assert_eq!(old.slot, new.slot);
    let (slot, found, expected) = (old.slot, new.generation, old.generation);
    let refused = Err(SlotError::WrongGeneration { slot, found, expected });
    assert_eq!(pool.give_back(1, old), refused);
    assert_eq!(pool.publish(1, old, 1, &[0; NOTE_WORDS], &[0; COLD_WORDS]), refused);
    publish(&mut pool, 1, new);
    assert_eq!(pool.retire(old), refused);
    for slot in [0, 96, u32::MAX] {
        let named = SlotRef { slot, generation: 1 };
        assert_eq!(pool.retire(named), Err(SlotError::OutOfRange { slot, slots: 8 }));
        assert_eq!(pool.slot(named), None);
        assert_eq!(pool.published(slot), None);
    }
    assert_clean(&pool);
}

// r[verify pool.rooms]
#[test]
fn empty_extents_are_given_back_before_a_shorter_one_is_made() {
    let control = control(8);
    let mut pool = VarSlotPool::create(control.clone());
    let small: Vec<SlotRef> = (0..40).map(|_| pool.grant(1, 0).unwrap()).collect();
    // Units 4 and 5 are empty, 6 and 7 were never used: a whole extent of three units fits.
    for slot in &small[24..] {
        pool.give_back(1, *slot).unwrap();
    }
    assert_eq!(pool.counts().extents_empty, 2);
    let slot = pool.grant(1, 1).unwrap();
    let unit = pool.slot(slot).unwrap().offset / 512;
    assert_eq!((control.extent(unit).unit_count, control.extent(unit).slot_count), (3, 8));
    // One unit is left of them: room for two slots, where eight would be had.
    for _ in 0..8 {
        pool.grant(1, 1).unwrap();
    }
    let slot = pool.grant(1, 1).unwrap();
    let unit = pool.slot(slot).unwrap().offset / 512;
    assert_eq!((control.extent(unit).unit_count, control.extent(unit).slot_count), (1, 2));
    assert!(matches!(pool.grant(1, 1), Err(GrantError::NoRoom(_))));
    assert_clean(&pool);
}

// r[verify pool.write-off]
#[test]
fn what_is_written_off_is_nobodys_in_this_life_and_the_next() {
    let control = control(16);
    let mut pool = VarSlotPool::create(control.clone());
    pool.grant(2, 1).unwrap();
    pool.quarantine(2);
    pool.grant(2, 0).unwrap();
    pool.grant(1, 0).unwrap();
    let expected = Holding { slots: 2, bytes: 64 + 192 };
    assert_eq!(pool.write_off(2), expected);
    assert_eq!(pool.write_off(2), Holding::default());
    assert_eq!(pool.owners(), [1]);
    for _ in 0..2 {
        let counts = pool.counts();
        assert_eq!((counts.written_off, counts.quarantined), (expected, Holding::default()));
        assert_eq!(pool.release_quarantined(2), Holding::default());
        assert_eq!(pool.release_quarantined(0), Holding::default());
        assert_eq!(pool.take_back(0), Holding::default());
        assert_eq!(pool.written_off(), expected);
        assert_clean(&pool);
        pool = VarSlotPool::recover(control.clone()).unwrap().0;
    }
    assert_eq!(pool.owners(), [1]);
}

// r[verify pool.write-off-leased]
#[test]
fn what_a_lease_names_is_written_off_where_it_was_retired() {
    let mut pool = pool(16);
    let [leased, published, retired] = [(); 3].map(|()| {
        let slot = pool.grant(1, 0).unwrap();
        publish(&mut pool, 1, slot);
        slot
    });
    let leases = [published, leased, leased, SlotRef { slot: 4, generation: 9 }];
    let mut scan = |visit: &mut LeaseVisitor<'_>| leases.iter().for_each(|&named| visit(named));
    assert_eq!(pool.published_leased(&mut scan), [leased, published]);
    pool.retire(leased).unwrap();
    pool.retire(retired).unwrap();
    assert_eq!(pool.published_leased(&mut scan), [published]);
    assert_eq!(pool.write_off_leased(&mut scan), Holding { slots: 1, bytes: 64 });
    assert_eq!(pool.write_off_leased(&mut scan), Holding::default());
    assert_eq!(reclaim(&mut pool, &[]), 1, "the other retired slot is free");
    assert_eq!(pool.written_off(), Holding { slots: 1, bytes: 64 });
    assert!(pool.published(published.slot).is_some());
    assert_clean(&pool);
}
