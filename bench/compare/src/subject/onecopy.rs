//! onecopy: the block is leased and read where its writer put it.

use std::path::Path;
use std::time::Duration;

use onecopy::cache::{Cache, CacheOptions, LookupPath, PublishOptions};
use onecopy::key::Key;
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;

use super::Subject;
use crate::content::{Content, WrongContent};
use crate::error::CompareError;
use crate::orders::Gets;
use crate::picks::Pick;

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes and blocks that are stored together when the cache is filled.
const GROUP_BYTES: u64 = 1 << 20;
const GROUP_BLOCKS: usize = 64;

/// A guest of the cache.
pub(crate) struct Onecopy {
    cache: Cache,
    keys: Vec<Key>,
}

impl Onecopy {
    /// Attaches to a segment, to read it or also to write.
    pub(crate) fn attach(
        segment: &Path,
        lookup: LookupPath,
        writes: bool,
    ) -> Result<Onecopy, CompareError> {
        let role = if writes { Role::Writer } else { Role::Reader };
        let options = CacheOptions::new(GuestOptions { role, ..GuestOptions::at(segment) });
        let cache = Cache::attach(CacheOptions { deadline: PATIENCE, lookup, ..options })?;
        Ok(Onecopy { cache, keys: Vec::new() })
    }

    fn store_group(&self, group: &mut Vec<(Content, Vec<u8>)>) -> Result<(), CompareError> {
        let blocks: Vec<(Key, &[u8])> =
            group.iter().map(|(content, bytes)| (key(*content), &bytes[..])).collect();
        let outcomes = self.cache.store_many(&blocks, PublishOptions::default());
        for (outcome, (content, _)) in outcomes.into_iter().zip(group.drain(..)) {
            check_first(outcome?.is_first(), content)?;
        }
        Ok(())
    }
}

impl Subject for Onecopy {
    const REPLACES: bool = false;

    fn get(
        &mut self,
        gets: &Gets,
        picks: &[Pick],
        mut look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError> {
        if let [pick] = picks {
            let found = self.cache.lookup_ref(&Key::from_bytes(pick.name))?;
            let block = found.ok_or_else(|| missing(pick))?;
            return Ok(look(pick, &block)?);
        }
        self.keys.clear();
        self.keys.extend(picks.iter().map(|pick| Key::from_bytes(pick.name)));
        if gets.is_prefix {
            let matched = self.cache.match_prefix(&self.keys)?;
            return picks.get(matched).map_or(Ok(()), |pick| Err(missing(pick)));
        }
        for (pick, block) in picks.iter().zip(self.cache.lookup_many_ref(&self.keys)?) {
            look(pick, &block.ok_or_else(|| missing(pick))?)?;
        }
        Ok(())
    }

    fn put(&mut self, content: Content, _yields: bool) -> Result<(), CompareError> {
        let size_bytes = content.size_bytes;
        let mut slot = self.cache.reserve(size_bytes)?;
        content.write(&mut slot[..size_bytes as usize]);
        let published = slot.publish(&key(content), size_bytes, PublishOptions::default())?;
        check_first(published.is_first(), content)
    }

    fn fill(&mut self, contents: impl Iterator<Item = Content>) -> Result<(), CompareError> {
        let mut group = Vec::new();
        for content in contents {
            let mut bytes = vec![0; content.size_bytes as usize];
            content.write(&mut bytes);
            group.push((content, bytes));
            let is_large = group.len() as u64 * content.size_bytes >= GROUP_BYTES;
            if is_large || group.len() >= GROUP_BLOCKS {
                self.store_group(&mut group)?;
            }
        }
        self.store_group(&mut group)
    }
}

fn key(content: Content) -> Key {
    Key::from_bytes(content.name())
}

fn missing(pick: &Pick) -> CompareError {
    let Content { size_bytes, number, .. } = pick.content;
    CompareError::Missing { size_bytes, number }
}

fn check_first(is_first: bool, content: Content) -> Result<(), CompareError> {
    let Content { size_bytes, number, .. } = content;
    if is_first { Ok(()) } else { Err(CompareError::NotFirst { size_bytes, number }) }
}
