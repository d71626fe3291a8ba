//! What stands where a segment should be.

use super::dir::SegmentDir;
use super::error::FileKind;
use super::file::{AreaFile, CONTROL, FileError, LOCK, NAMES};
use super::lock::{LockError, SegmentLock};
use crate::format::{CONTROL_MAGIC, FORMAT_VERSION};
use onecopy_shm::Access;
use rustix::io::Errno;
use std::ffi::OsString;
use std::path::PathBuf;
use thiserror::Error;

/// Something that is no segment of ours where one was expected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A directory with files that no segment has.
    #[error("{path} is a directory with other content: {name:?}")]
    Content {
        /// The directory.
        path: PathBuf,
        /// The first foreign name in it.
        name: OsString,
    },
    /// `control` is not a file.
    #[error("{path} is {found}, expected a regular file")]
    NotAFile {
        /// The path of `control`.
        path: PathBuf,
        /// What it is.
        found: FileKind,
    },
    /// `control` begins with other bytes.
    #[error("{path} begins with {found:#018x}, expected {expected:#018x}", expected = CONTROL_MAGIC)]
    Magic {
        /// The path of `control`.
        path: PathBuf,
        /// Its first word.
        found: u64,
    },
    /// `control` is of another version of the format.
    #[error("{path} has format version {found}, this build reads {expected}",
        expected = FORMAT_VERSION)]
    Version {
        /// The path of `control`.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

/// What a segment's directory holds, whoever may be using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, or a lock file alone.
    Empty,
    /// Files of a segment, but none that was ever finished: its maker died.
    Unfinished,
    /// A segment.
    Segment,
    /// Something else.
    Foreign(Foreign),
}

/// What a segment's directory holds and whether a host is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentStatus {
    /// Nothing, or a lock file alone.
    Fresh,
    /// A segment that was never finished, whose maker is gone.
    Unfinished,
    /// A host holds the lock.
    Live {
        /// Process id that it wrote, in its own PID namespace: for people.
        pid: Option<u32>,
    },
    /// A segment without a host.
    Dead,
    /// Something else.
    Foreign(Foreign),
}

impl SegmentDir {
    /// Looks at the names in the directory and the first words of `control`.
    // r[impl segment.status]
    pub fn contents(&self) -> Result<Contents, FileError> {
        let names = self.names()?;
        let is_ours = |name: &OsString| NAMES.iter().any(|ours| name == ours);
        let foreign_name = names.iter().find(|name| !is_ours(name));
        if names.iter().any(|name| name == CONTROL) {
            return Ok(match self.control_contents()? {
                Contents::Unfinished => foreign_name.map_or(Contents::Unfinished, |name| {
                    Contents::Foreign(self.foreign_content(name.clone()))
                }),
                other => other,
            });
        }
        if let Some(name) = foreign_name {
            return Ok(Contents::Foreign(self.foreign_content(name.clone())));
        }
        let only_lock = names.iter().all(|name| name == LOCK);
        Ok(if only_lock { Contents::Empty } else { Contents::Unfinished })
    }

    /// The same, and whether a host is there. Changes nothing.
    // r[impl segment.status]
    pub fn classify(&self) -> Result<SegmentStatus, LockError> {
        let contents = self.contents()?;
        if let Contents::Foreign(foreign) = contents {
            return Ok(SegmentStatus::Foreign(foreign));
        }
        if let Some(holder) = SegmentLock::holder(self)? {
            return Ok(SegmentStatus::Live { pid: holder.pid });
        }
        Ok(match contents {
            Contents::Empty => SegmentStatus::Fresh,
            Contents::Segment => SegmentStatus::Dead,
            Contents::Unfinished | Contents::Foreign(_) => SegmentStatus::Unfinished,
        })
    }

    /// The first name in the directory that no segment has.
    pub(crate) fn first_foreign(&self) -> Result<Option<Foreign>, FileError> {
        let names = self.names()?;
        let foreign = names.into_iter().find(|name| !NAMES.iter().any(|ours| name == ours));
        Ok(foreign.map(|name| self.foreign_content(name)))
    }

    fn foreign_content(&self, name: OsString) -> Foreign {
        Foreign::Content { path: self.path().as_path().to_owned(), name }
    }

    fn control_contents(&self) -> Result<Contents, FileError> {
        let path = self.path_of(CONTROL);
        let file = match self.open_file(AreaFile::Control, Access::ReadOnly) {
            Err(FileError::NotAFile { path, found }) => {
                return Ok(Contents::Foreign(Foreign::NotAFile { path, found }));
            }
            // Removed since its name was read: as if it had never been finished.
            Err(FileError::NotFound { .. }) => return Ok(Contents::Unfinished),
            opened => opened?,
        };
        let mut words = [0_u8; 16];
        read_at(&file, &mut words).map_err(super::SystemError::on("read", &path))?;
        let (magic, version) = (word(&words, 0), word(&words, 8));
        Ok(match (magic, version) {
            // The magic is stored last, so a file without it never was a segment.
            (0, _) => Contents::Unfinished,
            (CONTROL_MAGIC, FORMAT_VERSION) => Contents::Segment,
            (CONTROL_MAGIC, found) => Contents::Foreign(Foreign::Version { path, found }),
            (found, _) => Contents::Foreign(Foreign::Magic { path, found }),
        })
    }
}

/// Reads from the start of a file as much as there is; the rest of `bytes` stays as it was.
pub(crate) fn read_at(file: impl std::os::fd::AsFd, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file.as_fd(), rest, length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(length)
}

/// The little-endian word at an offset; bytes beyond the end count as zero.
pub(crate) fn word(bytes: &[u8], offset: usize) -> u64 {
    let part = bytes.iter().skip(offset).take(8);
    part.rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests;
