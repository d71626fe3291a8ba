//! Surviving files that are cut while they are mapped.
//!
//! Whoever may write a file may also make it shorter, and a touch of a mapping beyond the end of its
//! file is SIGBUS, which ends the process that touches. A mapping that is *guarded*
//! ([`crate::Mapping::guard`]) survives it: the handler marks the mapping as torn, puts zeroes of
//! this process alone over the page and lets the instruction run again. Whoever then looks at
//! [`crate::Mapping::is_torn`] after reading knows whether one of the bytes may be such a zero.
//!
//! # For embedders
//!
//! The first guarded mapping installs the handler, once for the process and for all of its threads.
//! What it does not know it hands on: a fault anywhere else, and a SIGBUS that somebody sent, go to
//! the handler that stood there before, or end the process as they would have. A handler that is
//! installed later takes this one's place and has to hand on what it does not know itself. Python's
//! `faulthandler` does so when it is enabled after the first attach, and is handed on to when it was
//! enabled before; either order works. The handler runs on the alternative stack of a thread that
//! has one, makes one system call for a page, allocates nothing and takes no lock. A thread that
//! blocks SIGBUS is ended by the kernel when it faults, whatever is installed.
#![expect(unsafe_code, reason = "a signal handler, which puts memory in place of what was cut")]

use crate::error::GuardError;
use crate::fork;
use crate::guard_table::{self, Entry, Range};
use crate::mapping::Access;
use crate::sync::{AtomicU64, Ordering};
use crate::sys;
use core::mem::MaybeUninit;
use rustix::io::Errno;
use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

/// Most mappings of a process that can be guarded at once.
pub const GUARDED_MAX: u32 = 1 << 14;

static ENTRIES: [Entry; GUARDED_MAX as usize] = [const { Entry::new() }; GUARDED_MAX as usize];
/// Entries from here on have never been used.
static USED: AtomicU64 = AtomicU64::new(0);
/// Pages that were put in place, of all mappings.
static TEARS: AtomicU64 = AtomicU64::new(0);
/// What was done about SIGBUS before the handler was installed.
static EARLIER: OnceLock<libc::sigaction> = OnceLock::new();
/// Whether the handler is installed, or what the kernel answered.
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// How many pages of guarded mappings have been torn in this process so far. As long as it stands
/// still there is no need to look at each mapping.
#[inline]
#[must_use]
pub fn tears() -> u64 {
    // Relaxed: the handler stored it before the page was there to be read.
    TEARS.load(Ordering::Relaxed)
}

/// A place in the registry; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Guarded {
    index: usize,
    process: u64,
}

impl Guarded {
    /// Guards a range: whole pages of `page_bytes` that this process has mapped.
    ///
    /// # Safety
    /// The range is a mapping of this process's own that stays mapped until the value is dropped,
    /// and whose bytes nobody relies on to be those of its file once they were torn.
    pub unsafe fn new(
        start: NonNull<u8>,
        size_bytes: usize,
        page_bytes: usize,
        access: Access,
    ) -> Result<Guarded, GuardError> {
        install()?;
        let first = start.as_ptr().addr() as u64;
        let range = Range {
            start: first,
            end: first + size_bytes as u64,
            page_bytes: page_bytes as u64,
            is_writable: access == Access::ReadWrite,
            process: fork::current_process(),
        };
        let full = GuardError::Full { guarded_max: GUARDED_MAX };
        let index = guard_table::claim(&ENTRIES, &range).ok_or(full)?;
        // Relaxed: whoever can fault in the range was handed the mapping after this.
        USED.fetch_max(index as u64 + 1, Ordering::Relaxed);
        Ok(Guarded { index, process: range.process })
    }

    /// Whether a page of the range was put in place.
    #[inline]
    pub fn is_torn(&self) -> bool {
        tears() != 0 && self.is_ours() && ENTRIES[self.index].torn_pages() != 0
    }

    /// In a forked child the entry may be another range's by now.
    fn is_ours(&self) -> bool {
        fork::current_process() == self.process
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.is_ours() {
            ENTRIES[self.index].release();
        }
    }
}

/// Installs the handler, once.
fn install() -> Result<(), GuardError> {
    let installed = INSTALLED.get_or_init(|| {
        set_handler().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
    });
    installed.map_err(|errno| GuardError::Handler { source: io::Error::from_raw_os_error(errno) })
}

fn set_handler() -> io::Result<()> {
    let mut earlier = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; `earlier` is large enough for the answer.
    check(unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), earlier.as_mut_ptr()) })?;
    // SAFETY: all of it was zeroed, which is a value of it, and the kernel's answer is one too.
    let earlier = unsafe { earlier.assume_init() };
    // Known before the handler can run.
    EARLIER.get_or_init(|| earlier);
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
    let mut action = earlier;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the set is ours to write.
    check(unsafe { libc::sigemptyset(&mut action.sa_mask) })?;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, lives as long as the process,
    // and does what a handler may do and nothing else.
    check(unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs in the midst of whatever faulted: no allocation, no lock, errno as it was.
// r[impl memory.guard]
extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: takes nothing and returns the place of this thread's errno, always there.
    let errno_place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nobody else uses it.
    let errno = unsafe { *errno_place };
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid record, which is the handler's.
    let record = unsafe { &*info };
    // A code above 0 is the kernel's: a fault, with an address. Others were sent by somebody.
    let is_fault = record.si_code > 0;
    // SAFETY: the field is within the record; what is no fault has other bytes there, and then it is
    // not looked at.
    let address = unsafe { record.si_addr() }.addr() as u64;
    if !(is_fault && tear(address)) {
        hand_on(signal, info, context, is_fault);
    }
    // SAFETY: as above.
    unsafe { *errno_place = errno };
}

/// Puts zeroes in place of the page at this address, if it is guarded.
fn tear(address: u64) -> bool {
    let used = (USED.load(Ordering::Relaxed) as usize).min(ENTRIES.len());
    let process = fork::current_process();
    let Some((index, range)) = guard_table::find(&ENTRIES[..used], address, process) else {
        return false;
    };
    // First: whoever reads the zeroes and looks afterwards finds it.
    ENTRIES[index].add_torn_page();
    TEARS.fetch_add(1, Ordering::Relaxed);
    let page = address - (address - range.start) % range.page_bytes;
    // One page more than the kernel has room for in its list of mappings, or a device that cannot be
    // split: then all of it.
    replace(page, range.page_bytes, &range).is_ok()
        || replace(range.start, range.end - range.start, &range).is_ok()
}

fn replace(start: u64, size_bytes: u64, range: &Range) -> Result<(), Errno> {
    let access = if range.is_writable { Access::ReadWrite } else { Access::ReadOnly };
    let start = NonNull::new(ptr::with_exposed_provenance_mut::<u8>(start as usize));
    // SAFETY: whole pages inside of a guarded range: it is mapped by this process, nothing else is
    // there, and whoever guarded it bears that its bytes become zeroes.
    unsafe { sys::replace_with_zeroes(start.ok_or(Errno::FAULT)?, size_bytes as usize, access) }
}

/// What would have happened without this handler.
// r[impl memory.guard-chain]
fn hand_on(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void, is_fault: bool) {
    let (handler, flags) = match EARLIER.get() {
        Some(earlier) => (earlier.sa_sigaction, earlier.sa_flags),
        None => (libc::SIG_DFL, 0),
    };
    // The kernel lets nobody ignore a fault.
    if handler == libc::SIG_DFL || (handler == libc::SIG_IGN && is_fault) {
        end_by_default(signal, is_fault);
    } else if handler != libc::SIG_IGN {
        call(handler, flags, signal, info, context);
    }
}

/// Restores the default action and lets the signal come again: a fault does when the instruction
/// runs again, what was sent is sent once more and waits until this handler returns.
fn end_by_default(signal: i32, is_fault: bool) {
    let action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroed it is the default action with no flags and no mask.
    let action = unsafe { action.assume_init() };
    // SAFETY: the default action of a signal that is ours to handle.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    if !is_fault {
        // SAFETY: takes and returns a number.
        unsafe { libc::raise(signal) };
    }
}

fn call(handler: usize, flags: i32, signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    type Handler = extern "C" fn(i32);
    type InfoHandler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);
    let handler: *const () = ptr::with_exposed_provenance(handler);
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: installed with SA_SIGINFO, so it is a function of this signature.
        let handler = unsafe { core::mem::transmute::<*const (), InfoHandler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: installed without SA_SIGINFO, so it is a function of this signature.
        let handler = unsafe { core::mem::transmute::<*const (), Handler>(handler) };
        handler(signal);
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
