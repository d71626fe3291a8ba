//! Answers to single entries, as they travel and as values.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian as le};

/// What came of one key, as it travels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct KeyAnswer {
    /// Which [`KeyOutcome`].
    pub code: le::U32,
    /// Its number.
    pub number: le::U32,
}

/// What came of one key of an exists, delete, pin, unpin or report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOutcome {
    /// There is no such block.
    NotFound,
    /// There is (exists), it is gone now (delete, report), it is pinned or unpinned.
    Done {
        /// How often the peer that asked has it pinned now (pin, unpin); else 0.
        pins: u32,
    },
    /// Not deleted: somebody has it pinned.
    Busy {
        /// Pins on it, of all peers.
        pins: u32,
    },
    /// Not deleted: the host was restarted, and a guest that may have it pinned has not come back.
    Guarded,
    /// Not unpinned: the peer that asked has no pin on it.
    NotPinned,
    /// Not pinned: the peer that asked has as many blocks pinned as it may.
    PinQuota {
        /// The most blocks that a peer may have pinned.
        pins_max: u32,
    },
}

impl KeyOutcome {
    /// As it travels.
    pub fn encode(self) -> KeyAnswer {
        let (code, number) = match self {
            KeyOutcome::NotFound => (0, 0),
            KeyOutcome::Done { pins } => (1, pins),
            KeyOutcome::Busy { pins } => (2, pins),
            KeyOutcome::NotPinned => (3, 0),
            KeyOutcome::PinQuota { pins_max } => (4, pins_max),
            KeyOutcome::Guarded => (5, 0),
        };
        KeyAnswer { code: code.into(), number: number.into() }
    }
}

impl KeyAnswer {
    /// What it says; `None` for a code that this build does not know.
    // r[impl kv.outcomes]
    pub fn decode(self) -> Option<KeyOutcome> {
        let number = self.number.get();
        Some(match self.code.get() {
            0 => KeyOutcome::NotFound,
            1 => KeyOutcome::Done { pins: number },
            2 => KeyOutcome::Busy { pins: number },
            3 => KeyOutcome::NotPinned,
            4 => KeyOutcome::PinQuota { pins_max: number },
            5 => KeyOutcome::Guarded,
            _ => return None,
        })
    }
}

/// What came of one block to publish, as it travels.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PublishAnswer {
    /// Which [`PublishOutcome`].
    pub code: le::U64,
    /// Its numbers, in the order of its fields.
    pub numbers: [le::U64; 2],
}

/// What came of one block to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It can be found now.
    Published,
    /// Another block has this key; its writer was first. The slot is free again.
    AlreadyThere {
        /// The block that is there, as u64 of its `SlotRef`.
        slot: u64,
    },
    /// The slot is not granted to the guest that asks. Nothing was changed.
    BadSlot {
        /// The slot reference as it was given.
        slot: u64,
    },
    /// Longer than the slot. The slot is free again.
    TooLong {
        /// Bytes of the block.
        length_bytes: u64,
        /// Bytes of the slot.
        slot_bytes: u64,
    },
    /// The slot alone is larger than the cache may become. The slot is free again.
    LargerThanCapacity {
        /// Bytes of the slot.
        slot_bytes: u64,
        /// Capacity of the cache, in bytes (0 with a capacity of 0 blocks).
        capacity_bytes: u64,
    },
    /// What would have to be evicted is pinned. The slot is free again.
    AllPinned {
        /// Blocks pinned, of all peers.
        pinned_blocks: u64,
        /// Bytes of their slots.
        pinned_bytes: u64,
    },
    /// Every block in the part of the index where the key belongs is pinned. The slot is free
    /// again, at the latest after its last lease.
    IndexFull {
        /// Blocks in that part of the index.
        neighbours: u64,
    },
}

impl PublishOutcome {
    /// As it travels.
    pub fn encode(self) -> PublishAnswer {
        let (code, numbers) = match self {
            PublishOutcome::Published => (0, [0, 0]),
            PublishOutcome::AlreadyThere { slot } => (1, [slot, 0]),
            PublishOutcome::BadSlot { slot } => (2, [slot, 0]),
            PublishOutcome::TooLong { length_bytes, slot_bytes } => (3, [length_bytes, slot_bytes]),
            PublishOutcome::LargerThanCapacity { slot_bytes, capacity_bytes } => {
                (4, [slot_bytes, capacity_bytes])
            }
            PublishOutcome::AllPinned { pinned_blocks, pinned_bytes } => {
                (5, [pinned_blocks, pinned_bytes])
            }
            PublishOutcome::IndexFull { neighbours } => (6, [neighbours, 0]),
        };
        PublishAnswer { code: code.into(), numbers: numbers.map(le::U64::new) }
    }
}

impl PublishAnswer {
    /// What it says; `None` for a code that this build does not know.
    // r[impl kv.outcomes]
    pub fn decode(self) -> Option<PublishOutcome> {
        let [first, second] = self.numbers.map(le::U64::get);
        Some(match self.code.get() {
            0 => PublishOutcome::Published,
            1 => PublishOutcome::AlreadyThere { slot: first },
            2 => PublishOutcome::BadSlot { slot: first },
            3 => PublishOutcome::TooLong { length_bytes: first, slot_bytes: second },
            4 => PublishOutcome::LargerThanCapacity { slot_bytes: first, capacity_bytes: second },
            5 => PublishOutcome::AllPinned { pinned_blocks: first, pinned_bytes: second },
            6 => PublishOutcome::IndexFull { neighbours: first },
            _ => return None,
        })
    }
}
