#![expect(unsafe_code, reason = "forbids its thread all system calls")]
//! No system call while both sides are busy: a thread that may make none does its work.

use super::support::{ECHO, Serving, host_options, place, publish, soon};
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::host::HostOptions;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tells this program, when it runs once more, where the segment is.
const SEGMENT: &str = "ONECOPY_TEST_SEGMENT";
/// What a guest that got through exits with.
const DONE: i32 = 42;
const CALLS: u32 = 2000;

/// From here on every system call of this thread but the one that ends the process kills it.
fn forbid_system_calls() {
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let allowed = libc::SYS_exit_group as u32;
    let mut program = [
        load(0),
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: allowed },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: changes nothing but what this thread may gain later.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(no_new, 0);
    // SAFETY: `filter` points to a program of four instructions that lives during the call.
    let set =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(set, 0, "seccomp: {}", std::io::Error::last_os_error());
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process at once; nothing after it runs.
    unsafe { libc::_exit(code) }
}

fn work(guest: &Guest, slot: onecopy_shm::SlotRef) -> Option<()> {
    // Both sides spin: with few cores, and other work on them, that takes its time.
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut target = [0; 64];
    for call in 0..CALLS {
        let word = u64::from(call).to_le_bytes();
        let fill = |bytes: &mut [u8]| bytes[..8].copy_from_slice(&word);
        let length = guest.call_into(ECHO, 40, fill, &mut target, deadline).ok()?;
        let guard = guest.lease(slot).ok()??;
        let mut reservation = guest.try_reserve(4096).ok()?;
        reservation[0] = guard[0];
        if length != 40 || target[..8] != word {
            return None;
        }
    }
    Some(())
}

// r[verify guest.polling]
#[test]
fn a_polling_guest_makes_no_system_call() {
    if let Ok(segment) = std::env::var(SEGMENT) {
        let options = GuestOptions { polling: true, ..GuestOptions::at(segment) };
        let guest = Guest::attach(options).unwrap();
        let slot = publish(&guest, b"leased");
        drop(guest.reserve(4096, soon()).unwrap());
        // The first lease of a process takes memory from the heap, which may have to ask for more.
        drop(guest.lease(slot).unwrap());
        forbid_system_calls();
        end(if work(&guest, slot).is_some() { DONE } else { 1 });
    }
    let (_base, segment) = place();
    let host = Serving::start(HostOptions { polling: true, ..host_options(&segment) });
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "polling::a_polling_guest_makes_no_system_call", "--nocapture"])
        .env(SEGMENT, &segment)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(DONE), "{status}");
    host.assert_clean();
}
