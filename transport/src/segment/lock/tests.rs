use super::*;
use crate::segment::tests::{Scratch, child_task, command_alone};
use crate::segment::{AreaFile, SegmentPath, SegmentStatus};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::Stdio;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

// r[verify segment.lock]
#[test]
fn a_second_host_is_refused_with_the_process_of_the_first() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    let refused = SegmentLock::try_lock(&directory).unwrap_err();
    let pid = Some(std::process::id());
    let path = scratch.path.as_path().to_owned();
    assert_eq!(refused, LockError::AlreadyHeld { path, pid });
    assert!(refused.to_string().ends_with(&format!("(process {})", std::process::id())));
    let waited = SegmentLock::lock(&directory, Instant::now() + Duration::from_millis(20));
    assert!(matches!(waited, Err(LockError::AlreadyHeld { .. })));
    drop(lock);
    SegmentLock::try_lock(&directory).unwrap();
}

// r[verify segment.lock]
#[test]
fn a_lock_whose_file_was_replaced_is_taken_again() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    // As `destroy` does: the name goes while the lock is still held.
    std::fs::remove_file(scratch.file(LOCK)).unwrap();
    assert!(!is_current(&directory, &lock.file).unwrap());
    let other = SegmentLock::try_lock(&directory).unwrap();
    assert!(is_current(&directory, &other.file).unwrap());
    assert!(!is_current(&directory, &lock.file).unwrap(), "another file of the same name");
    // Opened before the name went, locked after its holder let go.
    let stale = open_lock(&directory).unwrap();
    std::fs::remove_file(scratch.file(LOCK)).unwrap();
    drop(other);
    assert!(SegmentLock::try_lock_file(&directory, stale).unwrap().is_none());
    let other = SegmentLock::try_lock(&directory).unwrap();
    assert!(is_current(&directory, &other.file).unwrap());
    drop(lock);
    SegmentLock::try_lock(&directory).unwrap_err();
}

// r[verify segment.lock]
#[test]
fn a_removed_directory_is_told() {
    let scratch = Scratch::new();
    let directory = crate::segment::SegmentDir::create_or_open(&scratch.path).unwrap();
    std::fs::remove_dir(scratch.path.as_path()).unwrap();
    let gone = SegmentLock::try_lock(&directory).unwrap_err();
    assert_eq!(gone, LockError::DirectoryGone { path: scratch.path.as_path().to_owned() });
}

// r[verify segment.lock]
#[test]
fn what_is_no_lock_file_is_refused() {
    let scratch = Scratch::new();
    let directory = crate::segment::SegmentDir::create_or_open(&scratch.path).unwrap();
    std::os::unix::fs::symlink("/dev/null", scratch.file(LOCK)).unwrap();
    SegmentLock::try_lock(&directory).unwrap_err();
    directory.classify().unwrap_err();
}

// r[verify segment.lock]
#[test]
fn the_lock_dies_with_its_holder() {
    const TEST: &str = "segment::lock::tests::the_lock_dies_with_its_holder";
    if let Some(path) = child_task() {
        let directory = SegmentDir::open(&SegmentPath::new(path).unwrap()).unwrap();
        let _lock = SegmentLock::try_lock(&directory).unwrap();
        // A program that the host starts and that outlives it does not get the lock.
        let mut program = std::process::Command::new("cat").stdout(Stdio::null()).spawn().unwrap();
        println!("\nheld");
        std::thread::sleep(Duration::from_secs(60));
        program.wait().unwrap();
        return;
    }
    let scratch = Scratch::new();
    let directory = crate::segment::SegmentDir::create_or_open(&scratch.path).unwrap();
    drop(directory.create_file(AreaFile::Control).unwrap());
    let mut child = command_alone(TEST, &scratch.path.to_string(), &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let program_input = child.stdin.take();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"));
    let pid = Some(child.id());
    assert_eq!(directory.classify().unwrap(), SegmentStatus::Live { pid });
    let refused = SegmentLock::try_lock(&directory).unwrap_err();
    assert!(matches!(refused, LockError::AlreadyHeld { pid: found, .. } if found == pid));
    child.kill().unwrap();
    SegmentLock::lock(&directory, soon()).unwrap();
    drop(program_input);
    child.wait().unwrap();
}

// r[verify segment.lock]
#[test]
fn a_copy_in_another_process_releases_nothing() {
    let scratch = Scratch::new();
    let (directory, lock) = scratch.locked();
    // What a forked child has: the same open file, and a holder that is not itself.
    let copy: OwnedFd = lock.file.try_clone().unwrap();
    drop(SegmentLock { file: copy, holder: rustix::process::Pid::INIT });
    SegmentLock::try_lock(&directory).unwrap_err();
    drop(lock);
    SegmentLock::try_lock(&directory).unwrap();
}

// r[verify segment.lock]
#[test]
fn of_many_that_lock_and_remove_at_once_one_holds_it() {
    let scratch = Scratch::new();
    let directory = crate::segment::SegmentDir::create_or_open(&scratch.path).unwrap();
    let holders = std::sync::atomic::AtomicU32::new(0);
    let ordering = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let Ok(lock) = SegmentLock::try_lock(&directory) else { continue };
                    assert_eq!(holders.fetch_add(1, ordering), 0);
                    let path = scratch.file(LOCK);
                    assert_eq!(holders.fetch_sub(1, ordering), 1);
                    // As `destroy`: the name first.
                    let _ = std::fs::remove_file(path);
                    drop(lock);
                }
            });
        }
    });
}
