//! Reserve, fill and publish at once, with a copy.

use super::{Cache, PublishOptions, Published, ToPublish};
use crate::error::PublishError;
use crate::key::Key;
use std::time::Instant;

/// Most blocks and bytes that a batch holds unpublished at a time, so that a large batch does not
/// need all of its slots at once.
const GROUP_BLOCKS: usize = 64;
const GROUP_BYTES: u64 = 4 << 20;

impl Cache {
    /// Stores a copy of these bytes under this key, without end and without a checksum.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn store(&self, key: &Key, payload: &[u8]) -> Result<Published, PublishError> {
        self.store_with(key, payload, PublishOptions::default())
    }

    /// Stores a copy of these bytes under this key.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn store_with(
        &self,
        key: &Key,
        payload: &[u8],
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let until = self.until();
        let block = self.copy_in(key, payload, options, until)?;
        block.fill.publish_until(key, block.length_bytes, options, until)
    }

    /// Stores a copy of each of these blocks, in order: of two with one key the first is stored
    /// and the second is [`Published::AlreadyThere`].
    // r[impl kv.store_many]
    pub fn store_many(
        &self,
        blocks: &[(Key, &[u8])],
        options: PublishOptions,
    ) -> Vec<Result<Published, PublishError>> {
        let until = self.until();
        let mut outcomes = Vec::with_capacity(blocks.len());
        let mut group = Vec::new();
        let mut group_bytes = 0;
        for (key, payload) in blocks {
            if group.len() >= GROUP_BLOCKS || group_bytes >= GROUP_BYTES {
                self.publish_group(&mut group, &mut outcomes, until);
                group_bytes = 0;
            }
            let mut copied = self.copy_in(key, payload, options, until);
            if copied.is_err() && !group.is_empty() {
                // What this batch holds may be what is missing.
                self.publish_group(&mut group, &mut outcomes, until);
                group_bytes = 0;
                copied = self.copy_in(key, payload, options, until);
            }
            match copied {
                Ok(block) => {
                    group_bytes += block.fill.slot_bytes();
                    group.push(block);
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        self.publish_group(&mut group, &mut outcomes, until);
        outcomes
    }

    fn publish_group(
        &self,
        group: &mut Vec<ToPublish>,
        outcomes: &mut Vec<Result<Published, PublishError>>,
        until: Instant,
    ) {
        outcomes.append(&mut self.publish_until(std::mem::take(group), until));
    }

    fn copy_in(
        &self,
        key: &Key,
        payload: &[u8],
        options: PublishOptions,
        until: Instant,
    ) -> Result<ToPublish, PublishError> {
        let length_bytes = payload.len() as u64;
        let mut fill = self.reserve_until(length_bytes, until)?;
        fill.copy_from(payload)?;
        Ok(ToPublish { fill, key: *key, length_bytes, options })
    }
}
