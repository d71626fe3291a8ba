//! The one place that says where the atomics come from by which threads of a guest process share:
//! the processor's, or under `--cfg loom` the model checker's. Words that processes share are those
//! of `onecopy-shm`.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, PoisonError};
#[cfg(not(loom))]
pub(crate) use std::thread::{ThreadId, current as current_thread};

#[cfg(loom)]
pub(crate) use loom::sync::Mutex;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::thread::{ThreadId, current as current_thread};
#[cfg(loom)]
pub(crate) use std::sync::PoisonError;
