use super::*;

// r[verify pool.classes]
#[test]
fn sizes_are_single_granules_and_then_eight_per_doubling() {
    let table = ClassTable::default_classes(4096, 40 * 4096).unwrap();
    let granules: Vec<u64> = table.sizes().iter().map(|size| size / 4096).collect();
    assert_eq!(
        granules,
        [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 26, 28, 30, 32,
            36, 40
        ]
    );
    assert_eq!(ClassTable::default_classes(64, 1).unwrap().sizes(), [64]);
    assert_eq!(ClassTable::default_classes(64, 65).unwrap().sizes(), [64, 128]);
}

// r[verify pool.classes]
#[test]
fn a_payload_takes_the_smallest_slot_and_wastes_less_than_an_eighth() {
    let granule = 64;
    let table = ClassTable::default_classes(granule, 1 << 20).unwrap();
    assert_eq!(table.class_for(0), Ok(0));
    for size_bytes in 1..=1 << 16 {
        let class = table.class_for(size_bytes).unwrap();
        let slot_bytes = table.slot_bytes(class);
        assert!(slot_bytes >= size_bytes);
        assert!(class == 0 || table.slot_bytes(class - 1) < size_bytes);
        if size_bytes > 8 * granule {
            let waste = slot_bytes - size_bytes;
            assert!(8 * waste < slot_bytes, "{waste} of {slot_bytes}");
        }
    }
    let (size_bytes, slot_bytes_max) = ((1 << 20) + 1, 1 << 20);
    assert_eq!(table.class_for(size_bytes), Err(TooLarge { size_bytes, slot_bytes_max }));
    assert_eq!(table.class_for(slot_bytes_max), Ok(table.len() as ClassIndex - 1));
}

// r[verify pool.classes]
#[test]
fn lists_that_are_no_classes_are_refused() {
    let list = |sizes: &[u64]| ClassTable::from_list(64, sizes.to_vec()).unwrap_err();
    assert!(matches!(list(&[]), GeometryError::OutOfRange { value: 0, .. }));
    assert!(matches!(list(&[64, 64]), GeometryError::ClassesNotAscending { .. }));
    assert!(matches!(list(&[65]), GeometryError::NotAMultiple { value: 65, .. }));
    assert!(matches!(list(&[0]), GeometryError::ClassesNotAscending { .. }));
    let many: Vec<u64> = (1..=CLASSES_MAX as u64 + 1).map(|n| n * 64).collect();
    assert!(matches!(list(&many), GeometryError::OutOfRange { value: 257, .. }));
    assert!(ClassTable::default_classes(0, 64).is_err());
    assert!(ClassTable::default_classes(64, 0).is_err());
    assert!(ClassTable::default_classes(64, u64::MAX).is_err());
    assert!(ClassTable::default_classes(64, 1 << 46).is_err());
    assert_eq!(ClassTable::from_list(64, vec![64, 4096]).unwrap().sizes(), [64, 4096]);
}
