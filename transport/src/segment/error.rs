//! What every operation on files can meet.

use rustix::fs::FileType;
use rustix::io::Errno;
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A system call that failed on a file.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot {operation} {path}: {source}")]
pub struct SystemError {
    /// What was tried.
    pub operation: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why not.
    pub source: Errno,
}

impl SystemError {
    /// Ready for `map_err`.
    pub(crate) fn on(operation: &'static str, path: &Path) -> impl Fn(Errno) -> SystemError {
        move |source| SystemError { operation, path: path.to_owned(), source }
    }
}

/// What kind of file stands somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An ordinary file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A Unix socket.
    Socket,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// Anything else.
    Unknown,
}

impl FileKind {
    /// The kind that a file's mode word tells.
    pub(crate) fn of(stat: &rustix::fs::Stat) -> FileKind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Socket => FileKind::Socket,
            FileType::Fifo => FileKind::Fifo,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Unknown => FileKind::Unknown,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Symlink => "a symbolic link",
            FileKind::Socket => "a socket",
            FileKind::Fifo => "a named pipe",
            FileKind::CharacterDevice => "a character device",
            FileKind::BlockDevice => "a block device",
            FileKind::Unknown => "a file of unknown kind",
        })
    }
}

/// What a mode word lets owner, group and others do.
pub(crate) fn permissions(stat: &rustix::fs::Stat) -> u32 {
    stat.st_mode & 0o777
}
