//! The directory of a segment, opened once and checked; every file of it is reached through it.

use super::error::{FileKind, SystemError, permissions};
use super::path::SegmentPath;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Permissions of a directory that only its owner may enter.
pub(crate) const MODE_PRIVATE: u32 = 0o700;
/// Permissions of a directory whose socket other users may reach.
pub(crate) const MODE_SHARED: u32 = 0o711;
/// How often a directory that vanishes between two steps is looked for again.
const TRIES_MAX: u32 = 16;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a segment's directory cannot be made or opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirError {
    /// Nothing is there.
    #[error("there is no segment at {path}")]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something else than a directory is there.
    #[error("{path} is {found}, expected a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: FileKind,
    },
    /// The directory belongs to another user.
    #[error("{path} belongs to user {found}, expected user {expected}")]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// Who should own it.
        expected: u32,
    },
    /// Others may read or write the directory.
    #[error("{path} has mode {found:04o}, expected {private:04o} or {shared:04o}",
        private = MODE_PRIVATE, shared = MODE_SHARED)]
    WrongMode {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        found: u32,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// The directory of a segment. Having one proves that it is a directory, no symbolic link, that it
/// belongs to this user and that nobody else may read or write it.
#[derive(Debug)]
pub struct SegmentDir {
    directory: OwnedFd,
    path: SegmentPath,
}

impl SegmentDir {
    /// Opens the directory, making it (and what is missing above it) for this user alone.
    ///
    /// An empty directory of this user's is taken over whatever its permissions were.
    // r[impl segment.directory]
    pub fn create_or_open(path: &SegmentPath) -> Result<SegmentDir, DirError> {
        let (parent_path, name) = path.split();
        // Another host may be removing the same directories at this moment.
        for _ in 0..TRIES_MAX {
            let parent = create_parent(parent_path)?;
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(MODE_PRIVATE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => continue,
                Err(source) => {
                    return Err(SystemError::on("make directory", path.as_path())(source).into());
                }
            }
            match open_checked(parent.as_fd(), name, path.as_path(), Owner::Us) {
                Err(DirError::NotFound { .. }) => {}
                Err(DirError::WrongMode { .. }) => {
                    adopt_if_empty(parent.as_fd(), name, path)?;
                }
                opened => return Ok(SegmentDir { directory: opened?, path: path.clone() }),
            }
        }
        Err(DirError::NotFound { path: path.as_path().to_owned() })
    }

    /// Opens a directory that exists.
    // r[impl segment.directory]
    pub fn open(path: &SegmentPath) -> Result<SegmentDir, DirError> {
        let (parent_path, name) = path.split();
        let parent = match open_checked(CWD, parent_path.as_os_str(), parent_path, Owner::Parent) {
            Err(DirError::NotFound { .. }) => {
                return Err(DirError::NotFound { path: path.as_path().to_owned() });
            }
            opened => opened?,
        };
        let directory = open_checked(parent.as_fd(), name, path.as_path(), Owner::Us)?;
        Ok(SegmentDir { directory, path: path.clone() })
    }

    /// Lets other users reach the socket (not read the directory), here and in the directory above
    /// if that one is kept for this user's segments.
    // r[impl segment.shared]
    pub fn allow_other_users(&self) -> Result<(), DirError> {
        let mode = Mode::from_raw_mode(MODE_SHARED);
        let refused = SystemError::on("change permissions of", self.path.as_path());
        rustix::fs::fchmod(&self.directory, mode).map_err(refused)?;
        if let Some(parent_path) = self.path.own_parent() {
            let parent = open_checked(CWD, parent_path.as_os_str(), parent_path, Owner::Us)?;
            let refused = SystemError::on("change permissions of", parent_path);
            rustix::fs::fchmod(&parent, mode).map_err(refused)?;
        }
        Ok(())
    }

    /// Where the segment is.
    pub fn path(&self) -> &SegmentPath {
        &self.path
    }

    /// The path of a file in it, for people.
    pub(crate) fn path_of(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.as_path().join(name)
    }

    /// Names of all files in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, SystemError> {
        names(self.directory.as_fd(), self.path.as_path())
    }
}

impl AsFd for SegmentDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Who may own a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This user, with permissions for nobody else.
    Us,
    /// This user or root, with any permissions: the directory above a segment.
    Parent,
}

/// Opens the directory that holds the segment's, making what is missing.
// r[impl segment.parent]
fn create_parent(path: &Path) -> Result<OwnedFd, DirError> {
    match open_checked(CWD, path.as_os_str(), path, Owner::Parent) {
        Err(DirError::NotFound { .. }) => {}
        opened => return opened,
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DirError::NotFound { path: path.to_owned() });
    };
    let above = create_parent(above)?;
    match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(MODE_PRIVATE)) {
        Ok(()) | Err(Errno::EXIST) => open_checked(above.as_fd(), name, path, Owner::Parent),
        Err(source) => Err(SystemError::on("make directory", path)(source).into()),
    }
}

fn open_checked(
    above: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    owner: Owner,
) -> Result<OwnedFd, DirError> {
    let directory = match rustix::fs::openat(above, name, OPEN_DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Err(DirError::NotFound { path: path.to_owned() }),
        Err(source @ (Errno::NOTDIR | Errno::LOOP)) => {
            return Err(not_a_directory(above, name, path, source));
        }
        Err(Errno::ACCESS) => return open_unreadable(above, name, path, owner),
        Err(source) => return Err(SystemError::on("open directory", path)(source).into()),
    };
    check(&directory, path, owner)?;
    Ok(directory)
}

/// A directory above may be one that we may pass through but not read.
fn open_unreadable(
    above: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    owner: Owner,
) -> Result<OwnedFd, DirError> {
    let flags = OPEN_DIRECTORY.union(OFlags::PATH);
    let directory = rustix::fs::openat(above, name, flags, Mode::empty())
        .map_err(SystemError::on("open directory", path))?;
    check(&directory, path, owner)?;
    if owner == Owner::Us {
        return Err(SystemError::on("open directory", path)(Errno::ACCESS).into());
    }
    Ok(directory)
}

fn check(directory: &OwnedFd, path: &Path, owner: Owner) -> Result<(), DirError> {
    let stat = rustix::fs::fstat(directory).map_err(SystemError::on("look at", path))?;
    let expected = rustix::process::geteuid().as_raw();
    let root_may = owner == Owner::Parent && stat.st_uid == 0;
    if stat.st_uid != expected && !root_may {
        let found = stat.st_uid;
        return Err(DirError::WrongOwner { path: path.to_owned(), found, expected });
    }
    let found = permissions(&stat);
    if owner == Owner::Us && found != MODE_PRIVATE && found != MODE_SHARED {
        return Err(DirError::WrongMode { path: path.to_owned(), found });
    }
    Ok(())
}

/// Says what stands where a directory should be.
fn not_a_directory(above: BorrowedFd<'_>, name: &OsStr, path: &Path, source: Errno) -> DirError {
    match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => DirError::NotADirectory { path: path.to_owned(), found: FileKind::of(&stat) },
        // Something further up is no directory.
        Err(_) => SystemError::on("open directory", path)(source).into(),
    }
}

/// Makes an empty directory of ours private; one with anything in it stays as it is.
fn adopt_if_empty(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &SegmentPath,
) -> Result<(), DirError> {
    let path = path.as_path();
    let directory = rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty())
        .map_err(SystemError::on("open directory", path))?;
    if !names(directory.as_fd(), path)?.is_empty() {
        return check(&directory, path, Owner::Us);
    }
    let refused = SystemError::on("change permissions of", path);
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(MODE_PRIVATE)).map_err(refused)?;
    Ok(())
}

/// Names of all files in a directory, but for itself and the one above.
pub(crate) fn names(directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<OsString>, SystemError> {
    let refused = SystemError::on("list directory", path);
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(&refused)? {
        let name = entry.map_err(&refused)?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(OsStr::from_bytes(name.as_bytes()).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
