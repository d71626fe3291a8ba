//! Who has which block pinned, and how often.
//!
//! Pins live in the host's heap and die with the peer that asked for them. They are kept by slot,
//! not by key: a slot keeps its block for as long as it is published.

use onecopy_transport::Serial;
use std::collections::{HashMap, HashSet};

/// All pins.
#[derive(Debug, Default)]
pub struct Pins {
    by_slot: HashMap<u32, Vec<PeerPin>>,
    by_peer: HashMap<Serial, HashSet<u32>>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct PeerPin {
    serial: Serial,
    count: u32,
}

/// A pin that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// How often the peer has the slot pinned now.
    pub count: u32,
    /// Whether nobody had it pinned before.
    pub first: bool,
}

/// A pin that was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpinned {
    /// How often the peer still has the slot pinned.
    pub count: u32,
    /// Whether nobody has it pinned now.
    pub last: bool,
}

impl Pins {
    /// Adds a pin of this peer; `None` when it has `slots_max` other slots pinned already, or this
    /// one 2^32 - 1 times.
    // r[impl kv.pin_quota]
    pub fn pin(&mut self, serial: Serial, slot: u32, slots_max: u32) -> Option<Pinned> {
        let held = self.by_peer.entry(serial).or_default();
        if !held.contains(&slot) {
            if held.len() as u64 >= u64::from(slots_max) {
                return None;
            }
            held.insert(slot);
        }
        let pins = self.by_slot.entry(slot).or_default();
        let first = pins.is_empty();
        let count = match pins.iter_mut().find(|pin| pin.serial == serial) {
            Some(pin) => {
                pin.count = pin.count.checked_add(1)?;
                pin.count
            }
            None => {
                pins.push(PeerPin { serial, count: 1 });
                1
            }
        };
        self.total += 1;
        Some(Pinned { count, first })
    }

    /// Takes one pin of this peer away; `None` when it has none on this slot.
    pub fn unpin(&mut self, serial: Serial, slot: u32) -> Option<Unpinned> {
        let pins = self.by_slot.get_mut(&slot)?;
        let index = pins.iter().position(|pin| pin.serial == serial)?;
        let pin = pins.get_mut(index)?;
        pin.count -= 1;
        let count = pin.count;
        self.total -= 1;
        if count > 0 {
            return Some(Unpinned { count, last: false });
        }
        pins.swap_remove(index);
        let last = pins.is_empty();
        if last {
            self.by_slot.remove(&slot);
        }
        self.drop_from_peer(serial, slot);
        Some(Unpinned { count, last })
    }

    /// The block in this slot is no longer published: all pins on it are void. Whether there were
    /// any.
    pub fn forget_slot(&mut self, slot: u32) -> bool {
        let Some(pins) = self.by_slot.remove(&slot) else { return false };
        for pin in &pins {
            self.total -= u64::from(pin.count);
            self.drop_from_peer(pin.serial, slot);
        }
        true
    }

    /// This peer is gone. Returns the slots that nobody has pinned any more.
    pub fn forget_peer(&mut self, serial: Serial) -> Vec<u32> {
        let slots = self.by_peer.remove(&serial).unwrap_or_default();
        let mut unpinned = Vec::new();
        for slot in slots {
            let Some(pins) = self.by_slot.get_mut(&slot) else { continue };
            let of_peer = pins.iter().filter(|pin| pin.serial == serial);
            self.total -= of_peer.map(|pin| u64::from(pin.count)).sum::<u64>();
            pins.retain(|pin| pin.serial != serial);
            if pins.is_empty() {
                self.by_slot.remove(&slot);
                unpinned.push(slot);
            }
        }
        unpinned
    }

    /// Pins on this slot, of all peers.
    pub fn count(&self, slot: u32) -> u32 {
        let pins = self.by_slot.get(&slot).map(Vec::as_slice).unwrap_or_default();
        pins.iter().fold(0u32, |sum, pin| sum.saturating_add(pin.count))
    }

    /// How many slots this peer has pinned.
    pub fn of_peer(&self, serial: Serial) -> u64 {
        self.by_peer.get(&serial).map_or(0, |slots| slots.len() as u64)
    }

    /// Pins of all peers on all slots.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The slots that somebody has pinned.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_slot.keys().copied()
    }

    /// Whether both tables say the same; the first slot on which they differ otherwise.
    pub fn audit(&self) -> Result<(), u32> {
        let of_peers = self.by_peer.iter();
        let mut pairs = of_peers.flat_map(|(serial, slots)| slots.iter().map(move |s| (serial, s)));
        let orphan = pairs.find(|(serial, slot)| {
            let pins = self.by_slot.get(slot).map(Vec::as_slice).unwrap_or_default();
            !pins.iter().any(|pin| pin.serial == **serial && pin.count > 0)
        });
        if let Some((_, &slot)) = orphan {
            return Err(slot);
        }
        let pinned: usize = self.by_slot.values().map(Vec::len).sum();
        let held: usize = self.by_peer.values().map(HashSet::len).sum();
        if pinned == held { Ok(()) } else { Err(0) }
    }

    fn drop_from_peer(&mut self, serial: Serial, slot: u32) {
        if let Some(held) = self.by_peer.get_mut(&serial) {
            held.remove(&slot);
            if held.is_empty() {
                self.by_peer.remove(&serial);
            }
        }
    }
}
