use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn granted(slot: u32, class: ClassIndex) -> GrantedSlot {
    let slot_bytes = if class == 0 { 64 } else { 4096 };
    let offset = u64::from(slot) * 4096;
    GrantedSlot { slot: SlotRef { slot, generation: 1 }, offset, slot_bytes, class }
}

fn magazines() -> Magazines {
    Magazines::new(&[64, 4096], Bounds { slots_max: 10, bytes_max: 8192 })
}

// r[verify guest.magazine.bounded]
#[test]
fn what_is_over_the_bound_goes_back_down_to_half() {
    let mut magazines = magazines();
    for slot in 1..=10 {
        magazines.push(granted(slot, 0));
    }
    assert!(!magazines.has_surplus());
    magazines.push(granted(11, 0));
    assert!(magazines.has_surplus());
    let mut words = [0; GIVE_BACK_MAX];
    assert_eq!(magazines.take_surplus(&mut words), 6);
    assert!(!magazines.has_surplus());
    assert_eq!(words[0], SlotRef { slot: 11, generation: 1 }.to_u64());
    let left = std::iter::from_fn(|| magazines.pop(0)).count();
    assert_eq!(left, 5);
}

#[test]
fn bytes_bound_a_class_of_large_slots_but_one_is_always_kept() {
    let mut two = magazines();
    (1..=2).for_each(|slot| two.push(granted(slot, 1)));
    assert!(!two.has_surplus(), "8192 bytes are two slots");
    two.push(granted(3, 1));
    assert!(two.has_surplus());
    let mut one = Magazines::new(&[64, 4096], Bounds { slots_max: 10, bytes_max: 100 });
    one.push(granted(1, 1));
    assert!(!one.has_surplus());
}

#[test]
fn a_surplus_larger_than_a_frame_goes_back_in_several() {
    let mut magazines = magazines();
    (1..=100).for_each(|slot| magazines.push(granted(slot, 0)));
    let mut words = [0; 8];
    let mut counts = Vec::new();
    while magazines.has_surplus() {
        counts.push(magazines.take_surplus(&mut words));
    }
    assert_eq!(counts, [&[8; 11][..], &[7]].concat(), "down to 5 of 100");
    assert_eq!(magazines.stocks[0].slots.len(), 5);
}

#[test]
fn a_class_that_does_not_exist_has_no_stock() {
    let mut magazines = magazines();
    magazines.push(granted(1, 2));
    assert_eq!(magazines.pop(2), None);
    assert_eq!(magazines.refill_count(2, 3), 3);
}

proptest! {
    // r[verify guest.magazine.local]
    #[test]
    fn every_slot_is_in_one_place(steps in proptest::collection::vec((0..3_u8, 0..2_u16), 0..400)) {
        let mut magazines = magazines();
        let mut stocked = HashSet::new();
        let mut next = 0;
        for (step, class) in steps {
            match step {
                0 => {
                    next += 1;
                    magazines.push(granted(next, class));
                    stocked.insert(next);
                }
                1 => match magazines.pop(class) {
                    Some(slot) => {
                        prop_assert_eq!(slot, granted(slot.slot.slot, class));
                        prop_assert!(stocked.remove(&slot.slot.slot));
                    }
                    None => prop_assert!(magazines.stocks[usize::from(class)].slots.is_empty()),
                },
                _ => {
                    let mut words = [0; GIVE_BACK_MAX];
                    let count = magazines.take_surplus(&mut words);
                    for word in &words[..count] {
                        let slot = SlotRef::from_u64(*word).unwrap();
                        prop_assert!(stocked.remove(&slot.slot));
                    }
                }
            }
            let held: usize = magazines.stocks.iter().map(|stock| stock.slots.len()).sum();
            prop_assert_eq!(held, stocked.len());
        }
    }
}
