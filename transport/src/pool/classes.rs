//! Slot sizes: which class serves which payload.

use crate::error::GeometryError;
use crate::format::CLASSES_MAX;
use thiserror::Error;

/// Number of a size class, from 0.
pub type ClassIndex = u16;

/// A payload that no slot can hold.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{size_bytes} bytes are asked for, the largest slot has {slot_bytes_max} bytes")]
pub struct TooLarge {
    /// Bytes asked for.
    pub size_bytes: u64,
    /// Size of the largest slot in bytes.
    pub slot_bytes_max: u64,
}

/// The slot sizes of a segment, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassTable {
    slot_bytes: Vec<u64>,
}

/// Classes of 1 to 8 granules have one size each; above that every doubling has this many.
const CLASSES_PER_DOUBLING: u64 = 8;

impl ClassTable {
    /// Sizes of 1 to 8 granules, then eight per doubling, so that above eight granules at most one
    /// part in eight of a slot is waste; the last is `slot_bytes_max`, rounded up to a granule.
    ///
    /// # Errors
    /// [`GeometryError`]: a granule of 0, a largest slot of 0, or more than [`CLASSES_MAX`] sizes.
    // r[impl pool.classes]
    pub fn default_classes(
        granule_bytes: u64,
        slot_bytes_max: u64,
    ) -> Result<ClassTable, GeometryError> {
        let out_of_range =
            |what, value| GeometryError::OutOfRange { what, value, min: 1, max: 1 << 46 };
        if !(1..=1 << 46).contains(&granule_bytes) {
            return Err(out_of_range("granule_bytes", granule_bytes));
        }
        if !(1..=1 << 46).contains(&slot_bytes_max) {
            return Err(out_of_range("slot_bytes_max", slot_bytes_max));
        }
        let last = slot_bytes_max.next_multiple_of(granule_bytes);
        let mut slot_bytes = Vec::new();
        let (mut size, mut step) = (granule_bytes, granule_bytes);
        while size < last && slot_bytes.len() < CLASSES_MAX {
            slot_bytes.push(size);
            size += step;
            // After sizes 8 to 15 steps long comes 16 steps: the next doubling, in larger steps.
            if size == 2 * CLASSES_PER_DOUBLING * step {
                step *= 2;
            }
        }
        slot_bytes.push(last);
        ClassTable::from_list(granule_bytes, slot_bytes)
    }

    /// The caller's own sizes.
    ///
    /// # Errors
    /// [`GeometryError`]: no size or more than [`CLASSES_MAX`], one that is not a multiple of the
    /// granule, or not larger than the one before.
    pub fn from_list(
        granule_bytes: u64,
        slot_bytes: Vec<u64>,
    ) -> Result<ClassTable, GeometryError> {
        let (count, max) = (slot_bytes.len() as u64, CLASSES_MAX as u64);
        if !(1..=max).contains(&count) {
            return Err(GeometryError::OutOfRange {
                what: "class_count",
                value: count,
                min: 1,
                max,
            });
        }
        let mut previous = 0;
        for &size in &slot_bytes {
            if granule_bytes == 0 || !size.is_multiple_of(granule_bytes) {
                let (what, of) = ("slot size", granule_bytes);
                return Err(GeometryError::NotAMultiple { what, value: size, of });
            }
            if size <= previous {
                return Err(GeometryError::ClassesNotAscending { previous, slot_bytes: size });
            }
            previous = size;
        }
        Ok(ClassTable { slot_bytes })
    }

    /// The sizes of a geometry, which was checked.
    pub(super) fn of_geometry(classes: &[u64]) -> ClassTable {
        ClassTable { slot_bytes: classes.to_vec() }
    }

    /// The class with the smallest slots that hold `size_bytes`. 0 bytes take the smallest slot.
    ///
    /// # Errors
    /// [`TooLarge`]: no slot is that large.
    #[inline]
    pub fn class_for(&self, size_bytes: u64) -> Result<ClassIndex, TooLarge> {
        let class = self.slot_bytes.partition_point(|&slot_bytes| slot_bytes < size_bytes);
        if class < self.slot_bytes.len() {
            Ok(class as ClassIndex)
        } else {
            Err(TooLarge { size_bytes, slot_bytes_max: self.slot_bytes_max() })
        }
    }

    /// The class whose slots have exactly this size.
    pub(super) fn class_of(&self, slot_bytes: u64) -> Option<ClassIndex> {
        self.slot_bytes.binary_search(&slot_bytes).ok().map(|class| class as ClassIndex)
    }

    /// Size of a class's slots in bytes; 0 where there is no such class.
    #[inline]
    pub fn slot_bytes(&self, class: ClassIndex) -> u64 {
        self.slot_bytes.get(usize::from(class)).copied().unwrap_or(0)
    }

    /// Size of the largest slots in bytes.
    pub fn slot_bytes_max(&self) -> u64 {
        self.slot_bytes.last().copied().unwrap_or(0)
    }

    /// All sizes in bytes, ascending.
    pub fn sizes(&self) -> &[u64] {
        &self.slot_bytes
    }

    /// Number of classes.
    #[expect(clippy::len_without_is_empty, reason = "there is always a class")]
    pub fn len(&self) -> usize {
        self.slot_bytes.len()
    }
}

#[cfg(test)]
mod tests;
