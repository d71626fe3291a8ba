//! The free cells that a thread has at hand: a lease is a step down a stack, its end a step up.
//!
//! A cell lies here only if it holds no lease and its line is this thread's own, so that nobody else
//! stores a lease there. Cells of this thread that others freed do not: they are found by a look at its
//! lines, once the stack is empty.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64 as HolderCounter, Ordering};

use super::held::LINES_PER_THREAD;
use crate::format::LEASE_CELLS_PER_LINE;

const CELLS_MAX: usize = LINES_PER_THREAD * LEASE_CELLS_PER_LINE as usize;

#[cfg(not(loom))]
std::thread_local! {
    static FREE: FreeCells = const { FreeCells::new() };
}
#[cfg(loom)]
loom::thread_local! {
    static FREE: FreeCells = FreeCells::new();
}

/// A thread with the lines of one table that it has owned since it last parted with one; no other thread,
/// table or time has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Holder(u64);

impl Holder {
    const NOBODY: Holder = Holder(0);

    pub(super) fn next() -> Holder {
        /// Not shared memory, so not the model checker's.
        static HOLDERS: HolderCounter = HolderCounter::new(1);
        Holder(HOLDERS.fetch_add(1, Ordering::Relaxed))
    }
}

struct FreeCells {
    /// Of which table they are; 0 of none.
    table: Cell<u32>,
    holder: Cell<Holder>,
    count: Cell<usize>,
    cells: [Cell<u32>; CELLS_MAX],
}

impl FreeCells {
    const fn new() -> FreeCells {
        FreeCells {
            table: Cell::new(0),
            holder: Cell::new(Holder::NOBODY),
            count: Cell::new(0),
            cells: [const { Cell::new(0) }; CELLS_MAX],
        }
    }
}

/// Takes a cell of this table.
#[inline]
pub(super) fn pop(table: NonZeroU32) -> Option<(u32, Holder)> {
    with(|free| {
        let below = free.count.get().wrapping_sub(1);
        let cell = free.cells.get(below)?;
        if free.table.get() != table.get() {
            return None;
        }
        free.count.set(below);
        Some((cell.get(), free.holder.get()))
    })
}

/// Puts back a cell that was taken as this holder; whether this thread still is that one.
#[inline]
pub(super) fn push(cell: u32, holder: Holder) -> bool {
    with(|free| {
        let count = free.count.get();
        let place = free.cells.get(count)?;
        if free.holder.get() != holder {
            return None;
        }
        place.set(cell);
        free.count.set(count + 1);
        Some(())
    })
    .is_some()
}

/// Begins with no cells, of this table and as this holder.
pub(super) fn begin(table: NonZeroU32, holder: Holder) {
    with(|free| {
        free.table.set(table.get());
        free.holder.set(holder);
        free.count.set(0);
        Some(())
    });
}

/// Puts away what was at hand as this holder: its lines are its own no longer.
pub(super) fn end(holder: Holder) {
    with(|free| {
        if free.holder.get() == holder {
            free.table.set(0);
            free.holder.set(Holder::NOBODY);
            free.count.set(0);
        }
        Some(())
    });
}

/// Nothing where a thread of a model has ended; in a program the cells outlive all that could ask.
#[inline]
fn with<T>(act: impl FnOnce(&FreeCells) -> Option<T>) -> Option<T> {
    FREE.try_with(act).ok().flatten()
}
