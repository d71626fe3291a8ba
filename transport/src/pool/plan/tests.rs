use super::*;
use crate::layout::Geometry;
use crate::pool::ClassTable;

// r[verify pool.extent-size]
#[test]
fn extents_have_eight_slots_and_little_waste() {
    for granule in [64, 4096, 2 << 20] {
        let unit_bytes = Geometry::unit_bytes_for(granule);
        let table = ClassTable::default_classes(granule, 64 << 20).unwrap();
        for &slot_bytes in table.sizes() {
            let plan = Plan::ideal(slot_bytes, unit_bytes);
            let run_bytes = u64::from(plan.units) * unit_bytes;
            let fits = run_bytes / slot_bytes;
            if 8 * slot_bytes <= 16 << 20 {
                assert!(plan.slots >= 8, "{slot_bytes}: {plan:?}");
                assert_eq!(u64::from(plan.slots), fits);
                let least = (8 * slot_bytes).div_ceil(unit_bytes);
                assert!((least..=least + 8).contains(&plan.units.into()));
            } else {
                assert_eq!(plan.slots, 1, "{slot_bytes}");
                assert_eq!(u64::from(plan.units), slot_bytes.div_ceil(unit_bytes));
            }
            if plan.slots > 1 {
                let waste = plan.waste_bytes(slot_bytes, unit_bytes);
                assert!(32 * waste <= run_bytes, "{slot_bytes} in {run_bytes}: {waste}");
            }
        }
    }
}

#[test]
fn a_shorter_run_holds_what_fits() {
    let ideal = Plan::ideal(192, 512);
    assert_eq!(ideal, Plan { units: 3, slots: 8 });
    assert_eq!(ideal.fit(192, 512, 3, 8), Some(ideal));
    assert_eq!(ideal.fit(192, 512, 2, 8), Some(Plan { units: 2, slots: 5 }));
    assert_eq!(ideal.fit(192, 512, 9, 3), Some(Plan { units: 2, slots: 3 }));
    assert_eq!(ideal.fit(192, 512, 9, 2), Some(Plan { units: 1, slots: 2 }));
    assert_eq!(ideal.fit(192, 512, 0, 8), None);
    assert_eq!(ideal.fit(192, 512, 3, 0), None);
    let large = Plan { units: 2, slots: 1 };
    assert_eq!(large.fit(1024, 512, 1, 9), None);
}
