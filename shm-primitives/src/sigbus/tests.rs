#![expect(unsafe_code, reason = "maps no file of its own, but installs handlers and sends signals")]

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ENTRIES, ptr, tears};
use crate::fork::tests::in_child;
use crate::mapping::{Access, Mapping};

const PAGE: u64 = 4096;

fn file_of(pages: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(pages * PAGE).unwrap();
    file
}

fn map(file: &File, pages: u64, access: Access) -> Arc<Mapping> {
    Mapping::map(file, pages * PAGE, access).unwrap()
}

fn word(mapping: &Arc<Mapping>, page: u64) -> crate::Word {
    mapping.region(0, mapping.size_bytes()).unwrap().word(page * PAGE + 8).unwrap()
}

// r[verify memory.guard]
#[test]
fn a_page_that_was_cut_reads_as_zeroes_and_is_told() {
    let file = file_of(4);
    let mapping = map(&file, 4, Access::ReadWrite);
    let other = map(&file, 4, Access::ReadOnly);
    mapping.guard().unwrap();
    mapping.guard().unwrap();
    other.guard().unwrap();
    for page in 0..4 {
        word(&mapping, page).store(page + 1, Ordering::Relaxed);
    }
    assert!(!mapping.is_torn());
    let before = tears();

    file.set_len(2 * PAGE).unwrap();
    assert_eq!(word(&mapping, 1).load(Ordering::Relaxed), 2, "it was not cut");
    assert!(!mapping.is_torn(), "nothing that was lost has been touched");
    assert_eq!(word(&mapping, 3).load(Ordering::Relaxed), 0);
    assert!(mapping.is_torn());
    assert!(tears() > before);
    assert!(!other.is_torn(), "each mapping for itself");
    // A store there faults as a load does, and stays here.
    word(&mapping, 2).store(77, Ordering::Relaxed);
    assert_eq!(word(&mapping, 2).load(Ordering::Relaxed), 77);

    // What was put in place stays, also when the file is long again.
    file.set_len(4 * PAGE).unwrap();
    let fresh = map(&file, 4, Access::ReadOnly);
    let fresh = fresh.region(0, 4 * PAGE).unwrap().read_word(2 * PAGE + 8).unwrap();
    assert_eq!(fresh.load(Ordering::Relaxed), 0);
    assert_eq!(word(&mapping, 2).load(Ordering::Relaxed), 77);
    assert_eq!(word(&mapping, 0).load(Ordering::Relaxed), 1);
    assert!(mapping.is_torn());
}

// r[verify memory.guard]
#[test]
fn a_guard_is_given_back_with_its_mapping() {
    let taken = || ENTRIES.iter().filter(|entry| entry.is_taken()).count();
    let file = file_of(1);
    // More than there are places: each must come back.
    for _ in 0..super::GUARDED_MAX / 64 {
        let mappings: Vec<_> = (0..65).map(|_| map(&file, 1, Access::ReadOnly)).collect();
        mappings.iter().for_each(|mapping| mapping.guard().unwrap());
        assert!(mappings.iter().all(|mapping| !mapping.is_torn()));
    }
    // Other tests have some of their own.
    assert!(taken() < 64, "{} are taken", taken());
}

// r[verify memory.guard]
#[test]
fn memory_of_the_heap_needs_no_guard() {
    let mapping = Mapping::heap(64).unwrap();
    mapping.guard().unwrap();
    assert!(!mapping.is_torn());
}

// r[verify memory.guard-registry]
#[test]
fn a_forked_child_guards_for_itself() {
    let file = file_of(2);
    let inherited = map(&file, 2, Access::ReadOnly);
    inherited.guard().unwrap();
    let code = in_child(|| {
        let own = map(&file, 2, Access::ReadOnly);
        let Ok(()) = own.guard() else { return 9 };
        let Ok(()) = file.set_len(PAGE) else { return 8 };
        let region = own.region(0, 2 * PAGE).unwrap();
        let zero = region.read_word(PAGE).unwrap().load(Ordering::Relaxed) == 0;
        // Gives nothing back that is the parent's.
        drop(inherited.clone());
        i32::from(zero) + 2 * i32::from(own.is_torn()) + 4 * i32::from(inherited.is_torn())
    });
    assert_eq!(code, 3);
    assert!(!inherited.is_torn());
}

/// What a process of its own is to do; without it the test below does nothing.
const ROLE: &str = "ONECOPY_SIGBUS_ROLE";

/// The signal that a process of this role ended with, or its exit code below 0.
fn ends_with(role: &str) -> i32 {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sigbus::tests::a_process_of_its_own", "--nocapture"])
        .env(ROLE, role)
        .status()
        .unwrap();
    status.signal().unwrap_or_else(|| -status.code().unwrap())
}

// r[verify memory.guard-chain]
#[test]
fn what_is_not_guarded_goes_where_it_went() {
    assert_eq!(ends_with("touch"), libc::SIGBUS);
    assert_eq!(ends_with("sent"), libc::SIGBUS);
    assert_eq!(ends_with("ignored"), -40, "sent and ignored, as before");
    assert_eq!(ends_with("touch ignored"), libc::SIGBUS, "a fault cannot be ignored");
    assert_eq!(ends_with("handler"), -41);
    assert_eq!(ends_with("info handler"), -42);
}

static SENT_TO: AtomicU32 = AtomicU32::new(0);

extern "C" fn earlier(_: i32) {
    // A fault that nobody mends would come again for ever.
    // SAFETY: ends the process.
    unsafe { libc::_exit(41) };
}

extern "C" fn earlier_with_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: a record of the kernel's.
    let code = unsafe { (*info).si_code };
    if code <= 0 {
        SENT_TO.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(41 + SENT_TO.load(Ordering::Relaxed) as i32) };
}

fn set_action(handler: usize, flags: i32) {
    // SAFETY: zeroed it is an action.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handlers are functions of the signature that the flags ask for.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) };
    assert_eq!(result, 0);
}

fn send_to_self() {
    // SAFETY: takes and returns a number.
    unsafe { libc::raise(libc::SIGBUS) };
}

#[test]
fn a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let with_info: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = earlier_with_info;
    match role.as_str() {
        "ignored" | "touch ignored" => set_action(libc::SIG_IGN, 0),
        "handler" => set_action(earlier as extern "C" fn(i32) as usize, 0),
        "info handler" => set_action(with_info as usize, libc::SA_SIGINFO),
        _ => {}
    }
    let file = file_of(2);
    let (guarded, bare) = (map(&file, 2, Access::ReadWrite), map(&file, 2, Access::ReadWrite));
    guarded.guard().unwrap();
    match role.as_str() {
        "sent" => send_to_self(),
        "ignored" => {
            send_to_self();
            std::process::exit(40);
        }
        "info handler" => send_to_self(),
        _ => {}
    }
    file.set_len(0).unwrap();
    assert_eq!(word(&guarded, 1).load(Ordering::Relaxed), 0);
    let _ = word(&bare, 1).load(Ordering::Relaxed);
}
