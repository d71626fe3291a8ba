//! What a slot is referred to by, and the word that says what state it is in.
//!
//! Only the host stores the word; guests read it. A change of state is a method, so a change that
//! the life of a slot does not have cannot be written by accident.

use std::fmt;

use crate::error::{CorruptSlotWord, IllegalTransition, SlotWordFault};

/// The largest serial of a guest that fits into a slot word.
pub const SERIAL_MAX: u32 = (1 << 28) - 1;

const STATE_SHIFT: u32 = 28;
const STATE_MASK: u64 = 0xf;
const GENERATION_SHIFT: u32 = 32;

/// One use of one slot: the slot's number and how often it had been reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotRef {
    /// Number of the slot, from 1.
    pub slot: u32,
    /// Generation of the slot when the reference was made, from 1.
    pub generation: u32,
}

impl SlotRef {
    /// As one word: the slot in the upper half, the generation in the lower.
    #[inline]
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// From one word; none if it names slot 0, which no slot is (an empty word is 0).
    // r[impl slot.reference]
    #[inline]
    #[must_use]
    pub fn from_u64(bits: u64) -> Option<SlotRef> {
        let slot = (bits >> 32) as u32;
        (slot != 0).then_some(SlotRef { slot, generation: bits as u32 })
    }
}

impl fmt::Display for SlotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} generation {}", self.slot, self.generation)
    }
}

/// Where a slot is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotState {
    /// No memory has been given to this number.
    Uncarved = 0,
    /// On a free list of the host.
    Free = 1,
    /// One guest may write it, nobody reads it.
    Granted = 2,
    /// Everybody may read it, nobody writes it.
    Published = 3,
    /// Cannot be found any more; whoever leased it may still read it.
    Retired = 4,
    /// Its last user is suspected to be dead and not proven to be.
    Quarantined = 5,
}

impl SlotState {
    /// Every state, in the order of their numbers.
    pub const ALL: [SlotState; 6] = [
        SlotState::Uncarved,
        SlotState::Free,
        SlotState::Granted,
        SlotState::Published,
        SlotState::Retired,
        SlotState::Quarantined,
    ];

    fn from_bits(state: u8) -> Option<SlotState> {
        SlotState::ALL.get(usize::from(state)).copied()
    }

    /// Whether a slot in this state may belong to a guest.
    fn has_owner(self) -> bool {
        matches!(self, SlotState::Granted | SlotState::Quarantined)
    }
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SlotState::Uncarved => "uncarved",
            SlotState::Free => "free",
            SlotState::Granted => "granted",
            SlotState::Published => "published",
            SlotState::Retired => "retired",
            SlotState::Quarantined => "quarantined",
        })
    }
}

/// State, generation and owner of a slot, in one word that is stored whole.
///
/// Generation in bits 32 to 63, state in bits 28 to 31, serial of the owner in bits 0 to 27 (0: the
/// host, which also stands for the cache). The generation counts uses, from 1 at the first carving;
/// after `u32::MAX` it goes on at 1. A word of zeroes is a slot that was never carved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotWord {
    generation: u32,
    state: SlotState,
    owner: u32,
}

impl SlotWord {
    /// The word of a number that no memory was ever given to: all zeroes.
    pub const UNCARVED: SlotWord = SlotWord { generation: 0, state: SlotState::Uncarved, owner: 0 };

    /// Takes a word that was read from shared memory.
    ///
    /// # Errors
    /// [`CorruptSlotWord`]: an unknown state, generation 0 in a slot that was carved, an owner in a
    /// state that has none.
    // r[impl slot.corrupt]
    #[inline]
    pub fn decode(bits: u64) -> Result<SlotWord, CorruptSlotWord> {
        let corrupt = |fault| CorruptSlotWord { bits, fault };
        let number = ((bits >> STATE_SHIFT) & STATE_MASK) as u8;
        let state = SlotState::from_bits(number)
            .ok_or(corrupt(SlotWordFault::UnknownState { state: number }))?;
        let generation = (bits >> GENERATION_SHIFT) as u32;
        if generation == 0 && state != SlotState::Uncarved {
            return Err(corrupt(SlotWordFault::GenerationZero { state }));
        }
        let owner = bits as u32 & SERIAL_MAX;
        if owner != 0 && !state.has_owner() {
            return Err(corrupt(SlotWordFault::Owner { owner, state }));
        }
        Ok(SlotWord { generation, state, owner })
    }

    /// The word as it is stored.
    #[inline]
    #[must_use]
    pub fn bits(self) -> u64 {
        u64::from(self.generation) << GENERATION_SHIFT
            | u64::from(self.state as u8) << STATE_SHIFT
            | u64::from(self.owner)
    }

    /// Where the slot is in its life.
    #[inline]
    #[must_use]
    pub fn state(self) -> SlotState {
        self.state
    }

    /// Which use of the slot this is, from 1; 0 if it was never carved.
    #[inline]
    #[must_use]
    pub fn generation(self) -> u32 {
        self.generation
    }

    /// Serial of the guest it belongs to; 0 for the host, and for nobody in a slot that is written off.
    #[inline]
    #[must_use]
    pub fn owner(self) -> u32 {
        self.owner
    }

    /// The word of a published slot of this generation: what a reader compares with.
    #[inline]
    #[must_use]
    pub fn published(generation: u32) -> SlotWord {
        SlotWord { generation, state: SlotState::Published, owner: 0 }
    }

    /// The generation of a word that says `Published`; `None` for every other word.
    #[inline]
    #[must_use]
    pub fn published_generation(bits: u64) -> Option<u32> {
        let generation = (bits >> GENERATION_SHIFT) as u32;
        let is_published = generation != 0 && bits == SlotWord::published(generation).bits();
        is_published.then_some(generation)
    }

    /// Memory was given to the number: `Uncarved -> Free`. The generation is kept, from 1.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not uncarved.
    // r[impl slot.transitions]
    pub fn carve(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Uncarved], SlotState::Free)?;
        Ok(SlotWord { generation: self.generation.max(1), state: SlotState::Free, owner: 0 })
    }

    /// The memory was taken away: `Free -> Uncarved`. The generation is kept.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not free.
    pub fn uncarve(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Free], SlotState::Uncarved)?;
        Ok(SlotWord { state: SlotState::Uncarved, ..self })
    }

    /// Given to a guest to fill: `Free -> Granted`. `serial` is its attach, 0 for the host itself.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not free, the serial is beyond [`SERIAL_MAX`].
    pub fn grant(self, serial: u32) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Free], SlotState::Granted)?;
        if serial > SERIAL_MAX {
            return Err(IllegalTransition::Serial { serial, serial_max: SERIAL_MAX });
        }
        Ok(SlotWord { state: SlotState::Granted, owner: serial, ..self })
    }

    /// Handed back unused: `Granted -> Free`. A new generation, since its holder knows the old one.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not granted.
    pub fn give_back(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Granted], SlotState::Free)?;
        Ok(self.freed())
    }

    /// Filled, and from now on the cache's: `Granted -> Published`.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not granted.
    pub fn publish(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Granted], SlotState::Published)?;
        Ok(SlotWord { state: SlotState::Published, owner: 0, ..self })
    }

    /// Unpublished; leases may be left: `Published -> Retired`.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not published.
    pub fn retire(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Published], SlotState::Retired)?;
        Ok(SlotWord { state: SlotState::Retired, ..self })
    }

    /// No lease is left: `Retired -> Free`, a new generation.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not retired.
    pub fn free(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Retired], SlotState::Free)?;
        Ok(self.freed())
    }

    /// Its last user may be dead: `Granted -> Quarantined`. The owner is kept.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not granted.
    pub fn quarantine(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Granted], SlotState::Quarantined)?;
        Ok(SlotWord { state: SlotState::Quarantined, ..self })
    }

    /// Nobody will ever know whether its last user still touches it: `Granted`, `Retired` or
    /// `Quarantined` becomes `Quarantined` with owner 0, which is the end of it.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is in another state.
    // r[impl slot.written-off]
    pub fn write_off(self) -> Result<SlotWord, IllegalTransition> {
        let from = [SlotState::Granted, SlotState::Retired, SlotState::Quarantined];
        self.require(&from, SlotState::Quarantined)?;
        Ok(SlotWord { state: SlotState::Quarantined, owner: 0, ..self })
    }

    /// Its holder attached anew and still fills it: `Granted -> Granted`, `Quarantined -> Granted`.
    /// The generation is kept, `serial` is the new attach.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is neither granted nor quarantined, is written off, the serial
    /// is beyond [`SERIAL_MAX`].
    pub fn adopt(self, serial: u32) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Granted, SlotState::Quarantined], SlotState::Granted)?;
        if self.is_written_off() {
            return Err(IllegalTransition::WrittenOff);
        }
        if serial > SERIAL_MAX {
            return Err(IllegalTransition::Serial { serial, serial_max: SERIAL_MAX });
        }
        Ok(SlotWord { state: SlotState::Granted, owner: serial, ..self })
    }

    /// Its last user is proven gone: `Quarantined -> Free`, a new generation.
    ///
    /// # Errors
    /// [`IllegalTransition`]: the slot is not quarantined, or is written off.
    pub fn release(self) -> Result<SlotWord, IllegalTransition> {
        self.require(&[SlotState::Quarantined], SlotState::Free)?;
        if self.is_written_off() {
            return Err(IllegalTransition::WrittenOff);
        }
        Ok(self.freed())
    }

    /// Whether nobody may ever use it again.
    #[inline]
    #[must_use]
    pub fn is_written_off(self) -> bool {
        self.state == SlotState::Quarantined && self.owner == 0
    }

    // r[impl slot.generation]
    fn freed(self) -> SlotWord {
        // 0 stays the mark of a slot that was never carved.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        SlotWord { generation, state: SlotState::Free, owner: 0 }
    }

    fn require(self, from: &[SlotState], wanted: SlotState) -> Result<(), IllegalTransition> {
        if from.contains(&self.state) {
            Ok(())
        } else {
            Err(IllegalTransition::State { from: self.state, wanted })
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
