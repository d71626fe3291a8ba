//! What one search of the index costs, by the host and by a reader, hits and misses, in an index that
//! the caches hold and in one that they do not. Nobody writes meanwhile.
#![expect(clippy::unwrap_used, reason = "a benchmark without its memory cannot run")]

use std::hint::black_box;

use criterion::Criterion;
use onecopy::index::{IndexReader, IndexWriter, buckets_for, region_bytes};
use onecopy_shm::Mapping;

/// Entries: an index of 16 KiB and one of 16 MiB, both half full at most.
const COUNTS: [(u32, &str); 2] = [(1000, "1k"), (1_000_000, "1M")];

/// A hash for each number, spread as those of keys are (splitmix64).
fn hash(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// An index with a slot for each number from 1 to `count`.
fn index(count: u32) -> (IndexWriter, IndexReader) {
    let buckets = buckets_for(count);
    let size_bytes = region_bytes(buckets).unwrap();
    let region = Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap();
    let mut writer = IndexWriter::create(&region, buckets, 0).unwrap();
    (1..=count).for_each(|slot| writer.insert(hash(slot.into()), slot).unwrap());
    let reader = IndexReader::open(&region).unwrap();
    (writer, reader)
}

/// Searches in an order that no prefetcher knows. A candidate is taken by its slot, without the look
/// at the slot's entry that a cache needs.
fn search(
    criterion: &mut Criterion,
    name: &str,
    count: u32,
    find: impl Fn(u64, u32) -> Option<u32>,
) {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_add(1);
        (hash(state) % u64::from(count)) as u32 + 1
    };
    criterion.bench_function(&format!("index/{name}/hit"), |bencher| {
        bencher.iter(|| {
            let slot = next();
            assert_eq!(find(hash(slot.into()), slot), Some(slot));
        });
    });
    criterion.bench_function(&format!("index/{name}/miss"), |bencher| {
        bencher.iter(|| black_box(find(hash(u64::from(next()) << 32), 0)));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (count, size) in COUNTS {
        let (writer, reader) = index(count);
        search(&mut criterion, &format!("writer/{size}"), count, |hash, wanted| {
            writer.find(hash, |slot| slot == wanted)
        });
        search(&mut criterion, &format!("reader/{size}"), count, |hash, wanted| {
            reader.find(hash, |slot| slot == wanted)
        });
    }
    criterion.final_summary();
}
