use super::*;

fn slot(slot: u32, generation: u32) -> SlotRef {
    SlotRef { slot, generation }
}

// r[verify guest.reattach.kept]
#[test]
fn a_slot_is_kept_in_one_generation_from_when_it_came_until_it_is_let_go() {
    let kept = KeptSlots::new(10_000);
    for one in [slot(1, 7), slot(4095, 1), slot(4096, u32::MAX), slot(10_000, 2)] {
        assert!(!kept.holds(one));
        kept.add(one);
        assert!(kept.holds(one) && !kept.holds(slot(one.slot, 3)));
    }
    assert_eq!((kept.count(), kept.all().len()), (4, 4));
    assert!(kept.remove(slot(4096, u32::MAX)) && !kept.holds(slot(4096, u32::MAX)));
    // The host has given it to somebody else since.
    assert!(kept.forget(slot(1, 7)));
    kept.add(slot(1, 8));
    assert!(!kept.remove(slot(1, 7)), "what was lost is not let go again");
    assert!(kept.holds(slot(1, 8)));
    assert_eq!(kept.all(), [slot(1, 8), slot(4095, 1), slot(10_000, 2)]);
    assert_eq!(kept.count(), 3);
}
