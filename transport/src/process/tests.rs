use super::*;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A process that waits for its standard input to end.
fn waiting_child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn pidfd_of(child: &Child) -> Pidfd {
    Pidfd::of_process(child.id(), start_time_ticks(child.id()).unwrap()).unwrap()
}

// r[verify process.death]
#[test]
fn a_process_is_dead_once_killed_and_before_it_is_reaped() {
    let mut child = waiting_child();
    let pidfd = pidfd_of(&child);
    assert!(!pidfd.is_dead().unwrap());
    assert!(!pidfd.wait(Instant::now()).unwrap());
    assert_eq!(pidfd.pid().unwrap(), Some(child.id()));

    pidfd.send_signal(Signal::STOP).unwrap();
    assert!(!pidfd.is_dead().unwrap(), "stopped is not dead");
    pidfd.send_signal(Signal::KILL).unwrap();
    assert!(pidfd.wait(soon()).unwrap());
    // A zombie until it is waited for: dead, though its id is still taken.
    assert!(pidfd.is_dead().unwrap());
    assert_eq!(pidfd.pid().unwrap(), Some(child.id()));

    child.wait().unwrap();
    assert!(pidfd.is_dead().unwrap());
    assert_eq!(pidfd.pid().unwrap(), None);
    pidfd.send_signal(Signal::KILL).unwrap();
}

// r[verify process.death]
#[test]
fn a_process_that_ends_by_itself_is_dead() {
    let mut child = waiting_child();
    let pidfd = pidfd_of(&child);
    drop(child.stdin.take());
    assert!(pidfd.wait(soon()).unwrap());
    child.wait().unwrap();
}

// r[verify process.pidfd-checked]
#[test]
fn this_process_lives_and_its_pidfd_is_taken_from_elsewhere() {
    let own = Pidfd::of_self().unwrap();
    assert!(!own.is_dead().unwrap());
    let taken = Pidfd::from_fd(own.into_fd()).unwrap();
    assert_eq!(taken.pid().unwrap(), Some(std::process::id()));
}

// r[verify process.pidfd-checked]
#[test]
fn what_is_no_pidfd_is_refused() {
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    assert!(matches!(Pidfd::from_fd(file), Err(ProcessError::NotAPidfd { .. })));
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(Pidfd::from_fd(one.into()), Err(ProcessError::NotAPidfd { .. })));
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    assert!(matches!(Pidfd::from_fd(eventfd), Err(ProcessError::NotAPidfd { .. })));
}

// r[verify process.pidfd-checked]
#[test]
fn a_pidfd_of_one_thread_is_refused() {
    // PIDFD_THREAD is O_EXCL (Linux 6.9).
    let flags = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());
    let thread = match rustix::process::pidfd_open(rustix::process::getpid(), flags) {
        Ok(thread) => thread,
        Err(errno) => return println!("skipped: no pidfd of a thread here: {errno}"),
    };
    let refused = Pidfd::from_fd(thread).unwrap_err();
    assert_eq!(refused, ProcessError::NotAPidfd { found: "a pidfd of one thread" });
}

// r[verify process.reused-id]
#[test]
fn another_start_time_is_another_process() {
    let pid = std::process::id();
    let found = start_time_ticks(pid).unwrap();
    assert_ne!(found, 0);
    let pidfd = Pidfd::of_process(pid, found).unwrap();
    assert_eq!(pidfd.pid().unwrap(), Some(pid));
    let other = Pidfd::of_process(pid, found + 1).unwrap_err();
    assert_eq!(other, ProcessError::OtherProcess { pid, found, expected: found + 1 });
}

// r[verify process.reused-id]
#[test]
fn a_process_that_is_gone_is_not_found() {
    let mut child = waiting_child();
    let pid = child.id();
    let started = start_time_ticks(pid).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Pidfd::of_process(pid, started).unwrap_err(), ProcessError::NoProcess { pid });
    assert_eq!(start_time_ticks(pid).unwrap_err(), ProcessError::NoProcess { pid });
    for pid in [0, u32::MAX] {
        assert_eq!(Pidfd::of_process(pid, 1).unwrap_err(), ProcessError::NoProcess { pid });
    }
}

// r[verify process.reused-id]
#[test]
fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
    let fields = (4..=30).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(parse_start_time(&format!("77 (a) b ) (c) R {fields}\n")), Some(22));
    assert_eq!(parse_start_time("77 (name) R 1 2 3"), None);
    assert_eq!(parse_start_time(""), None);
}

#[test]
fn the_boot_id_is_stable_and_not_zero() {
    let id = boot_id().unwrap();
    assert_ne!(id, 0);
    assert_eq!(boot_id().unwrap(), id);
}
