//! LMDB: the block is read in the file that all processes map, within a read transaction.
#![expect(unsafe_code, reason = "opening an environment is unsafe, as its file could be cut")]

use std::io::Write;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::Subject;
use crate::content::{Content, WrongContent};
use crate::error::CompareError;
use crate::orders::Gets;
use crate::picks::Pick;

/// Address space; the file is as large as what is in it.
const MAP_BYTES: usize = 4 << 30;
const READERS_MAX: u32 = 256;
/// Bytes that are made at a time; a multiple of eight.
const PART_BYTES: usize = 2048;

/// A process with the environment open.
pub(crate) struct Lmdb<'env> {
    env: &'env Env,
    blocks: Database<'static, Bytes, Bytes>,
}

/// Opens the environment in a directory, and makes it if it is not there.
pub(crate) fn open(directory: &Path) -> Result<Env, CompareError> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    // Nothing here is to outlive the machine, so it need not wait for a disk.
    // SAFETY: a file that is damaged when the machine stops is removed and not read again.
    unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP) };
    // SAFETY: only processes of this program use the directory, all through LMDB with these
    // flags, and each opens it once; it is removed when they have ended.
    Ok(unsafe { options.open(directory)? })
}

impl Lmdb<'_> {
    /// The blocks in an environment.
    pub(crate) fn of(env: &Env) -> Result<Lmdb<'_>, CompareError> {
        let blocks = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
            let blocks = opener.create_database(transaction, None)?;
            Ok::<_, CompareError>(CommitOrAbort::<_, CompareError>::Commit(blocks))
        })?;
        match blocks {
            CommitOrAbort::Commit(blocks) => Ok(Lmdb { env, blocks }),
            CommitOrAbort::Abort(error) => Err(error),
        }
    }
}

impl Subject for Lmdb<'_> {
    const REPLACES: bool = true;

    fn get(
        &mut self,
        _gets: &Gets,
        picks: &[Pick],
        mut look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError> {
        let transaction = self.env.read_txn()?;
        for pick in picks {
            let Content { size_bytes, number, .. } = pick.content;
            let found = self.blocks.get(&transaction, &pick.name)?;
            look(pick, found.ok_or(CompareError::Missing { size_bytes, number })?)?;
        }
        Ok(())
    }

    fn put(&mut self, content: Content, _yields: bool) -> Result<(), CompareError> {
        let mut transaction = self.env.write_txn()?;
        let size_bytes = content.size_bytes as usize;
        self.blocks.put_reserved(&mut transaction, &content.name(), size_bytes, |space| {
            // Through a part that stays in the first cache, so that no byte is written twice in
            // memory: the reserved space is not initialized and gives itself out to be appended to.
            let mut part = [0; PART_BYTES];
            for start in (0..size_bytes).step_by(PART_BYTES) {
                let part = &mut part[..PART_BYTES.min(size_bytes - start)];
                content.write_part(start as u64 / 8, part);
                space.write_all(part)?;
            }
            Ok(())
        })?;
        Ok(transaction.commit()?)
    }
}
