//! What memory alone costs: the same keys in tables of this process, without a lease and without sharing.

use hashbrown::HashMap;
use onecopy::index::hash_key;
use onecopy::key::Key;

use crate::blocks::key;

/// Keys whose lines are prefetched together, as a batch of lookups does.
pub(crate) const BATCH: usize = 64;

/// A private hash table from key to number.
pub(crate) struct PrivateMap(HashMap<Key, u64>);

impl PrivateMap {
    /// The keys of the blocks 0 to `count`.
    pub(crate) fn of_blocks(count: u64) -> PrivateMap {
        PrivateMap((0..count).map(|number| (key(number), number)).collect())
    }

    /// The number of a key.
    #[inline]
    pub(crate) fn get(&self, key: &Key) -> Option<u64> {
        self.0.get(key).copied()
    }
}

/// The floor of a batch: one cache line for each key in a flat table at most half full, found by the
/// same hash, all lines of a batch prefetched.
pub(crate) struct FlatTable {
    lines: Vec<Line>,
    mask: u64,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    key: Key,
    /// 0 is an empty line; else the number and one.
    number: u64,
}

impl FlatTable {
    /// The keys of the blocks 0 to `count`.
    pub(crate) fn of_blocks(count: u64) -> FlatTable {
        let mask = (count * 2).next_power_of_two() - 1;
        let empty = Line { key: Key::from_bytes([0; 32]), number: 0 };
        let mut lines = vec![empty; mask as usize + 1];
        for number in 0..count {
            let key = key(number);
            let mut place = hash_key(&key, 0) & mask;
            while lines[place as usize].number != 0 {
                place = (place + 1) & mask;
            }
            lines[place as usize] = Line { key, number: number + 1 };
        }
        FlatTable { lines, mask }
    }

    /// How many of these keys, at most [`BATCH`], are there.
    #[inline]
    pub(crate) fn count(&self, keys: &[Key]) -> usize {
        let mut places = [0; BATCH];
        for (key, place) in keys.iter().zip(&mut places) {
            *place = hash_key(key, 0) & self.mask;
            prefetch(&self.lines[*place as usize]);
        }
        keys.iter().zip(places).filter(|(key, place)| self.find(key, *place).is_some()).count()
    }

    #[inline]
    fn find(&self, key: &Key, mut place: u64) -> Option<u64> {
        loop {
            let line = &self.lines[place as usize];
            match line.number {
                0 => return None,
                number if line.key == *key => return Some(number - 1),
                _ => place = (place + 1) & self.mask,
            }
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a hint to the processor"))]
fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint: it reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_know_their_keys_and_no_others() {
        let (map, flat) = (PrivateMap::of_blocks(100), FlatTable::of_blocks(100));
        for number in 0..100 {
            assert_eq!(map.get(&key(number)), Some(number));
        }
        assert_eq!(map.get(&key(100)), None);
        let keys: Vec<Key> = (70..130).map(key).collect();
        assert_eq!(flat.count(&keys), 30);
    }
}
