use super::{fresh_table, named, slot};
use crate::error::{LeaseError, LeasesFull};
use crate::slot::SlotWord;

// r[verify lease.batch]
#[test]
fn a_batch_stands_as_a_whole_or_not_at_all() {
    let table = fresh_table(8);
    let scan = table.scan();
    let mut cells = Vec::new();
    table.lease_many((1..=5).map(slot), &mut cells).unwrap();
    assert_eq!((cells.len(), named(&scan).len()), (5, 5));
    let full = table.lease_many((11..=14).map(slot), &mut cells);
    assert_eq!(full, Err(LeasesFull::Taken { capacity: 8 }));
    assert_eq!((cells.len(), named(&scan).len()), (5, 5), "those before stay, of the others none");
    let published = |_| SlotWord::published(1).bits();
    let kept = table.keep_published(cells.remove(0), slot(1), published, |_| 5, 5).unwrap();
    let retired = |_| SlotWord::published(1).retire().unwrap().bits();
    let gone = table.keep_published(cells.remove(0), slot(2), retired, |_| 5, 5);
    assert!(matches!(gone, Err(LeaseError::NotPublished { .. })), "{gone:?}");
    let cut_off = table.keep_published(cells.remove(0), slot(3), published, |_| 0, 5);
    assert!(matches!(cut_off, Err(LeaseError::CutOff { .. })), "{cut_off:?}");
    assert_eq!(named(&scan).len(), 3, "what was refused is released");
    table.release(kept);
    cells.into_iter().for_each(|cell| table.release(cell));
    assert_eq!(scan.count(), 0);
}
