//! What a test build does at a counted store and at a named place.

use crate::sys;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a process ends with that ends here, apart from whatever else it may end with.
pub const EXIT_CODE: i32 = 86;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The process ends with [`EXIT_CODE`]; nothing of it runs any more, in no thread.
    Exit,
    /// The process stands still (SIGSTOP) until somebody lets it go on.
    Stop,
}

/// Stores up to the one before which to act, with that one; 0: none. One word says it all, so that
/// no order between threads is needed; the same goes for the other words here.
static STORES_LEFT: AtomicU64 = AtomicU64::new(0);
/// What it was set to.
static STORES_WANTED: AtomicU64 = AtomicU64::new(0);
static STOP_AT_STORE: AtomicBool = AtomicBool::new(false);
/// Whether a place is wanted, so that the others cost one load.
static PLACE_WANTED: AtomicBool = AtomicBool::new(false);
static PLACE: Mutex<Option<Place>> = Mutex::new(None);

struct Place {
    name: String,
    /// How often it is still to be passed, with the time at which to act.
    hits_left: u64,
    act: Act,
}

/// Acts before the `number`th shared store of any thread, counted from now, from 1.
// r[impl crash.counted]
pub fn at_store(number: u64, act: Act) {
    STOP_AT_STORE.store(act == Act::Stop, Ordering::Relaxed);
    STORES_WANTED.store(number, Ordering::Relaxed);
    STORES_LEFT.store(number, Ordering::Relaxed);
}

/// Acts when the place of this name is reached for the `hit`th time from now, from 1.
// r[impl crash.named]
pub fn at_point(name: &str, hit: u64, act: Act) {
    *place() = Some(Place { name: name.to_owned(), hits_left: hit, act });
    PLACE_WANTED.store(true, Ordering::Relaxed);
}

/// Nothing happens any more. Returns how many stores were counted.
pub fn off() -> u64 {
    PLACE_WANTED.store(false, Ordering::Relaxed);
    *place() = None;
    let left = STORES_LEFT.swap(0, Ordering::Relaxed);
    STORES_WANTED.swap(0, Ordering::Relaxed).saturating_sub(left)
}

/// What follows is a store to memory that others map.
#[inline]
pub fn shared_store() {
    if STORES_LEFT.load(Ordering::Relaxed) != 0 && STORES_LEFT.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let stop = STOP_AT_STORE.load(Ordering::Relaxed);
        carry_out(if stop { Act::Stop } else { Act::Exit });
    }
}

/// A named place is reached.
#[inline]
pub fn reach(name: &str) {
    if PLACE_WANTED.load(Ordering::Relaxed)
        && let Some(act) = act_at(name)
    {
        carry_out(act);
    }
}

fn act_at(name: &str) -> Option<Act> {
    let mut place = place();
    let wanted = place.as_mut().filter(|wanted| wanted.name == name)?;
    wanted.hits_left = wanted.hits_left.saturating_sub(1);
    if wanted.hits_left > 0 {
        return None;
    }
    PLACE_WANTED.store(false, Ordering::Relaxed);
    place.take().map(|wanted| wanted.act)
}

fn carry_out(act: Act) {
    match act {
        Act::Exit => sys::exit_at_once(EXIT_CODE),
        Act::Stop => sys::stop_this_process(),
    }
}

fn place() -> std::sync::MutexGuard<'static, Option<Place>> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}
