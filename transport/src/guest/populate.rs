//! Populating what this guest is granted, so that a fill does not stop at every page of it.

use super::areas::AreaError;
use crate::control::ControlReader;
use crate::layout::TablesReady;
use onecopy_shm::sys::{populate_read, populate_write};
use onecopy_shm::{Mapping, Region, Words};
use std::sync::atomic::Ordering;

/// What is populated at once, in bytes: what the kernel maps around a page that is read. The pool's
/// sizes are multiples of it.
const WINDOW_BYTES: u64 = 64 << 10;

/// The writable view of the pool, and which windows of it have been populated.
#[derive(Debug)]
pub(super) struct Populated {
    view: Region,
    /// A bit for each window, in memory that is real where it was used. Two threads may do one at the same
    /// time, or one may lose what another has noted: that costs time and no more.
    windows: Words,
    /// The host has populated the memory itself: it is only to be mapped.
    is_real: bool,
}

impl Populated {
    /// For a view of the whole pool.
    pub(super) fn new(view: Region, is_real: bool) -> Result<Populated, AreaError> {
        let words = view.size_bytes().div_ceil(WINDOW_BYTES).div_ceil(64);
        let windows = Mapping::heap(words * 8)
            .map_err(|source| AreaError::Map { area: "list of populated memory", source })?
            .region(0, words * 8)?
            .words(0, words)?;
        Ok(Populated { view, windows, is_real })
    }

    /// Populates the windows that a slot touches and that have not been yet, adjacent ones together. The
    /// neighbours in its windows are populated too, which changes none of their bytes.
    // r[impl pool-memory.magazines]
    pub(super) fn cover(&self, offset: u64, size_bytes: u64) {
        let last = (offset + size_bytes.max(1) - 1) / WINDOW_BYTES;
        let mut next = offset / WINDOW_BYTES;
        while next <= last {
            let first = next;
            while next <= last && !self.is_done(next) {
                next += 1;
            }
            if next > first {
                self.populate(first, next);
            }
            // A window that was done already, or the one behind the last.
            next += 1;
        }
    }

    #[inline]
    fn is_done(&self, window: u64) -> bool {
        // A hint: no other memory depends on it. Beyond the view nothing is to be done.
        let word = self.windows.load(window / 64, Ordering::Relaxed);
        word.map_or(true, |word| word & bit(window) != 0)
    }

    /// What cannot be populated is filled page by page, as ever.
    #[cold]
    fn populate(&self, first: u64, end: u64) {
        let from_bytes = first * WINDOW_BYTES;
        let size_bytes = (end * WINDOW_BYTES).min(self.view.size_bytes()) - from_bytes;
        let part = self.view.subregion(from_bytes, size_bytes).map_err(|error| error.to_string());
        let populate = if self.is_real { populate_read } else { populate_write };
        let populated = part.and_then(|part| populate(&part).map_err(|error| error.to_string()));
        if let Err(error) = populated {
            tracing::debug!(from_bytes, size_bytes, %error, "granted slots were not populated");
        }
        for window in first..end {
            let word = self.windows.load(window / 64, Ordering::Relaxed).unwrap_or(0);
            // In range: what is beyond counts as done.
            let _ = self.windows.store(window / 64, word | bit(window), Ordering::Relaxed);
        }
    }
}

fn bit(window: u64) -> u64 {
    1 << (window % 64)
}

/// Maps the slot table, which every direct lookup reads, as far as it is real. The service's region is
/// the service's: how much of that is real the transport does not know.
// r[impl pool-memory.magazines]
pub(super) fn populate_slot_table(control: &ControlReader) {
    let ready = TablesReady { slots: control.slots_ready(), service_bytes: 0 };
    let [_, (offset, size_bytes), _] = control.layout().growing(ready);
    let part = control.part(offset, size_bytes).map_err(|error| error.to_string());
    let populated = part.and_then(|part| populate_read(&part).map_err(|error| error.to_string()));
    if let Err(error) = populated {
        tracing::debug!(%error, "the slot table was not populated");
    }
}

#[cfg(test)]
mod tests;
