//! Removing a segment, and never anything else.

use super::dir::{DirError, SegmentDir};
use super::error::SystemError;
use super::file::{
    CONTROL, FileError, LEASES, LOCK, POOL, POOL_PATH, RINGS, SOCKET, SOCKET_NEW, parse_serial,
    remove_at,
};
use super::lock::{LockError, SegmentLock};
use super::path::SegmentPath;
use super::pool_file::{HeaderFound, PoolFile, PoolFileError, SegmentId};
use super::status::{Contents, Foreign};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a segment was not removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DestroyError {
    /// What is there is not (only) a segment. Nothing was touched.
    #[error("{0}; nothing was removed")]
    Foreign(Foreign),
    /// A live host owns it, or the lock cannot be taken. Nothing was touched.
    #[error("{0}; nothing was removed")]
    Lock(#[from] LockError),
    /// The directory cannot be opened.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A file cannot be looked at.
    #[error(transparent)]
    File(#[from] FileError),
    /// Where the pool is cannot be told.
    #[error(transparent)]
    Pool(#[from] PoolFileError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Number of files removed.
    pub files: u64,
    /// A pool elsewhere that was left, since it does not name this segment.
    pub pool_left: Option<PathBuf>,
}

/// Removes a segment that no live host owns. If it is interrupted, doing it again goes on.
// r[impl segment.destroy]
pub fn destroy(path: &SegmentPath) -> Result<Destroyed, DestroyError> {
    let directory = SegmentDir::open(path)?;
    // Before the lock, which makes a file where none is.
    refuse_foreign(&directory)?;
    let lock = SegmentLock::try_lock(&directory)?;
    directory.destroy(lock)
}

impl SegmentDir {
    /// Removes the segment whose lock the caller holds.
    // r[impl segment.destroy]
    pub fn destroy(self, lock: SegmentLock) -> Result<Destroyed, DestroyError> {
        let destroyed = self.clear(lock)?;
        // A new host may be at work in the directory by now: only empty ones are removed.
        remove_empty(self.path().as_path())?;
        if let Some(parent) = self.path().own_parent() {
            remove_empty(parent)?;
        }
        Ok(destroyed)
    }

    /// Removes the segment whose lock the caller holds, and leaves its directory.
    pub fn clear(&self, lock: SegmentLock) -> Result<Destroyed, DestroyError> {
        let mut destroyed = self.remove_areas(&lock)?;
        destroyed.files += u64::from(remove_at(self.as_fd(), LOCK, &self.path_of(LOCK))?);
        Ok(destroyed)
    }

    /// Removes what a host left that died while it made the segment, so that it can be made. A
    /// segment that was finished is refused.
    // r[impl segment.unfinished]
    pub fn remove_unfinished(&self, lock: &SegmentLock) -> Result<Destroyed, DestroyError> {
        match self.contents()? {
            Contents::Empty => Ok(Destroyed::default()),
            Contents::Unfinished => self.remove_areas(lock),
            Contents::Foreign(foreign) => Err(DestroyError::Foreign(foreign)),
            Contents::Segment => Err(FileError::Exists { path: self.path_of(CONTROL) }.into()),
        }
    }

    /// Removes everything but the lock. `control` goes last: as long as anything is left, what is
    /// left is known to be a segment, and which one.
    fn remove_areas(&self, _lock: &SegmentLock) -> Result<Destroyed, DestroyError> {
        refuse_foreign(self)?;
        let mut destroyed = self.remove_pool_elsewhere()?;
        for name in [SOCKET, SOCKET_NEW, POOL_PATH, POOL] {
            destroyed.files += u64::from(remove_at(self.as_fd(), name, &self.path_of(name))?);
        }
        destroyed.files += self.remove_below(RINGS)?;
        destroyed.files += self.remove_below(LEASES)?;
        destroyed.files += u64::from(remove_at(self.as_fd(), CONTROL, &self.path_of(CONTROL))?);
        Ok(destroyed)
    }

    fn remove_pool_elsewhere(&self) -> Result<Destroyed, DestroyError> {
        let mut destroyed = Destroyed::default();
        // Cut off by a crash while it was written: it names nothing that was made.
        let (path, id) = match self.read_pool_path() {
            Ok(Some(named)) => named,
            Ok(None) | Err(PoolFileError::BadPoolPath { .. }) => return Ok(destroyed),
            Err(error) => return Err(error.into()),
        };
        let own = self.own_pool(&path, id)?;
        let gone = matches!(
            rustix::fs::statat(rustix::fs::CWD, &path, AtFlags::SYMLINK_NOFOLLOW),
            Err(Errno::NOENT)
        );
        match own {
            Some(pool) if pool.backing.can_grow() => {
                destroyed.files += u64::from(remove_at(rustix::fs::CWD, &path, &path)?);
            }
            Some(device) => device.erase_header()?,
            None if gone => {}
            None => destroyed.pool_left = Some(path),
        }
        Ok(destroyed)
    }

    /// The pool elsewhere if it names the segment it was made for, or if it names none because this
    /// segment was never finished.
    fn own_pool(&self, path: &Path, id: SegmentId) -> Result<Option<PoolFile>, DestroyError> {
        let unfinished = self.contents()? == Contents::Unfinished;
        let Ok(pool) = PoolFile::open_at(path) else { return Ok(None) };
        let is_ours = match pool.read_header()? {
            HeaderFound::Segment(found) => found == id,
            HeaderFound::Other(first_word) => unfinished && first_word == 0,
        };
        Ok(is_ours.then_some(pool))
    }

    fn remove_below(&self, directory: &'static str) -> Result<u64, DestroyError> {
        let below = match self.open_below(directory) {
            Err(FileError::NotFound { .. }) => return Ok(0),
            opened => opened?,
        };
        let path = self.path_of(directory);
        let mut removed = 0;
        for name in super::dir::names(below.as_fd(), &path)? {
            removed += u64::from(remove_at(below.as_fd(), &name, &path.join(&name))?);
        }
        match rustix::fs::unlinkat(self.as_fd(), directory, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(removed),
            Err(source) => Err(SystemError::on("remove directory", &path)(source).into()),
        }
    }
}

/// Refuses a directory that holds anything a segment does not, also one level down.
fn refuse_foreign(directory: &SegmentDir) -> Result<(), DestroyError> {
    if let Contents::Foreign(foreign) = directory.contents()? {
        return Err(DestroyError::Foreign(foreign));
    }
    if let Some(foreign) = directory.first_foreign()? {
        return Err(DestroyError::Foreign(foreign));
    }
    for below in [RINGS, LEASES] {
        let opened = match directory.open_below(below) {
            Err(FileError::NotFound { .. }) => continue,
            opened => opened?,
        };
        let path = directory.path_of(below);
        let is_serial = |name: &OsString| name.to_str().and_then(parse_serial).is_some();
        let names = super::dir::names(opened.as_fd(), &path)?;
        if let Some(name) = names.into_iter().find(|name| !is_serial(name)) {
            return Err(DestroyError::Foreign(Foreign::Content { path, name }));
        }
    }
    Ok(())
}

/// Removes a directory unless it is not empty, or gone.
fn remove_empty(path: &Path) -> Result<(), SystemError> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(source) => Err(SystemError::on("remove directory", path)(source)),
    }
}

#[cfg(test)]
mod tests;
