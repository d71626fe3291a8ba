//! What the guest needs to know about a slot that the host names: checked once, then carried along.

use super::error::LinkError;
use super::magazine::GrantedSlot;
use crate::control::ControlReader;
use crate::pool::ClassIndex;
use onecopy_shm::SlotRef;

/// Looks slots up in the control area.
#[derive(Clone, Debug)]
pub(super) struct SlotDirectory {
    control: ControlReader,
    /// Slot sizes in bytes, ascending.
    classes: Vec<u64>,
}

impl SlotDirectory {
    pub(super) fn new(control: ControlReader) -> SlotDirectory {
        let classes = control.geometry().classes.clone();
        SlotDirectory { control, classes }
    }

    /// Slot sizes in bytes, ascending.
    pub(super) fn classes(&self) -> &[u64] {
        &self.classes
    }

    /// A slot that was granted as one of `class` and lies at `offset`. Its entry is not looked at.
    // r[impl guest.slot.checked]
    pub(super) fn of_class(
        &self,
        bits: u64,
        offset: u64,
        class: u64,
    ) -> Result<GrantedSlot, LinkError> {
        let class_count = self.classes.len() as u64;
        let unknown = LinkError::UnknownClass { class, class_count };
        let index = usize::try_from(class).map_err(|_| unknown)?;
        let slot_bytes = *self.classes.get(index).ok_or(unknown)?;
        let class = ClassIndex::try_from(index).map_err(|_| unknown)?;
        let slot = self.existing(bits)?;
        self.placed(slot, offset, slot_bytes, class)
    }

    /// A slot whose class is to be looked up.
    pub(super) fn of_any_class(&self, bits: u64) -> Result<GrantedSlot, LinkError> {
        let slot = self.existing(bits)?;
        let slot_bytes = self.control.slot_bytes(slot.slot);
        let class = self.classes.binary_search(&slot_bytes).ok();
        let class = class.and_then(|index| ClassIndex::try_from(index).ok());
        let no_class = LinkError::SlotOfNoClass { slot: slot.slot, slot_bytes };
        self.placed(slot, self.control.slot_offset(slot.slot), slot_bytes, class.ok_or(no_class)?)
    }

    fn existing(&self, bits: u64) -> Result<SlotRef, LinkError> {
        let slots_ready = self.control.slots_ready();
        let slot = SlotRef::from_u64(bits);
        slot.filter(|slot| slot.slot != 0 && u64::from(slot.slot) <= slots_ready)
            .ok_or(LinkError::NoSuchSlot { bits, slots_ready })
    }

    fn placed(
        &self,
        slot: SlotRef,
        offset: u64,
        slot_bytes: u64,
        class: ClassIndex,
    ) -> Result<GrantedSlot, LinkError> {
        let pool_bytes = self.control.pool_bytes();
        let end = offset.checked_add(slot_bytes);
        let aligned = offset.is_multiple_of(self.control.geometry().granule_bytes);
        if offset == 0 || !aligned || end.is_none_or(|end| end > pool_bytes) {
            let slot = slot.slot;
            return Err(LinkError::SlotOutsidePool { slot, offset, slot_bytes, pool_bytes });
        }
        Ok(GrantedSlot { slot, offset, slot_bytes, class })
    }
}
