use super::*;

fn note(number: u64) -> [u64; NOTE_WORDS] {
    std::array::from_fn(|word| number * 10 + word as u64)
}

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
