//! How much room a file system has, and a refusal that a person can act on.

use super::error::SystemError;
use super::huge::set_aside;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The type of file systems of huge pages.
const HUGETLBFS: &str = "hugetlbfs";

/// A mounted file system and its room when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where it is mounted; the path that was asked about if the mount cannot be told.
    pub mount_point: PathBuf,
    /// Its type, such as `tmpfs`; empty if it cannot be told.
    pub file_system: String,
    /// Its size in bytes; `None` where it has no limit of its own.
    pub size_bytes: Option<u64>,
    /// Bytes that this user can still take; `None` where it has no limit of its own.
    pub free_bytes: Option<u64>,
}

impl Room {
    /// The room where a file (or directory) is.
    pub fn of(file: impl AsFd, path: &Path) -> Result<Room, SystemError> {
        let file = file.as_fd();
        let statvfs =
            rustix::fs::fstatvfs(file).map_err(SystemError::on("ask for the room at", path))?;
        // No blocks at all: a tmpfs or hugetlbfs without a size limit.
        let limited = statvfs.f_blocks != 0;
        let bytes = |blocks: u64| limited.then(|| blocks.saturating_mul(statvfs.f_frsize));
        let (mount_point, file_system) = match mount_of(file) {
            Some(mount) => (mount.point, mount.file_system),
            None => (path.to_owned(), String::new()),
        };
        let (size_bytes, free_bytes) = (bytes(statvfs.f_blocks), bytes(statvfs.f_bavail));
        let room = Room { mount_point, file_system, size_bytes, free_bytes };
        Ok(if room.file_system == HUGETLBFS { room.of_set_aside(statvfs.f_bsize) } else { room })
    }

    /// On hugetlbfs there are no more pages than were set aside, whatever the mount says.
    fn of_set_aside(self, page_bytes: u64) -> Room {
        let Some((pages, free)) = set_aside(page_bytes) else { return self };
        let least = |limit: Option<u64>, pages: u64| {
            Some(limit.unwrap_or(u64::MAX).min(pages.saturating_mul(page_bytes)))
        };
        let size_bytes = least(self.size_bytes, pages);
        let free_bytes = least(self.free_bytes, free);
        Room { size_bytes, free_bytes, ..self }
    }

    /// The room at the nearest directory above `path` that exists, or at `path` itself.
    pub fn at(path: &Path) -> Result<Room, SystemError> {
        let mut place = path;
        loop {
            let asked = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            match rustix::fs::open(asked, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => return Room::of(file, asked),
                Err(source @ (Errno::NOENT | Errno::NOTDIR)) => {
                    place = place
                        .parent()
                        .ok_or_else(|| SystemError::on("ask for the room at", path)(source))?;
                }
                Err(source) => return Err(SystemError::on("ask for the room at", asked)(source)),
            }
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mount_point.display().fmt(formatter)?;
        if !self.file_system.is_empty() {
            write!(formatter, " ({})", self.file_system)?;
        }
        match (self.size_bytes, self.free_bytes) {
            (Some(size), Some(free)) => {
                write!(formatter, " has {}, {} free", Bytes(size), Bytes(free))?;
                match &*self.file_system {
                    HUGETLBFS => formatter.write_str(" (/proc/sys/vm/nr_hugepages sets it)"),
                    _ => Ok(()),
                }
            }
            _ => formatter.write_str(" has no size limit of its own"),
        }
    }
}

/// A number of bytes for people: exact below 1 KiB, else with one decimal, never rounded up.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| self.0 >> shift != 0) {
            Some((unit, shift)) => {
                let tenths = (u128::from(self.0) * 10) >> shift;
                write!(formatter, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(formatter, "{} bytes", self.0),
        }
    }
}

/// A file system that cannot hold what is asked of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{room}, but {} are needed: ask for less with --size, put the pool elsewhere with --pool PATH, \
     or make {} larger (docker run --shm-size, mount -o remount,size=)",
    Bytes(*needed_bytes), room.mount_point.display()
)]
pub struct NoRoom {
    /// The file system.
    pub room: Room,
    /// Bytes that were asked for.
    pub needed_bytes: u64,
}

/// Why [`check_room`] said no.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomError {
    /// Not enough room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Checks that the file system at `path` (which need not exist yet) has `needed_bytes` to give.
///
/// Others may take that room at any time: what is needed is still reserved up front.
// r[impl segment.room]
pub fn check_room(path: &Path, needed_bytes: u64) -> Result<Room, RoomError> {
    let room = Room::at(path)?;
    match room.free_bytes {
        Some(free) if free < needed_bytes => Err(NoRoom { room, needed_bytes }.into()),
        _ => Ok(room),
    }
}

/// What is mounted where an open file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: PathBuf,
    pub(super) file_system: String,
    /// Options of the file system, with commas between them.
    pub(super) options: String,
}

pub(super) fn mount_of(file: BorrowedFd<'_>) -> Option<Mount> {
    let fdinfo = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let fdinfo = std::fs::read_to_string(fdinfo).ok()?;
    let mount_id = fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    find_mount(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, mount_id)
}

/// `36 35 98:0 /root /mount/point options [optional fields] - type source options`
fn find_mount(mountinfo: &str, mount_id: &str) -> Option<Mount> {
    let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(mount_id))?;
    let (before, after) = line.split_once(" - ")?;
    let point = unescape(before.split(' ').nth(4)?);
    let mut after = after.split(' ');
    let file_system = after.next()?.to_owned();
    let options = after.nth(1).unwrap_or_default().to_owned();
    Some(Mount { point, file_system, options })
}

/// Space, tab, line feed and backslash stand there as three octal digits.
pub(super) fn unescape(escaped: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
