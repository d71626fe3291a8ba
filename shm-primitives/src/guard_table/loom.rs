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
    // Half of the first range and half of the second would be 100 to 250. One look for each model: the
    // orders of several multiply.
    let found: Vec<u64> = [110, 210, 160].map(look_while_a_range_takes_anothers_place).to_vec();
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");
    assert_eq!(found[2], 0);
}

/// Looks an address up in all orders; how often something was found.
fn look_while_a_range_takes_anothers_place(address: u64) -> u64 {
    let found_in_any = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&found_in_any);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let entries = Arc::new([Entry::new()]);
        assert_eq!(claim(&*entries, &range(1)), Some(0));
        // The reader is the thread that is spawned: the writer looks at a word before it stores it, and
        // the model checker would take that look for the one that the store races with.
        let (table, counted) = (Arc::clone(&entries), Arc::clone(&counted));
        let reader = thread::spawn(move || {
            if let Some((_, found)) = find(&*table, address, 1) {
                assert_eq!(found, range(address / 100));
                counted.fetch_add(1, Relaxed);
            }
        });
        entries[0].release();
        assert_eq!(claim(&*entries, &range(2)), Some(0));
        reader.join().unwrap();
        assert_eq!(find(&*entries, 210, 1), Some((0, range(2))));
    });
    found_in_any.load(Relaxed)
}
