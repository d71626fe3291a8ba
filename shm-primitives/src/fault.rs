//! Dying on purpose: where a test has a process end or stand still.
//!
//! Every store to memory that others map is counted, and the places between two steps of a protocol
//! have names ([`crash_point!`](crate::crash_point)). A test build, and only that, has the process end
//! or stop itself at the k-th store or at the n-th time a named place is reached.
//!
//! Only the feature `faults` together with debug assertions compiles any of it in. Everywhere else a
//! counted store is the store, and a named place is nothing at all.

/// Whether this build has crash points and counts stores.
pub const ENABLED: bool = cfg!(all(feature = "faults", debug_assertions, not(loom)));

#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
mod hooks;
#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
pub use hooks::{Act, EXIT_CODE, at_point, at_store, off, reach, shared_store};

/// What follows is a store to memory that others map.
// r[impl crash.not_shipped]
#[cfg(not(all(feature = "faults", debug_assertions, not(loom))))]
#[inline(always)]
pub fn shared_store() {}

/// Names a place between two steps of a protocol, at which a test may have the process end or stop.
///
/// Names are unique in the source; each has its scenario in the crash tests.
#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        $crate::fault::reach($name)
    };
}

/// Names a place between two steps of a protocol: nothing, in this build.
#[cfg(not(all(feature = "faults", debug_assertions, not(loom))))]
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {};
}

/// Copies bytes into memory that others map; target and source have the same length. A test build
/// copies one half after the other, each a counted store, with the named place in between. How it is
/// copied may be said; else it is `copy_from_slice`.
#[cfg(all(feature = "faults", debug_assertions, not(loom)))]
#[macro_export]
macro_rules! copy_shared {
    ($name:literal, $target:expr, $source:expr) => {
        $crate::copy_shared!($name, $target, $source, <[u8]>::copy_from_slice)
    };
    ($name:literal, $target:expr, $source:expr, $copy:expr) => {{
        let (target, source): (&mut [u8], &[u8]) = ($target, $source);
        let half = source.len() / 2;
        $crate::fault::shared_store();
        $copy(&mut target[..half], &source[..half]);
        $crate::fault::reach($name);
        $crate::fault::shared_store();
        $copy(&mut target[half..], &source[half..]);
    }};
}

/// Copies bytes into memory that others map; target and source have the same length. How it is copied
/// may be said; else it is `copy_from_slice`.
#[cfg(not(all(feature = "faults", debug_assertions, not(loom))))]
#[macro_export]
macro_rules! copy_shared {
    ($name:literal, $target:expr, $source:expr) => {
        $crate::copy_shared!($name, $target, $source, <[u8]>::copy_from_slice)
    };
    ($name:literal, $target:expr, $source:expr, $copy:expr) => {{
        let (target, source): (&mut [u8], &[u8]) = ($target, $source);
        $copy(target, source);
    }};
}
