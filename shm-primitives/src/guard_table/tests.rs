use super::{Entry, Range, claim, find};

fn range(number: u64, process: u64) -> Range {
    let start = number << 20;
    Range {
        start,
        end: start + 4096,
        page_bytes: 4096,
        is_writable: number.is_multiple_of(2),
        process,
    }
}

fn entries() -> [Entry; 3] {
    [const { Entry::new() }; 3]
}

// r[verify memory.guard-registry]
#[test]
fn a_range_is_found_by_every_address_in_it_and_no_other() {
    let entries = entries();
    assert_eq!(find(&entries, 0, 1), None);
    assert_eq!(claim(&entries, &range(5, 1)), Some(0));
    assert_eq!(claim(&entries, &range(6, 1)), Some(1));
    let start = 5 << 20;
    for address in [start, start + 1, start + 4095] {
        assert_eq!(find(&entries, address, 1), Some((0, range(5, 1))));
    }
    for address in [start - 1, start + 4096, 0, u64::MAX] {
        assert_eq!(find(&entries, address, 1), None);
    }
    entries[0].release();
    assert_eq!(find(&entries, start, 1), None);
    assert_eq!(find(&entries, 6 << 20, 1), Some((1, range(6, 1))));
}

// r[verify memory.guard-registry]
#[test]
fn entries_are_used_again_and_come_to_an_end() {
    let entries = entries();
    for number in 1..=3 {
        assert_eq!(claim(&entries, &range(number, 1)), Some(number as usize - 1));
    }
    assert_eq!(claim(&entries, &range(4, 1)), None);
    entries[1].add_torn_page();
    assert_eq!(entries[1].torn_pages(), 1);
    entries[1].release();
    assert_eq!(claim(&entries, &range(4, 1)), Some(1));
    assert_eq!(entries[1].torn_pages(), 0, "of the range, not of the entry");
}

// r[verify memory.guard-registry]
#[test]
fn what_an_ancestor_left_is_free_and_is_not_found() {
    let entries = entries();
    for number in 1..=3 {
        claim(&entries, &range(number, 1));
    }
    assert_eq!(find(&entries, 1 << 20, 2), None);
    assert_eq!(claim(&entries, &range(7, 2)), Some(0));
    assert_eq!(find(&entries, 7 << 20, 2), Some((0, range(7, 2))));
}
