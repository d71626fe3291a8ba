use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

proptest! {
    #[test]
    fn rows_are_found_by_serial(
        // Few low bits, so that serials compete for cells.
        steps in proptest::collection::vec((any::<bool>(), 0..8_u32, 0..6_u32), 1..200)
    ) {
        let mut map = SerialMap::new();
        let mut model = HashMap::new();
        for (number, (insert, low, high)) in (0..).zip(steps) {
            let serial = low | high << 20;
            if insert && !model.contains_key(&serial) {
                map.insert(serial, number);
                model.insert(serial, number);
            } else {
                map.remove(serial);
                model.remove(&serial);
            }
            prop_assert_eq!(map.count, model.len());
            for serial in (0..6).flat_map(|high| (0..8).map(move |low| low | high << 20)) {
                prop_assert_eq!(map.get(serial), model.get(&serial).copied());
            }
        }
    }
}

#[test]
fn a_row_is_used_again_once_its_owner_holds_nothing() {
    let mut owners = OwnerTable::new(2);
    let mut slots = SlotTable::default();
    slots.grow_to(1);
    let first = owners.row_or_new(5);
    assert_eq!(owners.row_or_new(5), first);
    owners.link(&mut slots, (first, Hold::Granted), 1, (1, 64));
    owners.forget(5);
    assert_eq!(owners.row(5), Some(first), "it still holds a slot");
    owners.forget(6);
    let mut owners = OwnerTable::new(2);
    let first = owners.row_or_new(5);
    owners.forget(5);
    assert_eq!(owners.row(5), None);
    assert_eq!(owners.row_or_new(6), first);
    assert_eq!(owners.at(first).granted_by_class, [0, 0]);
}
