use super::*;
use crate::segment::{Contents, SegmentLock, SegmentStatus};

#[test]
fn a_fresh_directory_is_private_and_empty() {
    let above = tempfile::tempdir().unwrap();
    let path = SegmentPath::new(above.path().join("one/two/segment")).unwrap();
    let directory = SegmentDir::create_or_open(&path).unwrap();
    assert_eq!(directory.classify().unwrap(), SegmentStatus::Fresh);
    let lock = SegmentLock::try_lock(&directory).unwrap();
    assert!(matches!(directory.classify().unwrap(), SegmentStatus::Live { .. }));
    assert_eq!(directory.contents().unwrap(), Contents::Empty);
    drop(lock);
    assert_eq!(directory.classify().unwrap(), SegmentStatus::Fresh);
}
