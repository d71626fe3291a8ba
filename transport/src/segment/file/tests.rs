use super::*;
use crate::segment::tests::{OTHER_USER, Scratch, mode, set_mode};
use rustix::fs::{FlockOperation, SeekFrom};
use rustix::io::FdFlags;
use std::os::unix::fs::{chown, symlink};

const FILES: [AreaFile; 4] =
    [AreaFile::Control, AreaFile::Pool, AreaFile::Rings(1), AreaFile::Leases(u32::MAX)];

// r[verify segment.files]
#[test]
fn files_are_made_once_for_this_user_alone() {
    let scratch = Scratch::new();
    let (directory, _lock) = scratch.locked();
    for file in FILES {
        let missing = directory.open_file(file, Access::ReadWrite).unwrap_err();
        assert!(matches!(missing, FileError::NotFound { .. }), "{missing}");
        let made = directory.create_file(file).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&made).unwrap(), FdFlags::CLOEXEC);
        let path = scratch.file(&file.to_string());
        assert_eq!(mode(&path), 0o600);
        assert_eq!(directory.create_file(file).unwrap_err(), FileError::Exists { path });
        rustix::io::pwrite(&made, b"bytes", 0).unwrap();
        let opened = directory.open_file(file, Access::ReadOnly).unwrap();
        assert_eq!(rustix::io::fcntl_getfd(&opened).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(rustix::io::pwrite(&opened, b"other", 0), Err(Errno::BADF));
        let mut bytes = [0; 5];
        rustix::io::pread(&opened, &mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"bytes");
        assert!(directory.remove_file(file).unwrap());
        assert!(!directory.remove_file(file).unwrap());
    }
    assert_eq!(mode(&scratch.file("rings")), 0o700);
}

// r[verify segment.files]
#[test]
fn a_symbolic_link_is_not_followed() {
    let scratch = Scratch::new();
    let (directory, _lock) = scratch.locked();
    let target = scratch.above.path().join("target");
    std::fs::write(&target, b"not yours").unwrap();
    set_mode(&target, 0o600);
    let path = scratch.file("control");
    symlink(&target, &path).unwrap();
    let refused = directory.open_file(AreaFile::Control, Access::ReadWrite).unwrap_err();
    assert_eq!(refused, FileError::NotAFile { path: path.clone(), found: FileKind::Symlink });
    let exists = directory.create_file(AreaFile::Control).unwrap_err();
    assert_eq!(exists, FileError::Exists { path });
    // Nor where a directory of files should be.
    let elsewhere = scratch.above.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("7"), b"not yours").unwrap();
    symlink(&elsewhere, scratch.file("rings")).unwrap();
    directory.create_file(AreaFile::Rings(8)).unwrap_err();
    directory.open_file(AreaFile::Rings(7), Access::ReadOnly).unwrap_err();
    directory.remove_file(AreaFile::Rings(7)).unwrap_err();
    directory.rings_found().unwrap_err();
    assert_eq!(crate::segment::tests::listing(&elsewhere), ["7"]);
}

// r[verify segment.files]
#[test]
fn what_is_no_ordinary_file_is_refused_without_waiting() {
    let scratch = Scratch::new();
    let (directory, _lock) = scratch.locked();
    let path = scratch.file("control");
    let refuse = |access: Access, kind: FileKind| {
        let refused = directory.open_file(AreaFile::Control, access).unwrap_err();
        assert_eq!(refused, FileError::NotAFile { path: path.clone(), found: kind });
    };
    // A pipe that nobody writes would wait for a writer.
    let fifo = rustix::fs::FileType::Fifo;
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&directory, CONTROL, fifo, mode, 0).unwrap();
    refuse(Access::ReadOnly, FileKind::Fifo);
    refuse(Access::ReadWrite, FileKind::Fifo);
    std::fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    refuse(Access::ReadWrite, FileKind::Socket);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refuse(Access::ReadOnly, FileKind::Directory);
    refuse(Access::ReadWrite, FileKind::Directory);
}

// r[verify segment.files]
#[test]
fn a_file_that_others_own_or_may_touch_is_refused() {
    let scratch = Scratch::new();
    let (directory, _lock) = scratch.locked();
    drop(directory.create_file(AreaFile::Pool).unwrap());
    let path = scratch.file("pool");
    set_mode(&path, 0o640);
    let refused = directory.open_file(AreaFile::Pool, Access::ReadOnly).unwrap_err();
    assert_eq!(refused, FileError::WrongMode { path: path.clone(), found: 0o640 });
    assert!(refused.to_string().ends_with("has mode 0640, expected 0600"), "{refused}");
    set_mode(&path, 0o600);
    if !rustix::process::geteuid().is_root() {
        return println!("skipped the rest: only root can give files away");
    }
    chown(&path, Some(OTHER_USER), None).unwrap();
    let refused = directory.open_file(AreaFile::Pool, Access::ReadOnly).unwrap_err();
    assert_eq!(refused, FileError::WrongOwner { path, found: OTHER_USER, expected: 0 });
}

// r[verify segment.files]
#[test]
fn rings_and_leases_of_earlier_lives_are_found() {
    let scratch = Scratch::new();
    let (directory, _lock) = scratch.locked();
    assert!(directory.rings_found().unwrap().is_empty());
    for serial in [10, 9, 4_000_000_000] {
        drop(directory.create_file(AreaFile::Rings(serial)).unwrap());
    }
    drop(directory.create_file(AreaFile::Leases(3)).unwrap());
    for other in ["0", "007", "-1", "4294967296", "9.new"] {
        std::fs::write(scratch.file("rings").join(other), b"").unwrap();
    }
    assert_eq!(directory.rings_found().unwrap(), [9, 10, 4_000_000_000]);
    assert_eq!(directory.leases_found().unwrap(), [3]);
}

// r[verify segment.reopen]
#[test]
fn a_file_opened_again_shares_neither_flags_nor_offset_nor_locks() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let own = directory.create_file(AreaFile::Control).unwrap();
    rustix::io::write(&own, b"twelve bytes").unwrap();
    let flags = rustix::fs::fcntl_getfl(&own).unwrap();
    let theirs = reopen(&own, Access::ReadWrite).unwrap();
    assert_eq!(rustix::io::fcntl_getfd(&theirs).unwrap(), FdFlags::CLOEXEC);

    rustix::fs::fcntl_setfl(&theirs, OFlags::APPEND).unwrap();
    assert_eq!(rustix::fs::fcntl_getfl(&own).unwrap(), flags);
    rustix::fs::seek(&theirs, SeekFrom::Start(3)).unwrap();
    assert_eq!(rustix::fs::tell(&own).unwrap(), 12);
    rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive).unwrap();
    let locked = rustix::fs::flock(&theirs, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(locked, Err(Errno::WOULDBLOCK), "another description is another owner");
    drop(theirs);
}

// r[verify segment.reopen]
#[test]
fn a_file_opened_again_for_reading_cannot_be_written() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let own = directory.create_file(AreaFile::Control).unwrap();
    rustix::io::pwrite(&own, b"bytes", 0).unwrap();
    let theirs = reopen(&own, Access::ReadOnly).unwrap();
    assert_eq!(rustix::io::pwrite(&theirs, b"other", 0), Err(Errno::BADF));
    rustix::fs::ftruncate(&theirs, 0).unwrap_err();
    onecopy_shm::Mapping::map(&theirs, 4096, Access::ReadWrite).unwrap_err();
    onecopy_shm::Mapping::map(&theirs, 4096, Access::ReadOnly).unwrap();
    // It leads to the file, not to the name.
    directory.remove_file(AreaFile::Control).unwrap();
    reopen(&own, Access::ReadOnly).unwrap();
}
