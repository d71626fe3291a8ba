//! What it costs to lease a slot and to release it, in a table of the largest size: alone, with many
//! leases beside it, and many at once.
#![expect(clippy::unwrap_used, reason = "a benchmark without its table cannot run")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use onecopy_shm::{LEASES_MAX, LeaseCell, LeaseTable, Mapping, SlotRef, lease_table_bytes};

const SLOT: SlotRef = SlotRef { slot: 7, generation: 1 };
/// Leases at once.
const MANY: u64 = 1000;

fn table() -> LeaseTable {
    let bytes = lease_table_bytes(LEASES_MAX);
    let region = Mapping::heap(bytes).unwrap().region(0, bytes).unwrap();
    LeaseTable::new(region, LEASES_MAX).unwrap()
}

fn lease_many(table: &LeaseTable) -> Vec<LeaseCell> {
    (0..MANY).map(|_| table.lease(SLOT).unwrap()).collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let table = table();
    let mut group = criterion.benchmark_group("lease");
    let one = || table.release(black_box(table.lease(black_box(SLOT)).unwrap()));
    group.bench_function("alone", |bencher| bencher.iter(one));
    let held = lease_many(&table);
    group.bench_function("beside_1000", |bencher| bencher.iter(one));
    held.into_iter().for_each(|cell| table.release(cell));
    group.throughput(Throughput::Elements(MANY));
    for (name, is_lease) in [("lease_1000", true), ("release_1000", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    let cells = lease_many(&table);
                    let between = Instant::now();
                    cells.into_iter().for_each(|cell| table.release(cell));
                    spent += if is_lease { between - start } else { between.elapsed() };
                }
                spent
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
