#![expect(unsafe_code, reason = "only fork shows what a forked child may do")]
//! A guest handle in a forked child.

use super::scripted::{UNIT, attached, soon};
use crate::guest::{CallError, DetachError, Forked, LeaseError, ReserveError};
use crate::wire::kind;

/// Runs `answer` in a forked child and returns what it exits with.
fn in_child(answer: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `answer`, which takes no lock of another thread, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
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

// r[verify guest.fork]
// r[verify crash.t6]
#[test]
fn in_a_forked_child_every_method_refuses_and_every_drop_does_nothing() {
    let (guest, mut host) = attached();
    let slots = [1, 2, 3].map(|number| host.areas.grant(number, UNIT * u64::from(number), 64));
    host.areas.publish(slots[0], 64);
    host.send_grants(kind::GRANTS, 0, 0, &slots[1..]);
    let guard = guest.lease(slots[0]).unwrap().unwrap();
    let reservation = guest.try_reserve(64).unwrap();
    let mut pending = guest.submit_with(40, 0, |_| {}, soon()).unwrap();
    host.next();
    let mut held = Some((reservation, guard, guest));
    let code = in_child(|| {
        // The child's own copy of all of it: the parent's stays.
        let Some((reservation, guard, guest)) = held.take() else { return 99 };
        let answers = [
            guest.call(40, b"", soon()).err() == Some(CallError::Forked(Forked)),
            guest.call_into(40, 0, |_| {}, &mut [], soon()) == Err(CallError::Forked(Forked)),
            guest.ping(soon()).err() == Some(CallError::Forked(Forked)),
            guest.try_submit_with(40, 0, |_| {}).err() == Some(CallError::Forked(Forked)),
            guest.reserve(1, soon()).err() == Some(ReserveError::Forked(Forked)),
            guest.try_reserve(1).err() == Some(ReserveError::Forked(Forked)),
            guest.lease(slots[0]).err() == Some(LeaseError::Forked(Forked)),
            guest.detach(soon()) == Err(DetachError::Forked(Forked)),
            guest.reattach(soon()).is_err(),
            {
                guest.note_use(slots[0]);
                true
            },
            guest.end().is_none() && !guest.is_host_gone(),
            pending.try_wait().err() == Some(CallError::Forked(Forked)),
            guard.clone().slot() == slots[0],
        ];
        drop((reservation, guard, guest));
        answers.iter().position(|right| !right).map_or(0, |index| index as i32 + 1)
    });
    assert_eq!(code, 0, "the number of the first answer that was wrong");
    assert!(host.is_idle(), "neither a goodbye nor a slot given back");
    assert_eq!(host.leased(), [slots[0]]);
    assert_eq!(host.noted(), []);
    let Some((reservation, guard, guest)) = held else { panic!("the child took the parent's") };
    assert!(guest.try_reserve(64).is_ok(), "the other slot is in stock");
    assert_eq!((reservation.slot(), guard.len()), (slots[2], 64));
}

#[test]
fn a_child_that_ends_changes_nothing_for_its_parent() {
    let (guest, mut host) = attached();
    let slot = host.areas.grant(1, UNIT, 64);
    host.areas.publish(slot, 64);
    let mut held = Some(guest.lease(slot).unwrap().unwrap());
    let mut handle = Some(guest);
    let code = in_child(|| {
        // The last of everything, in the child's memory: Drop of the whole attach runs.
        drop((held.take(), handle.take()));
        0
    });
    assert_eq!(code, 0);
    let (Some(guest), Some(guard)) = (handle, held) else { panic!("the child took the parent's") };
    assert!(host.is_idle(), "no goodbye");
    assert_eq!(host.leased(), [slot]);
    assert!(!host.socket.is_closed().unwrap());
    let pending = guest.submit_with(40, 0, |_| {}, soon()).unwrap();
    host.echo();
    pending.wait(soon()).unwrap();
    assert_eq!(guard.len(), 64);
}
