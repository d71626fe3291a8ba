//! One system as a guest of it sees it.

mod iceoryx;
mod lmdb;
mod memcached;
mod onecopy;
mod redis;
mod wire;

pub(crate) use iceoryx::{Iceoryx, Names, owner};
pub(crate) use lmdb::{Lmdb, open as open_lmdb};
pub(crate) use memcached::Memcached;
pub(crate) use onecopy::Onecopy;
pub(crate) use redis::Redis;

use crate::content::{Content, Look, WrongContent};
use crate::error::CompareError;
use crate::orders::Gets;
use crate::picks::Pick;

/// What every system can do.
pub(crate) trait Subject {
    /// Whether a block that is put under a name again replaces the first. Where it does not, each
    /// put has a name of its own, and the system makes room by itself.
    const REPLACES: bool;

    /// Gets these blocks together, and shows each of them to `look`, whose bytes stay as they are
    /// until it returns.
    fn get(
        &mut self,
        gets: &Gets,
        picks: &[Pick],
        look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError>;

    /// Stores a block that the system writes to its place as `content` tells it; when this returns,
    /// others can get it.
    fn put(&mut self, content: Content, yields: bool) -> Result<(), CompareError>;

    /// Stores blocks with these contents.
    fn fill(&mut self, contents: impl Iterator<Item = Content>) -> Result<(), CompareError> {
        let mut contents = contents;
        contents.try_for_each(|content| self.put(content, true))
    }

    /// Whether the last block that was put is there, whole.
    fn check_put(&mut self, gets: &Gets, content: Content) -> Result<(), CompareError> {
        let pick = Pick { content, name: content.name() };
        self.get(gets, &[pick], |pick, bytes| pick.content.check(bytes, Look::Whole))
    }
}
