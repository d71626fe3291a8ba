//! Numbered blocks, for the benchmarks of a cache that is full of them: what they are called, what is in
//! them, publishing them and checking that they are right.

use std::time::Duration;

use onecopy::cache::{BlockRef, Cache, CacheOptions, LookupPath, PublishOptions};
use onecopy::key::Key;
use onecopy_transport::guest::GuestOptions;

use crate::cache_host::CacheHost;
use crate::error::BenchError;
use crate::payload::{check, fill};

/// Blocks that are published together.
const BATCH: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(60);

/// Attaches to a host whose lookups the guest does itself.
pub(crate) fn attach(host: &std::path::Path) -> Result<Cache, BenchError> {
    let options = CacheOptions::new(GuestOptions::at(host));
    let lookup = LookupPath::Direct;
    Ok(Cache::attach(CacheOptions { deadline: PATIENCE, lookup, ..options })?)
}

/// Publishes the blocks 0 to `count`, each of `block_bytes` (a multiple of 8).
pub(crate) fn publish(cache: &Cache, count: u64, block_bytes: usize) -> Result<(), BenchError> {
    let mut published = 0;
    while published < count {
        let batch = BATCH.min(count - published);
        let payloads: Vec<Vec<u8>> = (published..published + batch)
            .map(|number| {
                let mut bytes = vec![0; block_bytes];
                fill(&mut bytes, |index| word(number, index));
                bytes
            })
            .collect();
        let named: Vec<(Key, &[u8])> =
            (published..).zip(&payloads).map(|(number, bytes)| (key(number), &bytes[..])).collect();
        let outcomes = cache.store_many(&named, PublishOptions::default());
        for (outcome, number) in outcomes.into_iter().zip(published..) {
            if !outcome?.is_first() {
                return Err(BenchError::NotFirst { number });
            }
        }
        published += batch;
    }
    Ok(())
}

/// A host with so many blocks of this size, and a guest of it.
pub(crate) struct Filled {
    pub(crate) cache: Cache,
    pub(crate) host: CacheHost,
    pub(crate) count: u64,
    block_bytes: usize,
}

impl Filled {
    /// Publishes the blocks to a host that has room for them.
    pub(crate) fn publish(
        host: CacheHost,
        count: u64,
        block_bytes: usize,
    ) -> Result<Filled, BenchError> {
        let cache = attach(host.segment())?;
        publish(&cache, count, block_bytes)?;
        Ok(Filled::by_hand(cache, host, count, block_bytes))
    }

    /// A guest of a host to which it publishes so many blocks itself before it verifies them.
    pub(crate) fn by_hand(cache: Cache, host: CacheHost, count: u64, block_bytes: usize) -> Filled {
        Filled { cache, host, count, block_bytes }
    }

    /// Looks every block up, or some thousand of them all over, and checks every byte.
    pub(crate) fn verify(&self) -> Result<(), BenchError> {
        let step = (self.count / 4096).max(1);
        for number in (0..self.count).step_by(step as usize) {
            let block = self.cache.lookup_ref(&key(number))?;
            self.check(number, &block.ok_or(BenchError::Missing { number })?)?;
        }
        // A figure of direct lookups must not be one of messages.
        match self.cache.asked_keys() {
            0 => Ok(()),
            keys => Err(BenchError::Asked { keys }),
        }
    }

    /// Checks every byte of a block.
    pub(crate) fn check(&self, number: u64, block: &BlockRef<'_>) -> Result<(), BenchError> {
        check(block, self.block_bytes, number, |index| word(number, index))
    }
}

/// The name of a block: as spread as a hash of its content is.
#[inline]
pub(crate) fn key(number: u64) -> Key {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    name[8..16].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(name)
}

/// Word `index` of a block.
#[inline]
pub(crate) fn word(number: u64, index: usize) -> u64 {
    (number << 8) ^ index as u64 ^ 0x6f6e_6563_6f70_7900
}

/// Numbers below `count` that come far from one another, each as often as any other over a long time.
/// A linear congruential generator modulo 2^64, its upper bits scaled; constants of Knuth's MMIX.
#[derive(Debug, Clone)]
pub(crate) struct Scattered {
    state: u64,
    count: u64,
}

impl Scattered {
    pub(crate) fn new(seed: u64, count: u64) -> Scattered {
        Scattered { state: seed, count }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.state) * u128::from(self.count)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_numbers_reach_everything_and_nothing_else() {
        let mut numbers = Scattered::new(1, 100);
        let mut met = [false; 100];
        for _ in 0..10_000 {
            met[numbers.next() as usize] = true;
        }
        assert!(met.iter().all(|met| *met));
    }

    #[test]
    fn blocks_have_names_and_contents_of_their_own() {
        assert_ne!(key(1), key(2));
        assert_ne!(word(1, 0), word(2, 0));
        assert_ne!(word(1, 0), word(1, 1));
    }
}
