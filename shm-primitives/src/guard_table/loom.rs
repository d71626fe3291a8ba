//! Model of the registry: a fault never meets half of one range and half of another.

use super::{Entry, Range, claim, find};
use crate::sync::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn range(number: u64) -> Range {
    let start = number * 100;
    Range { start, end: start + 50, page_bytes: number, is_writable: false, process: 1 }
}

#[test]
fn a_range_is_found_whole_or_not_at_all() {
    let found_in_any = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&found_in_any);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let entries = Arc::new([Entry::new()]);
        assert_eq!(claim(&*entries, &range(1)), Some(0));
        let table = Arc::clone(&entries);
        let other = thread::spawn(move || {
            table[0].release();
            assert_eq!(claim(&*table, &range(2)), Some(0));
        });
        for number in [1, 2] {
            if let Some((_, found)) = find(&*entries, number * 100 + 10, 1) {
                assert_eq!(found, range(number));
                counted.fetch_add(number, Relaxed);
            }
        }
        // Half of the first and half of the second would be 100 to 250.
        assert_eq!(find(&*entries, 160, 1), None);
        other.join().unwrap();
        assert_eq!(find(&*entries, 210, 1), Some((0, range(2))));
    });
    assert!(found_in_any.load(Relaxed) > 0);
}
