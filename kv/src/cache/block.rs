//! A block that was found: its bytes, in place, for as long as anybody holds it.

use crate::checksum::Checksum;
use crate::error::Corrupt;
use crate::key::Key;
use crate::note::{Cold, NOTE_CHECKSUM, Note};
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{SlotGuard, Torn};
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
#[derive(Clone)]
pub struct Block {
    guard: SlotGuard,
}

impl Block {
    pub(super) fn new(guard: SlotGuard) -> Block {
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

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.guard
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        f.debug_struct("Block")
            .field("key", &key)
            .field("slot", &self.slot())
            .field("length_bytes", &self.len())
            .finish()
    }
}
