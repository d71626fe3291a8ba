//! The files of a segment by their names, made and opened through its directory.

use super::dir::SegmentDir;
use super::error::{FileKind, SystemError, permissions};
use crate::Serial;
use onecopy_shm::Access;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the lock file.
pub(crate) const LOCK: &str = "lock";
/// Name of the control area.
pub(crate) const CONTROL: &str = "control";
/// Name of the pool, where it is in the segment's directory.
pub(crate) const POOL: &str = "pool";
/// Name of the text file that says where else the pool is.
pub(crate) const POOL_PATH: &str = "pool.path";
/// Name of the socket where guests attach.
pub(crate) const SOCKET: &str = "host.sock";
/// Name of the socket while it is being made.
pub(crate) const SOCKET_NEW: &str = "host.sock.new";
/// Directory of the rings, a file for each attach.
pub(crate) const RINGS: &str = "rings";
/// Directory of the lease tables, a file for each guest process.
pub(crate) const LEASES: &str = "leases";

/// Every name that a segment's directory may hold.
pub(crate) const NAMES: [&str; 8] =
    [LOCK, CONTROL, POOL, POOL_PATH, SOCKET, SOCKET_NEW, RINGS, LEASES];

const FILE_MODE: u32 = 0o600;
// NONBLOCK: whatever stands under the name, opening it does not wait.
const OPEN_FILE: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// One of the areas of a segment that are files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AreaFile {
    /// The control area.
    Control,
    /// The pool, where it is in the segment's directory.
    Pool,
    /// The rings of one attach.
    Rings(Serial),
    /// The lease table of one guest process.
    Leases(Serial),
}

impl AreaFile {
    /// The directory below the segment's that the file is in, if any, and its name there.
    fn place(self) -> (Option<&'static str>, String) {
        match self {
            AreaFile::Control => (None, CONTROL.to_owned()),
            AreaFile::Pool => (None, POOL.to_owned()),
            AreaFile::Rings(serial) => (Some(RINGS), serial.to_string()),
            AreaFile::Leases(serial) => (Some(LEASES), serial.to_string()),
        }
    }
}

impl fmt::Display for AreaFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, name) = self.place();
        match directory {
            Some(directory) => write!(formatter, "{directory}/{name}"),
            None => formatter.write_str(&name),
        }
    }
}

/// Why a file of a segment cannot be made or opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileError {
    /// The file is not there.
    #[error("{path} is missing")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file is there already.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Something else than an ordinary file is there.
    #[error("{path} is {found}, expected a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: FileKind,
    },
    /// The file belongs to another user.
    #[error("{path} belongs to user {found}, expected user {expected}")]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        found: u32,
        /// Who should own it.
        expected: u32,
    },
    /// Others may read or write the file.
    #[error("{path} has mode {found:04o}, expected {FILE_MODE:04o}")]
    WrongMode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        found: u32,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

impl SegmentDir {
    /// Makes a file of size 0 that was not there, for reading and writing.
    // r[impl segment.files]
    pub fn create_file(&self, file: AreaFile) -> Result<OwnedFd, FileError> {
        let (directory, name) = file.place();
        let path = self.path_of(file.to_string());
        let Some(directory) = directory else {
            return create_at(self.as_fd(), &name, &path);
        };
        let made = rustix::fs::mkdirat(self.as_fd(), directory, Mode::from_raw_mode(0o700));
        if !matches!(made, Ok(()) | Err(Errno::EXIST)) {
            made.map_err(SystemError::on("make directory", &self.path_of(directory)))?;
        }
        let below = self.open_below(directory)?;
        create_at(below.as_fd(), &name, &path)
    }

    /// Opens a file that exists and checks that it is an ordinary one, ours and nobody else's.
    ///
    /// Each call gives a new open file description: none is ever shared with a guest.
    // r[impl segment.files]
    pub fn open_file(&self, file: AreaFile, access: Access) -> Result<OwnedFd, FileError> {
        let (directory, name) = file.place();
        let path = self.path_of(file.to_string());
        match directory {
            None => open_at(self.as_fd(), &name, access, &path),
            Some(directory) => {
                let below = self.open_below(directory)?;
                open_at(below.as_fd(), &name, access, &path)
            }
        }
    }

    /// Removes a file; whether it was there.
    pub fn remove_file(&self, file: AreaFile) -> Result<bool, FileError> {
        let (directory, name) = file.place();
        let path = self.path_of(file.to_string());
        let Some(directory) = directory else {
            return Ok(remove_at(self.as_fd(), &name, &path)?);
        };
        match self.open_below(directory) {
            Ok(below) => Ok(remove_at(below.as_fd(), &name, &path)?),
            Err(FileError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Serials whose rings are there, ascending: what earlier lives of the host left.
    pub fn rings_found(&self) -> Result<Vec<Serial>, FileError> {
        self.serials_below(RINGS)
    }

    /// Serials whose lease tables are there, ascending.
    pub fn leases_found(&self) -> Result<Vec<Serial>, FileError> {
        self.serials_below(LEASES)
    }

    fn serials_below(&self, directory: &'static str) -> Result<Vec<Serial>, FileError> {
        let below = match self.open_below(directory) {
            Err(FileError::NotFound { .. }) => return Ok(Vec::new()),
            opened => opened?,
        };
        let names = super::dir::names(below.as_fd(), &self.path_of(directory))?;
        let mut serials: Vec<Serial> =
            names.iter().filter_map(|name| parse_serial(name.to_str()?)).collect();
        serials.sort_unstable();
        Ok(serials)
    }

    /// Opens `rings` or `leases`.
    pub(crate) fn open_below(&self, directory: &str) -> Result<OwnedFd, FileError> {
        let path = self.path_of(directory);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self.as_fd(), directory, flags, Mode::empty()) {
            Ok(below) => Ok(below),
            Err(Errno::NOENT) => Err(FileError::NotFound { path }),
            Err(source) => Err(SystemError::on("open directory", &path)(source).into()),
        }
    }
}

/// A serial as its file is named: decimal, from 1, no leading zero.
pub(crate) fn parse_serial(name: &str) -> Option<Serial> {
    let serial: Serial = name.parse().ok()?;
    (serial != 0 && serial.to_string() == name).then_some(serial)
}

pub(crate) fn create_at(
    directory: BorrowedFd<'_>,
    name: impl AsRef<Path>,
    path: &Path,
) -> Result<OwnedFd, FileError> {
    let flags = OPEN_FILE | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    match rustix::fs::openat(directory, name.as_ref(), flags, Mode::from_raw_mode(FILE_MODE)) {
        Ok(file) => Ok(file),
        Err(Errno::EXIST) => Err(FileError::Exists { path: path.to_owned() }),
        Err(source) => Err(SystemError::on("make", path)(source).into()),
    }
}

pub(crate) fn open_at(
    directory: BorrowedFd<'_>,
    name: impl AsRef<Path>,
    access: Access,
    path: &Path,
) -> Result<OwnedFd, FileError> {
    let flags = OPEN_FILE | open_flags(access);
    let file = match rustix::fs::openat(directory, name.as_ref(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(FileError::NotFound { path: path.to_owned() }),
        // A symbolic link, a directory, a socket: say which.
        Err(source @ (Errno::LOOP | Errno::ISDIR | Errno::NXIO)) => {
            let stat = rustix::fs::statat(directory, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|_| SystemError::on("open", path)(source))?;
            return Err(not_a_file(&stat, path));
        }
        Err(source) => return Err(SystemError::on("open", path)(source).into()),
    };
    let stat = rustix::fs::fstat(&file).map_err(SystemError::on("look at", path))?;
    check_file(&stat, path)?;
    Ok(file)
}

pub(crate) fn open_flags(access: Access) -> OFlags {
    match access {
        Access::ReadOnly => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    }
}

fn not_a_file(stat: &rustix::fs::Stat, path: &Path) -> FileError {
    FileError::NotAFile { path: path.to_owned(), found: FileKind::of(stat) }
}

/// Checks that a file is an ordinary one, ours, and open to nobody else.
pub(crate) fn check_file(stat: &rustix::fs::Stat, path: &Path) -> Result<(), FileError> {
    if FileKind::of(stat) != FileKind::Regular {
        return Err(not_a_file(stat, path));
    }
    let expected = rustix::process::geteuid().as_raw();
    if stat.st_uid != expected {
        let found = stat.st_uid;
        return Err(FileError::WrongOwner { path: path.to_owned(), found, expected });
    }
    let found = permissions(stat);
    if found & !FILE_MODE != 0 {
        return Err(FileError::WrongMode { path: path.to_owned(), found });
    }
    Ok(())
}

/// Removes a file; whether it was there.
pub(crate) fn remove_at(
    directory: BorrowedFd<'_>,
    name: impl AsRef<Path>,
    path: &Path,
) -> Result<bool, SystemError> {
    match rustix::fs::unlinkat(directory, name.as_ref(), AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(source) => Err(SystemError::on("remove", path)(source)),
    }
}

/// Opens the file behind a descriptor once more: an open file description of its own, as every
/// descriptor must have that is handed to a guest.
// r[impl segment.reopen]
pub fn reopen(file: impl AsFd, access: Access) -> Result<OwnedFd, SystemError> {
    let path = proc_path(file.as_fd());
    let flags = open_flags(access) | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty()).map_err(SystemError::on("open again", &path))
}

/// The path under `/proc` that leads to the file behind a descriptor.
pub(crate) fn proc_path(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests;
