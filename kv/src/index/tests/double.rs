use std::collections::HashMap;
use std::sync::atomic::Ordering;

use onecopy_shm::Region;
use proptest::prelude::*;

use super::super::{IndexFault, IndexReader, IndexWriter, InsertError, word_index};
use super::{SEED, faults, region};
use crate::format::OVERFLOW_BIT;
use crate::replay::payload::mix;

/// A key's slot is its number; a slot's key is known by it, as from a slot's note.
#[derive(Debug, Clone, Copy)]
enum Hashes {
    Spread,
    /// Homes at the end of a table of any size, so that most keys stand behind the end.
    AtTheEnd,
    /// Two homes in a table of 8 buckets, a few more in larger ones.
    Crowded,
}

impl Hashes {
    fn of(self, slot: u32) -> u64 {
        let mixed = mix(slot.into());
        match self {
            Hashes::Spread => mixed,
            Hashes::AtTheEnd => mixed | 6,
            Hashes::Crowded => mixed & !0b110 & !0x1e0,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Remove(u32),
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u32..400).prop_map(Step::Insert),
        2 => (1u32..400).prop_map(Step::Remove),
        3 => (1u64..6).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 0..600)
}

/// An index of 8 buckets with real memory for so many.
fn small(buckets_ready: u64) -> (IndexWriter, Region) {
    let region = region(64);
    let mut index = IndexWriter::create(&region, 8, SEED).unwrap();
    index.set_buckets_ready(buckets_ready);
    (index, region)
}

struct Model {
    index: IndexWriter,
    reader: IndexReader,
    hashes: Hashes,
    slots: HashMap<u32, u64>,
}

impl Model {
    fn insert(&mut self, slot: u32) {
        let hash = self.hashes.of(slot);
        if self.slots.contains_key(&slot) {
            return;
        }
        loop {
            match self.index.insert(hash, slot) {
                Ok(()) => break,
                Err(InsertError::Full { candidates }) => {
                    let hashes = self.hashes;
                    if self.index.make_place(hash, |slot| hashes.of(slot)) {
                        continue;
                    }
                    let victim = candidates[slot as usize % candidates.len()];
                    self.remove(victim);
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.slots.insert(slot, hash);
    }

    fn remove(&mut self, slot: u32) {
        let there = self.slots.remove(&slot).is_some();
        assert_eq!(self.index.remove(self.hashes.of(slot), slot), there);
    }

    fn check(&self) {
        assert_eq!(self.index.count(), self.slots.len() as u64);
        let hash_of = |slot: u32| self.slots.get(&slot).copied();
        assert_eq!(faults(&self.index, hash_of), []);
        for slot in 1..400 {
            let expected = self.slots.contains_key(&slot).then_some(slot);
            let hash = self.hashes.of(slot);
            assert_eq!(self.index.find(hash, |found| found == slot), expected);
            assert_eq!(self.reader.find(hash, |found| found == slot), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // r[verify index.double]
    // r[verify index.insert]
    // r[verify index.remove]
    // r[verify index.find]
    // r[verify index.overflow]
    // r[verify index.audit]
    #[test]
    fn it_does_as_a_map_while_it_doubles(
        steps in steps(),
        hashes in prop::sample::select(vec![Hashes::Spread, Hashes::AtTheEnd, Hashes::Crowded]),
    ) {
        let (index, region) = small(64);
        let reader = IndexReader::open(&region).unwrap();
        let mut model = Model { index, reader, hashes, slots: HashMap::new() };
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(slot) => model.insert(slot),
                Step::Remove(slot) => model.remove(slot),
                Step::Advance(buckets) => model.index.advance(buckets, |slot| hashes.of(slot)),
            }
            if number % 16 == 0 {
                model.check();
            }
        }
        model.check();
        model.index.advance(1000, |slot| hashes.of(slot));
        prop_assert!(!model.index.is_doubling());
        model.check();
    }
}

/// Fills an index of 8 buckets until it wants to double.
fn full(hashes: Hashes, buckets_ready: u64) -> (IndexWriter, Region) {
    let (mut index, region) = small(buckets_ready);
    for slot in 1..=31 {
        index.insert(hashes.of(slot), slot).unwrap();
    }
    (index, region)
}

// r[verify index.double]
#[test]
fn it_doubles_at_its_load_and_a_few_buckets_at_a_time() {
    let hashes = Hashes::Spread;
    let (mut index, region) = full(hashes, 64);
    let reader = IndexReader::open(&region).unwrap();
    index.remove(hashes.of(31), 31);
    index.advance(100, |_| panic!("nothing is copied"));
    assert!(!index.is_doubling());
    index.insert(hashes.of(31), 31).unwrap();
    // To begin, 8 copies, the mask; then 8 pairs.
    for step in 1..=18 {
        assert_eq!(reader.bucket_count(), if step <= 10 { 8 } else { 16 }, "{step}");
        let mut asked = 0;
        index.advance(1, |slot| {
            asked += 1;
            hashes.of(slot)
        });
        assert!(asked <= 8, "{asked} keys were hashed in one step");
        assert_eq!(index.is_doubling(), step < 18);
    }
    assert_eq!(faults(&index, |slot| Some(hashes.of(slot))), []);
}

// r[verify index.double]
#[test]
fn it_stays_as_it_is_where_there_is_no_memory_for_more() {
    let hashes = Hashes::Spread;
    let (mut index, region) = full(hashes, 8);
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    index.advance(100, |slot| hashes.of(slot));
    assert_eq!((index.bucket_count(), index.is_doubling()), (8, false));
    index.set_buckets_ready(16);
    index.set_buckets_ready(4);
    index.advance(100, |slot| hashes.of(slot));
    assert_eq!(index.bucket_count(), 16);
    for slot in 32..=100 {
        index.insert(hashes.of(slot), slot).unwrap();
    }
    index.advance(100, |slot| hashes.of(slot));
    assert_eq!((index.bucket_count(), index.is_doubling()), (16, false));
    let behind = word_index(16, 0)..region.size_bytes() / 8;
    assert!(behind.clone().all(|word| words.load(word, Ordering::Relaxed).unwrap() == 0));
    index.set_buckets_ready(1 << 40);
    index.advance(100, |slot| hashes.of(slot));
    assert_eq!(index.bucket_count(), 32);
}

// r[verify index.full]
#[test]
fn what_a_doubling_has_left_takes_no_place_from_a_key() {
    // All of them in the lower half of 16 buckets, with a ghost each in the upper.
    let home = |slot: u32| (u64::from(slot) << 40) | (u64::from(slot) / 8 % 4);
    let (mut index, _region) = small(16);
    for slot in 1..=31 {
        index.insert(home(slot), slot).unwrap();
    }
    index.advance(10, home);
    assert_eq!(index.bucket_count(), 16);
    let new = |slot: u32| (u64::from(slot) << 40) | 8;
    let refused = (100..200).find(|&slot| index.insert(new(slot), slot).is_err()).unwrap();
    let hash_of = |slot| if slot < 100 { home(slot) } else { new(slot) };
    while index.insert(new(refused), refused).is_err() {
        assert!(index.make_place(new(refused), hash_of));
    }
    assert_eq!(faults(&index, |slot| Some(hash_of(slot))), []);
    // No key was given up for it: 64 have their home there.
    for slot in refused + 1..164 {
        while index.insert(new(slot), slot).is_err() {
            assert!(index.make_place(new(slot), hash_of), "{slot}");
        }
    }
    assert!(index.insert(new(164), 164).is_err());
    while index.make_place(new(164), hash_of) {}
    assert!(index.insert(new(164), 164).is_err());
    assert_eq!(faults(&index, |slot| Some(hash_of(slot))), []);
}

// r[verify index.audit]
#[test]
fn an_audit_names_what_is_wrong_with_a_doubling() {
    let hashes = Hashes::Spread;
    let hash_of = |slot| Some(hashes.of(slot));
    let (mut index, region) = full(hashes, 16);
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    let damaged = |index: &IndexWriter, word: u64, change: &dyn Fn(u64) -> u64| {
        let sound = words.load(word, Ordering::Relaxed).unwrap();
        words.store(word, change(sound), Ordering::Relaxed).unwrap();
        let found = faults(index, hash_of);
        words.store(word, sound, Ordering::Relaxed).unwrap();
        found
    };
    let used = |bucket| words.load(word_index(bucket, 0), Ordering::Relaxed).unwrap() != 0;
    let bucket = (0..8).find(|&bucket| used(bucket)).unwrap();
    index.advance(9, |slot| hashes.of(slot));
    let found = damaged(&index, word_index(bucket + 8, 0), &|word| word & OVERFLOW_BIT);
    assert!(matches!(found[..], [IndexFault::Copy { place: 0, .. }]), "{found:?}");
    let found = damaged(&index, word_index(bucket + 8, 0), &|word| word ^ OVERFLOW_BIT);
    assert!(
        matches!(found[..], [IndexFault::Passing { .. }, IndexFault::Copy { .. }]),
        "{found:?}"
    );
    index.advance(9, |slot| hashes.of(slot));
    assert!(!index.is_doubling());
    // What it should have erased is a second entry.
    let bucket = (0..16).find(|&bucket| used(bucket)).unwrap();
    let entry = words.load(word_index(bucket, 0), Ordering::Relaxed).unwrap() & !OVERFLOW_BIT;
    let twin = word_index(bucket ^ 8, 7);
    assert_eq!(words.load(twin, Ordering::Relaxed).unwrap(), 0);
    let found = damaged(&index, twin, &|_| entry);
    assert!(found.iter().any(|fault| matches!(fault, IndexFault::Twice { .. })), "{found:?}");
}
