//! Which thread may store leases into which cache line of the table. All of it is private to the
//! process, save the cells and the summary themselves.
//!
//! A line is *owned* by one thread, which alone stores leases in it; or *full*: nobody's, and no
//! cell of it was free when its owner parted with it; or *pooled*: nobody's, with a free cell. The
//! cells say which of them are free: 0. Any thread may turn a lease into 0, its own line or not;
//! whoever finds that the line was full puts it into the pool, and whoever finds that a pooled line
//! has become empty takes it off the list of lines that a look visits.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::AtomicU32 as TableCounter;
use std::sync::{Arc, OnceLock, PoisonError};

use super::free_cells;
use super::held::{HELD, Held};
use super::memory::Memory;
use super::summary::{Shape, Summary};
use super::{LeaseCell, LeaseScan, lease_table_bytes};
use crate::crash_point;
use crate::error::{LeaseTableError, LeasesFull, RegionError};
use crate::fork::ForkGuard;
use crate::format::{LEASE_CELLS_PER_LINE, LINE_BYTES};
use crate::region::{Region, Words};
use crate::slot::SlotRef;
use crate::sync::{AtomicU8, Mutex, MutexGuard, Ordering, fence};

/// Lines whose states are kept in one piece of memory, made when the first of them is used.
const STATES_PER_PART: u32 = if cfg!(loom) { 8 } else { 4096 };

/// What a line is, see above. Lines that were never used are pooled by not being listed anywhere.
const POOLED: u8 = 0;
const OWNED: u8 = 1;
const FULL: u8 = 2;

/// The lines of one table.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// Tells tables of this process apart; not used again before 2^32 others.
    table: NonZeroU32,
    capacity: u32,
    cells: Words,
    /// One for each line. Changed under `pool` only.
    states: Box<[OnceLock<Box<[AtomicU8]>>]>,
    pool: Mutex<Pool>,
    pub(super) process: ForkGuard,
}

pub(super) struct Pool {
    /// Lines with a free cell that no thread owns.
    free: Vec<u32>,
    /// The first line that was never used.
    fresh: u32,
    /// How far the table has memory.
    memory: Memory,
    /// Which lines a look visits: those that are owned or hold a lease.
    summary: Summary,
}

/// The number of the next table; 0 is none.
fn table_number(tables: &TableCounter) -> NonZeroU32 {
    loop {
        if let Some(number) = NonZeroU32::new(tables.fetch_add(1, Ordering::Relaxed)) {
            return number;
        }
    }
}

/// Refuses a capacity that is no whole number of lines, or that the region has no room for, and a
/// region whose lines would not be those of the cache.
pub(super) fn check_capacity(region: &Region, capacity: u32) -> Result<(), LeaseTableError> {
    if capacity == 0 || !capacity.is_multiple_of(LEASE_CELLS_PER_LINE) {
        return Err(LeaseTableError::Capacity { capacity, multiple: LEASE_CELLS_PER_LINE });
    }
    let (needed_bytes, size_bytes) = (lease_table_bytes(capacity), region.size_bytes());
    if size_bytes < needed_bytes {
        return Err(LeaseTableError::TooSmall { capacity, needed_bytes, size_bytes });
    }
    let offset = region.offset();
    if !offset.is_multiple_of(LINE_BYTES) {
        return Err(RegionError::Misaligned { offset, alignment_bytes: LINE_BYTES }.into());
    }
    Ok(())
}

impl Lines {
    // r[impl lease.table]
    pub(super) fn new(
        region: &Region,
        capacity: u32,
        memory: Memory,
    ) -> Result<Lines, LeaseTableError> {
        /// Tables made so far in this process; not shared memory, so not the model checker's.
        static TABLES: TableCounter = TableCounter::new(1);
        check_capacity(region, capacity)?;
        let taken = region.word(0)?;
        let found = taken.load(Ordering::Relaxed);
        if found != 0 {
            return Err(LeaseTableError::NotFresh { taken: found });
        }
        let shape = Shape::new(capacity);
        let parts = (capacity / LEASE_CELLS_PER_LINE).div_ceil(STATES_PER_PART);
        let shared = Shared {
            table: table_number(&TABLES),
            capacity,
            cells: region.words(shape.cells_offset, u64::from(capacity))?,
            states: (0..parts).map(|_| OnceLock::new()).collect(),
            pool: Mutex::new(Pool {
                free: Vec::new(),
                fresh: 0,
                memory,
                summary: Summary::new(region.words(0, shape.words())?, shape),
            }),
            process: ForkGuard::new()?,
        };
        taken.store(1, Ordering::Relaxed);
        Ok(Lines { shared: Arc::new(shared) })
    }

    pub(super) fn capacity(&self) -> u32 {
        self.shared.capacity
    }

    pub(super) fn scan(&self) -> LeaseScan {
        self.shared.scan()
    }

    /// Stores a lease of `slot` in a free cell of this thread.
    #[inline]
    pub(super) fn take(&self, slot: SlotRef) -> Result<LeaseCell, LeasesFull> {
        match self.shared.take(slot) {
            Some(cell) => Ok(cell),
            None => self.take_after_look(slot),
        }
    }

    /// The same where no cell is at hand.
    #[cold]
    fn take_after_look(&self, slot: SlotRef) -> Result<LeaseCell, LeasesFull> {
        let shared = &self.shared;
        let taken = HELD.try_with(|held| {
            let mut held = held.try_borrow_mut().ok()?;
            let held = match held.iter_mut().position(|held| held.table == shared.table) {
                Some(index) => held.get_mut(index)?,
                None => self.enlist(&mut held)?,
            };
            Some(shared.take_of(held, slot))
        });
        match taken {
            Ok(Some(outcome)) => outcome,
            // The thread is ending: lines for this one lease.
            Ok(None) | Err(_) => shared.take_of(&mut self.nothing_held(), slot),
        }
    }

    /// Ends the lease in this cell.
    // r[impl lease.release]
    #[inline]
    pub(super) fn give_back(&self, cell: &LeaseCell) {
        let shared = &self.shared;
        if cell.table != shared.table {
            return;
        }
        // edge: lease.release: what the reader did with the slot comes before.
        #[cfg(not(onecopy_mutant = "lease_release_relaxed"))]
        const END: Ordering = Ordering::Release;
        #[cfg(onecopy_mutant = "lease_release_relaxed")]
        const END: Ordering = Ordering::Relaxed;
        // The index is one that `take` gave out, so the store does not fail.
        let _ = shared.cells.store(u64::from(cell.index), 0, END);
        if !free_cells::push(cell.index, cell.holder) {
            self.note_free(cell.index);
        }
    }

    /// A cell was freed that this thread did not take, or no longer has at hand.
    #[cold]
    fn note_free(&self, index: u32) {
        let line = index / LEASE_CELLS_PER_LINE;
        let holder = HELD.try_with(|held| {
            let held = held.try_borrow().ok()?;
            let held = held.iter().find(|held| held.table == self.shared.table)?;
            held.owns(line).then_some(held.holder)
        });
        match holder {
            // Cells of another table may be at hand: this one is found when they are not.
            Ok(Some(holder)) => _ = free_cells::push(index, holder),
            _ => self.shared.tell_of_room(line),
        }
    }

    /// Gives this thread a place to note its lines of this table.
    #[cold]
    fn enlist<'a>(&self, held: &'a mut Vec<Held>) -> Option<&'a mut Held> {
        // Tables that are gone took their lines with them.
        held.retain(|held| held.shared.strong_count() > 0);
        held.push(self.nothing_held());
        held.last_mut()
    }

    fn nothing_held(&self) -> Held {
        Held::new(self.shared.table, &self.shared)
    }

    /// Gives back this thread's lines, as its end does.
    #[cfg(test)]
    pub(super) fn leave_thread(&self) {
        let gone = HELD.with(|held| {
            let mut held = held.borrow_mut();
            let index = held.iter().position(|held| held.table == self.shared.table)?;
            Some(held.swap_remove(index))
        });
        drop(gone);
    }

    /// A line listed too late: what a model has to find.
    #[cfg(onecopy_mutant = "lease_list_late")]
    pub(super) fn list_late(&self, cell: &LeaseCell) {
        self.shared.lock().summary.list(cell.index / LEASE_CELLS_PER_LINE);
    }
}

impl Shared {
    /// Stores a lease of `slot` in a cell that this thread has at hand.
    #[inline]
    fn take(&self, slot: SlotRef) -> Option<LeaseCell> {
        let (index, holder) = free_cells::pop(self.table)?;
        // A cell that holds a lease is never 0, not even for what is no slot at all.
        let bits = slot.to_u64().max(1);
        // edge: lease.reuse: hands on what the former lease of this cell had handed on.
        #[cfg(not(onecopy_mutant = "lease_store_relaxed"))]
        const BEGIN: Ordering = Ordering::Release;
        #[cfg(onecopy_mutant = "lease_store_relaxed")]
        const BEGIN: Ordering = Ordering::Relaxed;
        // What is at hand is of this table, so the store does not fail.
        let _ = self.cells.store(u64::from(index), bits, BEGIN);
        Some(LeaseCell { index, table: self.table, holder })
    }

    /// The same after a look at the lines that the thread owns, and with one more if they are full.
    fn take_of(&self, held: &mut Held, slot: SlotRef) -> Result<LeaseCell, LeasesFull> {
        held.lay_out(self);
        if let Some(cell) = self.take(slot) {
            return Ok(cell);
        }
        self.claim(held)?;
        self.take(slot).ok_or(LeasesFull::Taken { capacity: self.capacity })
    }

    /// A cell of this line that holds no lease.
    #[inline]
    pub(super) fn free_cell(&self, line: u32) -> Option<u32> {
        self.cells_of(line).find(|&index| self.is_free(index))
    }

    /// Whether no cell of this line holds a lease. The last one is looked at first: leases that were
    /// taken one after the other mostly end in the same order.
    fn is_empty(&self, line: u32) -> bool {
        self.cells_of(line).rev().all(|index| self.is_free(index))
    }

    #[inline]
    pub(super) fn cells_of(&self, line: u32) -> Range<u32> {
        let first = line * LEASE_CELLS_PER_LINE;
        first..first + LEASE_CELLS_PER_LINE
    }

    #[inline]
    pub(super) fn is_free(&self, index: u32) -> bool {
        // edge: lease.reuse and lease.unlist: another thread may have ended the former lease.
        #[cfg(not(onecopy_mutant = "lease_find_relaxed"))]
        const FIND: Ordering = Ordering::Acquire;
        #[cfg(onecopy_mutant = "lease_find_relaxed")]
        const FIND: Ordering = Ordering::Relaxed;
        self.cells.load(u64::from(index), FIND) == Ok(0)
    }

    /// Makes one more line this thread's own; parts with one if it has as many as it may keep.
    // r[impl lease.listed]
    // r[impl crash.l3]
    #[cold]
    fn claim(&self, held: &mut Held) -> Result<(), LeasesFull> {
        let mut pool = self.lock();
        let line = match pool.free.pop() {
            Some(line) => line,
            None => self.first_use(&mut pool)?,
        };
        self.set_state(line, OWNED);
        // edge: lease.listed, by the fence that follows each lease in the line.
        #[cfg(not(onecopy_mutant = "lease_list_late"))]
        pool.summary.list(line);
        crash_point!("lease.line.listed");
        if let Some(parted) = held.add(self, line) {
            self.part(&mut pool, parted);
        }
        Ok(())
    }

    /// Takes a line that was never used.
    // r[impl lease.memory]
    fn first_use(&self, pool: &mut Pool) -> Result<u32, LeasesFull> {
        let (line, capacity) = (pool.fresh, self.capacity);
        if line >= capacity / LEASE_CELLS_PER_LINE {
            return Err(LeasesFull::Taken { capacity });
        }
        let cells = line * LEASE_CELLS_PER_LINE;
        pool.memory.cover(cells + LEASE_CELLS_PER_LINE).map_err(|source| LeasesFull::NoMemory {
            cells,
            capacity,
            source,
        })?;
        if let Some(part) = self.states.get((line / STATES_PER_PART) as usize) {
            part.get_or_init(|| (0..STATES_PER_PART).map(|_| AtomicU8::new(POOLED)).collect());
        }
        pool.fresh += 1;
        Ok(line)
    }

    /// Ends this thread's ownership of the line.
    // r[impl lease.nothing-lost]
    pub(super) fn part(&self, pool: &mut Pool, line: u32) {
        self.set_state(line, FULL);
        // edge: lease.part: either the look at the cells sees a release that is under way, or the
        // releasing thread sees that the line is full.
        #[cfg(not(onecopy_mutant = "lease_fence_part"))]
        fence(Ordering::SeqCst);
        self.pool_if_room(pool, line);
    }

    /// A lease ended in a line that is not the releasing thread's own.
    #[inline]
    fn tell_of_room(&self, line: u32) {
        // edge: lease.part (releasing side), lease.emptied.
        #[cfg(not(onecopy_mutant = "lease_fence_release"))]
        fence(Ordering::SeqCst);
        match self.state(line) {
            FULL => self.settle(line),
            POOLED if self.is_empty(line) => self.settle(line),
            _ => {}
        }
    }

    /// Puts a line that nobody owns where it belongs. Another thread may have done it meanwhile, or
    /// have taken the line.
    #[cold]
    fn settle(&self, line: u32) {
        let mut pool = self.lock();
        match self.state(line) {
            FULL => self.pool_if_room(&mut pool, line),
            POOLED => self.unlist_if_empty(&mut pool, line),
            _ => {}
        }
    }

    /// Pools a full line if a cell of it is free. Nobody stores leases in a full line, so a free
    /// cell stays free.
    fn pool_if_room(&self, pool: &mut Pool, line: u32) {
        if self.free_cell(line).is_some() {
            self.set_state(line, POOLED);
            pool.free.push(line);
            self.unlist_if_empty(pool, line);
        }
    }

    /// Has looks pass over a pooled line that is empty. Nobody stores leases in it before it is listed
    /// again.
    // r[impl lease.listed]
    fn unlist_if_empty(&self, pool: &mut Pool, line: u32) {
        if self.is_empty(line) {
            pool.summary.unlist(line);
        }
    }

    fn state_of(&self, line: u32) -> Option<&AtomicU8> {
        let part = self.states.get((line / STATES_PER_PART) as usize)?.get()?;
        part.get((line % STATES_PER_PART) as usize)
    }

    fn state(&self, line: u32) -> u8 {
        // Relaxed: decisions are made under the mutex; edges lease.part and lease.emptied for the
        // look before it.
        self.state_of(line).map_or(POOLED, |state| state.load(Ordering::Relaxed))
    }

    fn set_state(&self, line: u32, value: u8) {
        if let Some(state) = self.state_of(line) {
            state.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Pool> {
        // Nothing in here can panic half-way, so a poisoned pool is as good as any.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scan(&self) -> LeaseScan {
        let summary = self.lock().summary.reader();
        LeaseScan::over(summary, self.cells.reader(), self.capacity)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("capacity", &self.shared.capacity)
            .field("cells", &self.shared.cells)
            .finish_non_exhaustive()
    }
}
