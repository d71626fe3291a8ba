use super::*;
use crate::segment::tests::{OTHER_USER, Scratch, as_other_user, listing, mode, set_mode};
use std::os::unix::fs::{chown, symlink};

fn open(path: &Path) -> Result<SegmentDir, DirError> {
    SegmentDir::open(&SegmentPath::new(path).unwrap())
}

fn create(path: &Path) -> Result<SegmentDir, DirError> {
    SegmentDir::create_or_open(&SegmentPath::new(path).unwrap())
}

// r[verify segment.parent]
// r[verify segment.directory]
#[test]
fn what_is_missing_is_made_for_this_user_alone() {
    let scratch = Scratch::new();
    let path = scratch.above.path().join("one/two/segment");
    create(&path).unwrap();
    for directory in ["one", "one/two", "one/two/segment"] {
        assert_eq!(mode(&scratch.above.path().join(directory)), 0o700, "{directory}");
    }
    open(&path).unwrap();
    create(&path).unwrap();
}

// r[verify segment.directory]
#[test]
fn opening_makes_nothing() {
    let scratch = Scratch::new();
    for missing in ["segment", "one/segment"] {
        let path = scratch.above.path().join(missing);
        assert_eq!(open(&path).unwrap_err(), DirError::NotFound { path });
    }
    assert!(listing(scratch.above.path()).is_empty());
}

// r[verify segment.parent]
#[test]
fn a_parent_that_is_a_symbolic_link_is_refused() {
    let scratch = Scratch::new();
    let (real, link) = (scratch.above.path().join("real"), scratch.above.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let refused = create(&link.join("segment")).unwrap_err();
    assert_eq!(refused, DirError::NotADirectory { path: link.clone(), found: FileKind::Symlink });
    create(&link.join("one/segment")).unwrap_err();
    assert!(listing(&real).is_empty());
    create(&real.join("segment")).unwrap();
    assert_eq!(open(&link.join("segment")).unwrap_err(), refused);
}

// r[verify segment.directory]
#[test]
fn what_is_no_directory_is_refused_with_what_it_is() {
    let scratch = Scratch::new();
    let (file, link) = (scratch.above.path().join("file"), scratch.above.path().join("link"));
    std::fs::write(&file, b"not yours").unwrap();
    symlink(scratch.above.path(), &link).unwrap();
    for (path, found) in [(file, FileKind::Regular), (link, FileKind::Symlink)] {
        let refused = DirError::NotADirectory { path: path.clone(), found };
        assert_eq!(create(&path).unwrap_err(), refused);
        assert_eq!(open(&path).unwrap_err(), refused);
    }
    let below = scratch.above.path().join("file/segment");
    assert!(matches!(create(&below), Err(DirError::NotADirectory { .. })));
}

// r[verify segment.directory]
#[test]
fn an_empty_directory_is_taken_over_but_not_one_that_others_may_read() {
    let scratch = Scratch::new();
    let path = scratch.path.as_path();
    std::fs::create_dir(path).unwrap();
    set_mode(path, 0o755);
    let found = 0o755;
    assert_eq!(
        SegmentDir::open(&scratch.path).unwrap_err(),
        DirError::WrongMode { path: path.to_owned(), found }
    );
    create(path).unwrap();
    assert_eq!(mode(path), 0o700);

    std::fs::write(scratch.file("anything"), b"").unwrap();
    set_mode(path, 0o755);
    let refused = create(path).unwrap_err();
    assert_eq!(refused, DirError::WrongMode { path: path.to_owned(), found });
    assert!(refused.to_string().contains("mode 0755, expected 0700 or 0711"), "{refused}");
    assert_eq!(mode(path), 0o755, "left as it was");
}

// r[verify segment.parent]
// r[verify segment.directory]
#[test]
fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give directories away");
    }
    let scratch = Scratch::new();
    let theirs = scratch.above.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(OTHER_USER), None).unwrap();
    let wrong = DirError::WrongOwner { path: theirs.clone(), found: OTHER_USER, expected: 0 };
    assert_eq!(create(&theirs).unwrap_err(), wrong);
    assert_eq!(open(&theirs).unwrap_err(), wrong);
    assert_eq!(create(&theirs.join("segment")).unwrap_err(), wrong);
    assert!(listing(&theirs).is_empty());
}

// r[verify segment.directory]
#[test]
fn another_user_can_neither_open_nor_enter_it() {
    let scratch = Scratch::new();
    set_mode(scratch.above.path(), 0o711);
    let directory = SegmentDir::create_or_open(&scratch.path).unwrap();
    std::fs::write(scratch.file("control"), b"secret").unwrap();
    let seen = as_other_user(|| {
        let file = std::fs::read(scratch.file("control")).map_err(|error| error.kind());
        (SegmentDir::open(&scratch.path).unwrap_err(), file)
    });
    let Some((refused, file)) = seen else { return };
    let expected = rustix::process::geteuid().as_raw();
    assert!(
        matches!(refused, DirError::WrongOwner { found, .. } if found == expected),
        "{refused}"
    );
    assert_eq!(file, Err(std::io::ErrorKind::PermissionDenied));
    drop(directory);
}

// r[verify segment.shared]
#[test]
fn other_users_may_pass_through_and_read_nothing() {
    let scratch = Scratch::new();
    set_mode(scratch.above.path(), 0o711);
    let (directory, _lock) = scratch.locked();
    drop(directory.create_file(crate::segment::AreaFile::Control).unwrap());
    directory.allow_other_users().unwrap();
    assert_eq!(mode(scratch.path.as_path()), 0o711);
    SegmentDir::open(&scratch.path).unwrap();
    let seen = as_other_user(|| {
        let read = std::fs::read(scratch.file("control")).map(|_| ()).map_err(|e| e.kind());
        let listed = std::fs::read_dir(scratch.path.as_path()).map(|_| ()).map_err(|e| e.kind());
        (std::fs::metadata(scratch.file("control")).is_ok(), read, listed)
    });
    let Some((reached, read, listed)) = seen else { return };
    let denied = Err(std::io::ErrorKind::PermissionDenied);
    assert_eq!((reached, read, listed), (true, denied, denied));
}

// r[verify segment.parent]
#[test]
fn many_hosts_at_once_make_one_directory() {
    let scratch = Scratch::new();
    let path = SegmentPath::new(scratch.above.path().join("one/two/segment")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| SegmentDir::create_or_open(&path).unwrap());
        }
    });
}
