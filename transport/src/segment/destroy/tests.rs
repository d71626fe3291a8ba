use super::*;
use crate::format::{CONTROL_MAGIC, FORMAT_VERSION, SegmentHeader};
use crate::segment::AreaFile;
use crate::segment::tests::{
    Scratch, assert_success, can_unshare, child_task, listing, mode, run_alone,
};
use crate::socket::{AttachListener, SocketMode};

const ID: SegmentId = 0x77 << 64 | 0x11;

/// A whole segment, as a host leaves it that was killed.
fn dead_segment(scratch: &Scratch, elsewhere: Option<&Path>) {
    let (directory, lock) = scratch.locked();
    let control = directory.create_file(AreaFile::Control).unwrap();
    let mut bytes = [0_u8; size_of::<SegmentHeader>()];
    bytes[..8].copy_from_slice(&CONTROL_MAGIC.to_le_bytes());
    bytes[8..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    rustix::io::pwrite(&control, &bytes, 0).unwrap();
    let pool = directory.create_pool(elsewhere, ID).unwrap();
    pool.backing.reserve(&pool.file, 0, 1 << 20).unwrap();
    pool.write_header(ID).unwrap();
    drop(directory.create_file(AreaFile::Rings(1)).unwrap());
    drop(directory.create_file(AreaFile::Rings(2)).unwrap());
    drop(directory.create_file(AreaFile::Leases(1)).unwrap());
    let listener = AttachListener::bind(&directory, &lock, SocketMode::Private).unwrap();
    std::mem::forget(listener);
    std::fs::write(scratch.file(SOCKET_NEW), b"").unwrap();
}

/// Everything below a directory, with sizes.
fn everything(path: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for name in listing(path) {
        let below = path.join(name);
        let metadata = std::fs::symlink_metadata(&below).unwrap();
        found.push((below.clone(), metadata.len()));
        if metadata.is_dir() {
            found.extend(everything(&below));
        }
    }
    found
}

// r[verify segment.destroy]
#[test]
fn a_dead_segment_goes_with_its_directory() {
    let scratch = Scratch::on_tmpfs();
    dead_segment(&scratch, None);
    let destroyed = destroy(&scratch.path).unwrap();
    assert_eq!(destroyed, Destroyed { files: 8, pool_left: None });
    assert!(listing(scratch.above.path()).is_empty());
    let again = destroy(&scratch.path).unwrap_err();
    assert!(matches!(again, DestroyError::Dir(DirError::NotFound { .. })), "{again}");
}

// r[verify segment.destroy]
#[test]
fn a_live_segment_is_left_alone() {
    let scratch = Scratch::on_tmpfs();
    dead_segment(&scratch, None);
    let (directory, lock) = scratch.locked();
    let before = everything(scratch.path.as_path());
    let refused = destroy(&scratch.path).unwrap_err();
    assert!(matches!(refused, DestroyError::Lock(LockError::AlreadyHeld { .. })), "{refused}");
    assert!(refused.to_string().ends_with("; nothing was removed"), "{refused}");
    assert_eq!(everything(scratch.path.as_path()), before);
    // The host itself may.
    directory.destroy(lock).unwrap();
    assert!(listing(scratch.above.path()).is_empty());
}

// r[verify segment.destroy]
#[test]
fn foreign_directories_are_left_as_they_are() {
    type Make = fn(&Scratch);
    let cases: [Make; 5] = [
        |scratch| std::fs::write(scratch.file("thesis.tex"), b"words").unwrap(),
        |scratch| {
            dead_segment(scratch, None);
            std::fs::write(scratch.file("thesis.tex"), b"words").unwrap();
        },
        |scratch| {
            dead_segment(scratch, None);
            std::fs::write(scratch.file("rings/thesis.tex"), b"words").unwrap();
        },
        |scratch| {
            std::fs::write(scratch.file("control"), b"no magic").unwrap();
            crate::segment::tests::set_mode(&scratch.file("control"), 0o600);
        },
        |scratch| {
            let elsewhere = scratch.above.path().join("elsewhere");
            std::fs::create_dir(&elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, scratch.file("leases")).unwrap();
        },
    ];
    for make in cases {
        let scratch = Scratch::on_tmpfs();
        SegmentDir::create_or_open(&scratch.path).unwrap();
        make(&scratch);
        let before = everything(scratch.above.path());
        destroy(&scratch.path).unwrap_err();
        assert_eq!(everything(scratch.above.path()), before);
    }
    let scratch = Scratch::on_tmpfs();
    std::fs::write(scratch.path.as_path(), b"a file").unwrap();
    destroy(&scratch.path).unwrap_err();
    assert_eq!(std::fs::read(scratch.path.as_path()).unwrap(), b"a file");
}

// r[verify segment.destroy]
#[test]
fn interrupted_after_any_file_it_goes_on() {
    let names = [SOCKET, SOCKET_NEW, POOL, "rings/1", "rings/2", "rings", "leases/1", "leases"];
    for count in 0..=names.len() {
        let scratch = Scratch::on_tmpfs();
        dead_segment(&scratch, None);
        for name in &names[..count] {
            let path = scratch.file(name);
            let is_directory = path.is_dir();
            if is_directory { std::fs::remove_dir(path) } else { std::fs::remove_file(path) }
                .unwrap();
        }
        destroy(&scratch.path).unwrap();
        assert!(listing(scratch.above.path()).is_empty(), "after {count}");
    }
}

// r[verify segment.destroy]
#[test]
fn a_pool_elsewhere_goes_if_it_names_the_segment() {
    let scratch = Scratch::on_tmpfs();
    let elsewhere = scratch.above.path().join("pool elsewhere");
    dead_segment(&scratch, Some(&elsewhere));
    let destroyed = destroy(&scratch.path).unwrap();
    assert_eq!(destroyed, Destroyed { files: 9, pool_left: None });
    assert!(listing(scratch.above.path()).is_empty());

    dead_segment(&scratch, Some(&elsewhere));
    let other = PoolFile::open_at(&elsewhere).unwrap();
    other.write_header(ID + 1).unwrap();
    let destroyed = destroy(&scratch.path).unwrap();
    assert_eq!(destroyed, Destroyed { files: 8, pool_left: Some(elsewhere.clone()) });
    assert_eq!(listing(scratch.above.path()), ["pool elsewhere"]);

    std::fs::remove_file(&elsewhere).unwrap();
    dead_segment(&scratch, Some(&elsewhere));
    std::fs::remove_file(&elsewhere).unwrap();
    assert_eq!(destroy(&scratch.path).unwrap().pool_left, None, "it is gone already");
}

// r[verify segment.path]
// r[verify segment.shared]
// r[verify segment.destroy]
#[test]
fn the_directory_of_the_default_segments_goes_with_the_last_of_them() {
    const TEST: &str = "segment::destroy::tests::\
                        the_directory_of_the_default_segments_goes_with_the_last_of_them";
    if child_task().is_none() {
        if can_unshare(&["-m"]) {
            let mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$@\"";
            let before = ["unshare", "-m", "sh", "-c", mount, "sh"];
            assert_success(&run_alone(TEST, "own /dev/shm", &before));
        }
        return;
    }
    let shared_memory = Path::new("/dev/shm");
    let path = SegmentPath::default_for_user();
    let other = SegmentPath::new(path.as_path().with_file_name("other")).unwrap();
    let parent = path.as_path().parent().unwrap();
    let directory = SegmentDir::create_or_open(&path).unwrap();
    assert_eq!((mode(parent), mode(path.as_path())), (0o700, 0o700));
    directory.allow_other_users().unwrap();
    assert_eq!((mode(parent), mode(path.as_path())), (0o711, 0o711));
    SegmentDir::create_or_open(&other).unwrap();
    destroy(&path).unwrap();
    assert_eq!(listing(parent), ["other"]);
    destroy(&other).unwrap();
    assert!(listing(shared_memory).is_empty());
}

// r[verify segment.unfinished]
#[test]
fn what_a_host_left_that_died_while_making_it_is_cleared_away() {
    // Dead before the pool had room, before it had its header, and before control had its magic.
    for step in 0..3 {
        let scratch = Scratch::on_tmpfs();
        let elsewhere = scratch.above.path().join("pool elsewhere");
        let (directory, lock) = scratch.locked();
        assert_eq!(directory.remove_unfinished(&lock).unwrap().files, 0);
        let pool = directory.create_pool(Some(&elsewhere), ID).unwrap();
        if step > 0 {
            pool.backing.reserve(&pool.file, 0, 8192).unwrap();
        }
        if step > 1 {
            pool.write_header(ID).unwrap();
            drop(directory.create_file(AreaFile::Control).unwrap());
        }
        assert_eq!(directory.contents().unwrap(), Contents::Unfinished);
        let removed = directory.remove_unfinished(&lock).unwrap();
        let files = if step > 1 { 3 } else { 2 };
        assert_eq!(removed, Destroyed { files, pool_left: None });
        assert_eq!(directory.contents().unwrap(), Contents::Empty);
        assert!(!elsewhere.exists());
        directory.create_pool(Some(&elsewhere), ID).unwrap();
    }
}

// r[verify segment.unfinished]
#[test]
fn a_file_that_an_unfinished_segment_only_names_stays() {
    let scratch = Scratch::on_tmpfs();
    let elsewhere = scratch.above.path().join("photos.tar");
    std::fs::write(&elsewhere, b"precious").unwrap();
    crate::segment::tests::set_mode(&elsewhere, 0o600);
    let (directory, lock) = scratch.locked();
    // As left by a crash between the name and the file.
    std::fs::write(scratch.file(POOL_PATH), format!("{}\n{ID:032x}\n", elsewhere.display()))
        .unwrap();
    crate::segment::tests::set_mode(&scratch.file(POOL_PATH), 0o600);
    let removed = directory.remove_unfinished(&lock).unwrap();
    assert_eq!(removed, Destroyed { files: 1, pool_left: Some(elsewhere.clone()) });
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"precious");
}

// r[verify segment.unfinished]
#[test]
fn a_finished_segment_is_not_cleared_away() {
    let scratch = Scratch::on_tmpfs();
    dead_segment(&scratch, None);
    let (directory, lock) = scratch.locked();
    let before = everything(scratch.path.as_path());
    directory.remove_unfinished(&lock).unwrap_err();
    assert_eq!(everything(scratch.path.as_path()), before);
}
