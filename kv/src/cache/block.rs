//! A block that was found: its bytes, in place, for as long as anybody holds it.

use crate::checksum::Checksum;
use crate::error::Corrupt;
use crate::key::Key;
use crate::note::{Cold, NOTE_CHECKSUM, Note};
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{Guest, HoldsGuest, SlotGuard, Torn};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// A published block. Derefs to its bytes, which stand where the writer put them.
///
/// While any clone lives the slot is not reused, even when the block was deleted or evicted
/// meanwhile. A clone costs no shared store; the lease goes with the last one, or with the process.
///
/// Published bytes do not change, but a *writer* that is hostile or broken can damage them: give
/// them a checksum and verify where that matters. In a forked child a block made before the fork
/// must not be read: its memory is not mapped there.
///
/// `G` is how it keeps its guest; see [`BlockRef`].
#[derive(Clone)]
pub struct Block<G: HoldsGuest = Guest> {
    guard: SlotGuard<G>,
}

/// A block that borrows the cache it was found with. Everything that a [`Block`] is, without the cost of
/// counting one more handle of the guest; [`BlockRef::into_owned`] makes it one.
pub type BlockRef<'a> = Block<Cow<'a, Guest>>;

impl BlockRef<'_> {
    /// The same block, for as long as anybody wants it.
    pub fn into_owned(self) -> Block {
        Block { guard: self.guard.into_owned() }
    }
}

impl<G: HoldsGuest> Block<G> {
    #[inline]
    pub(super) fn new(guard: SlotGuard<G>) -> Block<G> {
        Block { guard }
    }

    pub(super) fn note(&self) -> Note {
        Note::from_words(self.guard.note())
    }

    /// The name it was published under.
    pub fn key(&self) -> Key {
        self.note().key
    }

    /// Where it stands.
    #[inline]
    pub fn slot(&self) -> SlotRef {
        self.guard.slot()
    }

    /// The checksum that its writer gave it, if any.
    pub fn checksum(&self) -> Option<Checksum> {
        if self.note().flags & NOTE_CHECKSUM == 0 {
            return None;
        }
        Checksum::from_word(Cold::from_words(self.guard.cold()).checksum)
    }

    /// Whether what was read of this block until now was in the pool: to be asked after reading where
    /// somebody may cut the pool's file. What was cut reads as zeroes.
    ///
    /// # Errors
    /// [`Torn`]: the file of the pool or the control area was cut.
    pub fn check_intact(&self) -> Result<(), Torn> {
        self.guard.check_intact()
    }

    /// Checks the payload against the checksum. A block without one passes. See also
    /// [`super::Cache::verify`], which tells the host of what is wrong.
    ///
    /// # Errors
    /// [`Corrupt`] with the expected and the found checksum.
    // r[impl kv.verify]
    pub fn verify(&self) -> Result<(), Corrupt> {
        let Some(checksum) = self.checksum() else { return Ok(()) };
        checksum.verify(self).map_err(|mismatch| Corrupt {
            key: self.key(),
            slot: self.slot(),
            mismatch,
        })
    }
}

impl<G: HoldsGuest> Deref for Block<G> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.guard
    }
}

impl<G: HoldsGuest> AsRef<[u8]> for Block<G> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<G: HoldsGuest> fmt::Debug for Block<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        f.debug_struct("Block")
            .field("key", &key)
            .field("slot", &self.slot())
            .field("length_bytes", &self.len())
            .finish()
    }
}
