//! Which published block goes when room is wanted.
//!
//! A [`Policy`] lives in the host's heap and knows blocks by their dense slot id only. It orders them;
//! it neither unpublishes nor frees: the host asks for a victim, unpublishes it, and then tells the
//! policy with [`Policy::remove`].
//!
//! Pinned blocks are a state of the policy ([`Policy::pin`]) and not a question it asks about each
//! candidate: a pinned block stands outside of the order that victims are taken from, so finding a
//! victim costs the same however many blocks are pinned, and a guest that pins all it can slows
//! nobody down. A pinned block keeps its place in time and returns to exactly there.

use std::fmt;
use std::str::FromStr;

use by_age::ByAge;

mod by_age;
mod order;
#[cfg(test)]
mod tests;

pub use order::OrderFault;

/// An eviction policy: an order among the published blocks.
///
/// Every method that changes something returns whether it did; `false` means that the slot was not
/// in the state the call is for (held already, not held, slot id out of range) and that nothing was
/// changed.
pub trait Policy: Send {
    /// Which policy this is.
    fn kind(&self) -> PolicyKind;

    /// A block was published in this slot, of this size class. Slot ids are dense and start at 1.
    fn insert(&mut self, slot: u32, class: u16) -> bool;

    /// A block of an earlier life of the host was found in this slot, of this size class. They come
    /// from the oldest to the newest, before any other; `stamp` is what [`Policy::renewed_since`]
    /// told of it.
    fn restore(&mut self, slot: u32, class: u16, stamp: u64) -> bool;

    /// While the guard is up, what is restored is no victim, for as long as the guard stays up.
    fn guard(&mut self, up: bool);

    /// Whether the block in this slot is no victim because of the guard.
    fn is_guarded(&self, slot: u32) -> bool;

    /// Number of blocks that are no victims because of the guard.
    fn guarded_count(&self) -> u32;

    /// The stamp given last. The next block inserted gets the next one.
    fn stamp(&self) -> u64;

    /// Tells slot and stamp of blocks that were inserted or renewed after `stamp`: of each class the
    /// newest first, at most four times so many. Pinned blocks are passed by.
    fn renewed_since(&self, stamp: u64, most: usize, each: &mut dyn FnMut(u32, u64));

    /// The block in this slot was used.
    fn touch(&mut self, slot: u32) -> bool;

    /// The block in this slot is no longer published. Takes pinned blocks too.
    fn remove(&mut self, slot: u32) -> bool;

    /// From now on this block is no victim. Pins are not counted here: the host calls this for the
    /// first pin and [`Policy::unpin`] when the last is gone.
    fn pin(&mut self, slot: u32) -> bool;

    /// This block may be a victim again, in the place it would have without having been pinned.
    fn unpin(&mut self, slot: u32) -> bool;

    /// The block to evict next, of this class or of any. It stays held until [`Policy::remove`].
    /// `None`: every block that is held (in that class) is pinned.
    fn victim(&self, class: Option<u16>) -> Option<u32>;

    /// The one among these slots to evict first. Slots that are not held or are pinned are passed
    /// by. For a place that is short of room in a way that no class describes: a full index bucket.
    fn victim_among(&self, slots: &[u32]) -> Option<u32>;

    /// Whether a block in this slot is held.
    fn holds(&self, slot: u32) -> bool;

    /// Number of blocks held, pinned ones included.
    fn count(&self) -> u32;

    /// Number of pinned blocks.
    fn pinned_count(&self) -> u32;

    /// Checks every link, stamp and count.
    ///
    /// # Errors
    /// The first [`OrderFault`] found. It means a bug or damaged memory of the host.
    fn audit(&self) -> Result<(), OrderFault>;
}

/// The policies to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicyKind {
    /// The block that was not used for longest goes first.
    #[default]
    Lru,
    /// The block that was published first goes first.
    Fifo,
}

/// A name that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no eviction policy: expected lru or fifo")]
pub struct ParsePolicyError {
    /// The name.
    pub found: String,
}

impl PolicyKind {
    /// Every policy.
    pub const ALL: [PolicyKind; 2] = [PolicyKind::Lru, PolicyKind::Fifo];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            PolicyKind::Lru => "lru",
            PolicyKind::Fifo => "fifo",
        }
    }

    /// An empty policy of this kind, for slot ids from 1 to `slots_max`. Memory follows the largest
    /// slot id seen (24 bytes each), not `slots_max`.
    pub fn build(self, slots_max: u32) -> Box<dyn Policy> {
        Box::new(ByAge::new(self, slots_max))
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for PolicyKind {
    type Err = ParsePolicyError;

    // r[impl policy.names]
    fn from_str(text: &str) -> Result<PolicyKind, ParsePolicyError> {
        let wanted = text.to_ascii_lowercase();
        let kind = PolicyKind::ALL.into_iter().find(|kind| kind.name() == wanted);
        kind.ok_or_else(|| ParsePolicyError { found: text.to_owned() })
    }
}
