use std::collections::HashMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use crate::error::{IndexOutOfRange, RegionError};
use crate::mapping::Mapping;

fn out_of_range(offset: u64, size_bytes: u64, size_bytes_available: u64) -> RegionError {
    RegionError::OutOfRange { offset, size_bytes, size_bytes_available }
}

// r[verify memory.region-bounds]
#[test]
fn a_window_lies_within_its_mapping() {
    let mapping = Mapping::heap(4096).unwrap();
    assert!(mapping.region(0, 4096).is_ok());
    assert!(mapping.region(4096, 0).is_ok());
    for (offset, size_bytes) in [
        (0, 4097),
        (8, 4089),
        (4104, 0),
        (u64::MAX, 1),
        (u64::MAX - 7, 8),
        (8, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        let error = mapping.region(offset, size_bytes).unwrap_err();
        assert_eq!(error, out_of_range(offset, size_bytes, 4096));
    }
    let error = mapping.region(4, 8).unwrap_err();
    assert_eq!(error, RegionError::Misaligned { offset: 4, alignment_bytes: 8 });
}

// r[verify memory.region-bounds]
#[test]
fn a_window_of_a_window_lies_within_it() {
    let mapping = Mapping::heap(4096).unwrap();
    let outer = mapping.region(64, 128).unwrap();
    let inner = outer.subregion(64, 64).unwrap();
    assert_eq!((inner.offset(), inner.size_bytes()), (128, 64));
    assert_eq!(inner.address().addr(), mapping.base().addr() + 128);
    assert_eq!(outer.subregion(64, 65).unwrap_err(), out_of_range(64, 65, 128));
    assert_eq!(outer.subregion(u64::MAX - 7, 64).unwrap_err(), out_of_range(u64::MAX - 7, 64, 128));
    assert!(matches!(outer.subregion(7, 8), Err(RegionError::Misaligned { offset: 7, .. })));
}

// r[verify memory.region-bounds]
#[test]
fn views_lie_within_their_window_and_on_words() {
    let mapping = Mapping::heap(4096).unwrap();
    let region = mapping.region(64, 60).unwrap();
    assert!(region.word(48).is_ok());
    for offset in [56, 4096, u64::MAX - 7, u64::MAX] {
        assert_eq!(region.word(offset).unwrap_err(), out_of_range(offset, 8, 60));
        assert_eq!(region.read_word(offset).unwrap_err(), out_of_range(offset, 8, 60));
    }
    assert_eq!(
        region.word(4).unwrap_err(),
        RegionError::Misaligned { offset: 4, alignment_bytes: 8 }
    );
    assert!(region.words(0, 7).is_ok());
    assert_eq!(region.words(0, 8).unwrap_err(), out_of_range(0, 64, 60));
    for count in [1 << 61, u64::MAX] {
        assert_eq!(region.words(8, count).unwrap_err(), out_of_range(8, u64::MAX, 60));
        assert_eq!(region.read_words(8, count).unwrap_err(), out_of_range(8, u64::MAX, 60));
    }
}

// r[verify memory.word-bounds]
#[test]
fn words_refuse_an_index_beyond_the_last() {
    let region = Mapping::heap(4096).unwrap().region(0, 64).unwrap();
    let words = region.words(16, 3).unwrap();
    assert_eq!(words.count(), 3);
    for index in [3, 4, u64::MAX] {
        let beyond = IndexOutOfRange { index, count: 3 };
        assert_eq!(words.load(index, Ordering::Relaxed), Err(beyond));
        assert_eq!(words.store(index, 1, Ordering::Relaxed), Err(beyond));
        assert_eq!(region.read_words(16, 3).unwrap().load(index, Ordering::Relaxed), Err(beyond));
    }
}

#[test]
fn views_of_the_same_bytes_agree() {
    let mapping = Mapping::heap(4096).unwrap();
    let region = mapping.region(8, 64).unwrap();
    let word = region.word(16).unwrap();
    word.store(u64::MAX - 1, Ordering::Release);
    assert_eq!(word.reader().load(Ordering::Acquire), u64::MAX - 1);
    assert_eq!(region.words(8, 2).unwrap().load(1, Ordering::Acquire), Ok(u64::MAX - 1));
    let whole = mapping.region(0, 4096).unwrap();
    assert_eq!(whole.read_words(0, 512).unwrap().load(3, Ordering::Acquire), Ok(u64::MAX - 1));
}

#[test]
#[expect(unsafe_code, reason = "byte slices are lent by unsafe calls only")]
fn bytes_are_those_of_the_window() {
    let region = Mapping::heap(4096).unwrap().region(64, 64).unwrap();
    region.word(8).unwrap().store(u64::from_ne_bytes(*b"eight by"), Ordering::Relaxed);
    // SAFETY: this memory is this test's alone, and the slice ends before the next call.
    let written = unsafe { region.bytes_mut(16, 3) }.unwrap();
    written.copy_from_slice(b"tes");
    // SAFETY: as above.
    assert_eq!(unsafe { region.bytes(8, 11) }.unwrap(), b"eight bytes");
    // SAFETY: as above.
    let beyond = unsafe { region.bytes(60, 5) };
    assert_eq!(beyond.unwrap_err(), out_of_range(60, 5, 64));
    // SAFETY: as above.
    let beyond = unsafe { region.bytes_mut(u64::MAX, 2) };
    assert_eq!(beyond.unwrap_err(), out_of_range(u64::MAX, 2, 64));
}

#[test]
fn a_view_keeps_its_memory() {
    let word = Mapping::heap(8).unwrap().region(0, 8).unwrap().word(0).unwrap();
    let copy = word.clone();
    word.store(5, Ordering::Relaxed);
    drop(word);
    assert_eq!(copy.load(Ordering::Relaxed), 5);
}

#[test]
fn views_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<crate::Region>();
    shared::<crate::Word>();
    shared::<crate::ReadWord>();
    shared::<crate::Words>();
    shared::<crate::ReadWords>();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // r[verify memory.region-bounds]
    #[test]
    fn stores_land_where_a_map_says(
        stores in prop::collection::vec((0..12_u64, 0..12_u64, 0..20_u64, any::<u64>()), 0..50)
    ) {
        let mapping = Mapping::heap(96).unwrap();
        let mut model = HashMap::new();
        for (start, count, index, value) in stores {
            let Ok(region) = mapping.region(start * 8, 96 - start * 8) else { continue };
            match region.words(0, count) {
                Ok(words) => {
                    prop_assert!(start + count <= 12);
                    let stored = words.store(index, value, Ordering::Relaxed);
                    prop_assert_eq!(stored.is_ok(), index < count);
                    if index < count {
                        model.insert(start + index, value);
                    }
                }
                Err(_) => prop_assert!(start + count > 12),
            }
        }
        let all = mapping.region(0, 96).unwrap().read_words(0, 12).unwrap();
        for index in 0..12 {
            let expected = model.get(&index).copied().unwrap_or(0);
            prop_assert_eq!(all.load(index, Ordering::Relaxed), Ok(expected));
        }
    }
}
