//! Finding blocks.

use super::Core;
use crate::key::Key;
use crate::protocol::KeyOutcome;
use onecopy_shm::SlotRef;
use onecopy_transport::service::ServiceContext;
use zerocopy::little_endian as le;

impl Core {
    /// Answers each key with its slot, or 0. With `prefix` nothing after the first miss is looked
    /// up, counted or used.
    // r[impl kv.lookup]
    // r[impl kv.lookup_prefix]
    pub(super) fn lookup(
        &mut self,
        keys: &[Key],
        prefix: bool,
        context: &mut ServiceContext<'_>,
        answers: &mut [le::U64],
    ) {
        answers.fill(le::U64::ZERO);
        for (key, answer) in keys.iter().zip(answers) {
            match self.find_live(key, context) {
                Some(slot) => {
                    self.policy.touch(slot.slot);
                    self.counted.hits += 1;
                    answer.set(slot.to_u64());
                }
                None => {
                    self.counted.misses += 1;
                    if prefix {
                        break;
                    }
                }
            }
        }
    }

    /// A guest found this block by itself and uses it. What has gone since is of no age any more.
    // r[impl kv.used]
    pub(super) fn used(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) {
        if context.pool.published(slot.slot) == Some(slot) {
            self.policy.touch(slot.slot);
            self.counted.direct_hits += 1;
        }
    }

    /// Whether the key is there. Being asked about is no use: the order of eviction stays.
    // r[impl kv.exists]
    pub(super) fn exists(&mut self, key: &Key, context: &mut ServiceContext<'_>) -> KeyOutcome {
        match self.find_live(key, context) {
            Some(_) => KeyOutcome::Done { pins: 0 },
            None => KeyOutcome::NotFound,
        }
    }
}
