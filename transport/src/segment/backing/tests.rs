use super::*;
use crate::segment::AreaFile;
use crate::segment::tests::{Scratch, assert_success, can_unshare, child_task, run_alone};

// r[verify segment.backing]
#[test]
fn a_file_in_shared_memory_can_grow_by_pages() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let file = directory.create_file(AreaFile::Pool).unwrap();
    let backing = Backing::detect(&file, &scratch.file("pool")).unwrap();
    assert_eq!(backing.kind(), BackingKind::Tmpfs);
    assert_eq!(backing.alignment_bytes(), rustix::param::page_size() as u64);
    assert!(backing.can_grow() && backing.takes_pread());
    assert!(!backing.needs_noreserve() && !backing.can_persist());
}

// r[verify segment.backing]
#[test]
fn a_file_on_a_disk_is_told_from_one_in_memory() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let backing = Backing::detect(file.as_file(), file.path()).unwrap();
    if backing.kind() == BackingKind::Tmpfs {
        return println!("skipped: the sources are in shared memory");
    }
    assert!(backing.can_persist() && backing.takes_pread() && backing.can_grow());
}

// r[verify segment.backing]
#[test]
fn devices_that_are_no_devdax_and_other_files_are_refused() {
    let null = std::fs::File::open("/dev/null").unwrap();
    let refused = Backing::detect(&null, Path::new("/dev/null")).unwrap_err();
    let path = PathBuf::from("/dev/null");
    assert_eq!(refused, BackingError::NotDevdax { path, major: 1, minor: 3 });
    let scratch = tempfile::tempdir().unwrap();
    let directory = std::fs::File::open(scratch.path()).unwrap();
    let refused = Backing::detect(&directory, scratch.path()).unwrap_err();
    let path = scratch.path().to_owned();
    assert_eq!(refused, BackingError::NotABacking { path, found: FileKind::Directory });
}

// r[verify segment.backing]
#[test]
fn huge_pages_are_told_with_their_size() {
    const TEST: &str = "segment::backing::tests::huge_pages_are_told_with_their_size";
    if let Some(place) = child_task() {
        let path = Path::new(&place).join("pool");
        let file = std::fs::File::create_new(&path).unwrap();
        let backing = Backing::detect(&file, &path).unwrap();
        assert_eq!(backing.kind(), BackingKind::Hugetlbfs);
        assert!(backing.alignment_bytes() >= 2 << 20);
        assert!(backing.needs_noreserve() && backing.can_grow() && !backing.takes_pread());
        let misaligned = backing.reserve(&file, 0, 4096).unwrap_err();
        assert!(matches!(misaligned, GrowError::Misaligned { value: 4096, .. }), "{misaligned}");
        // There may be no huge pages at all: then that is said, and not by a signal.
        match backing.reserve(&file, 0, 1 << 40) {
            Err(GrowError::NoRoom { room, .. }) => assert_eq!(room.file_system, "hugetlbfs"),
            other => panic!("{other:?}"),
        }
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().to_str().unwrap();
    if !can_unshare(&["-m", "mount", "-t", "hugetlbfs", "none", place]) {
        return;
    }
    let mount = "mount -t hugetlbfs none \"$0\" && exec \"$@\"";
    assert_success(&run_alone(TEST, place, &["unshare", "-m", "sh", "-c", mount, place]));
}
