use std::io;

use super::ForkGuard;

/// Runs `answer` in a forked child and returns what it exits with.
#[expect(unsafe_code, reason = "only fork shows what a forked child sees")]
pub(crate) fn in_child(answer: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls only `answer`, which takes no lock, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        let code = answer();
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for a child of our own; `status` is writable.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child);
    assert!(libc::WIFEXITED(status), "the child died of {status}");
    libc::WEXITSTATUS(status)
}

// r[verify memory.fork-guard]
#[test]
fn a_forked_child_is_told_apart() {
    let guard = ForkGuard::new().unwrap();
    assert!(guard.is_this_process());
    assert_eq!(in_child(|| i32::from(guard.is_this_process())), 0);
    assert!(guard.is_this_process());
}

#[test]
fn a_child_that_makes_its_own_guard_still_is_not_its_parent() {
    let guard = ForkGuard::new().unwrap();
    let code = in_child(|| {
        let Ok(own) = ForkGuard::new() else { return 9 };
        i32::from(own.is_this_process()) + 2 * i32::from(guard.is_this_process())
    });
    assert_eq!(code, 1, "1: its own guard knows it, the parent's does not");
}

#[test]
fn a_grandchild_is_neither() {
    let guard = ForkGuard::new().unwrap();
    let code = in_child(|| {
        let Ok(own) = ForkGuard::new() else { return 9 };
        in_child(|| {
            let Ok(grandchild) = ForkGuard::new() else { return 9 };
            i32::from(grandchild.is_this_process())
                + 2 * i32::from(own.is_this_process())
                + 4 * i32::from(guard.is_this_process())
        })
    });
    assert_eq!(code, 1);
}

#[test]
fn guards_of_one_process_agree() {
    let first = ForkGuard::new().unwrap();
    let second = ForkGuard::new().unwrap();
    assert!(first.is_this_process() && second.is_this_process());
    assert!(std::thread::spawn(move || first.is_this_process()).join().unwrap());
}
