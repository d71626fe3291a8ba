//! What differs between the kinds of files a pool can be.

mod fake;
mod fill;
mod grow_error;
mod reserve;

pub use fake::FakeBacking;
pub use grow_error::GrowError;
pub(crate) use reserve::{STEP_BYTES, Span, Taking};

use super::error::{FileKind, SystemError};
use crate::memory::MemoryOptions;
use rustix::fs::{StatxAttributes, StatxFlags};
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// `f_type` of hugetlbfs.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
/// `f_type` of tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// What `st_blocks` counts in, whatever the file system.
const STAT_BLOCK_BYTES: u64 = 512;
/// Alignment of a devdax device that does not tell its own: that of a huge page.
const DEVDAX_ALIGNMENT_BYTES: u64 = 2 << 20;

/// The kinds of files a pool can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingKind {
    /// A file in shared memory.
    Tmpfs,
    /// A file of huge pages.
    Hugetlbfs,
    /// A file on a disk.
    Disk,
    /// A file on persistent memory, mapped without a page cache.
    Fsdax,
    /// A device of persistent or attached memory.
    Devdax,
}

impl fmt::Display for BackingKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BackingKind::Tmpfs => "tmpfs",
            BackingKind::Hugetlbfs => "hugetlbfs",
            BackingKind::Disk => "a disk",
            BackingKind::Fsdax => "a DAX file system",
            BackingKind::Devdax => "a devdax device",
        })
    }
}

/// Why the kind of a file cannot be told.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackingError {
    /// A file that cannot hold a pool.
    #[error("{path} is {found}, expected a regular file or a devdax device")]
    NotABacking {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: FileKind,
    },
    /// A character device that is no devdax device.
    #[error("{path} is a character device ({major}:{minor}) but no devdax device")]
    NotDevdax {
        /// The device.
        path: PathBuf,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// What the file of a pool can do.
#[derive(Clone, Debug)]
pub struct Backing {
    kind: BackingKind,
    alignment_bytes: u64,
    size_fixed: Option<u64>,
    path: PathBuf,
    fake: Option<FakeBacking>,
    /// How its pages are taken, as far as that applies to the file.
    memory: MemoryOptions,
}

impl Backing {
    /// Looks at an open file; `path` is how errors name it.
    // r[impl segment.backing]
    pub fn detect(file: impl AsFd, path: &Path) -> Result<Backing, BackingError> {
        let stat = rustix::fs::fstat(&file).map_err(SystemError::on("look at", path))?;
        match FileKind::of(&stat) {
            FileKind::Regular => Ok(detect_file(file, path)?),
            FileKind::CharacterDevice => detect_device(&stat, path),
            found => Err(BackingError::NotABacking { path: path.to_owned(), found }),
        }
    }

    /// A tmpfs file whose reservations fail as `fake` says: for tests.
    pub fn fake(fake: FakeBacking) -> Backing {
        Backing {
            kind: BackingKind::Tmpfs,
            alignment_bytes: rustix::param::page_size() as u64,
            size_fixed: None,
            path: PathBuf::from("fake"),
            fake: Some(fake),
            memory: MemoryOptions::default(),
        }
    }

    /// A device of a fixed size, as far as anybody can tell without one.
    #[cfg(test)]
    pub(crate) fn fixed_for_tests(size_bytes: u64) -> Backing {
        Backing {
            kind: BackingKind::Devdax,
            alignment_bytes: rustix::param::page_size() as u64,
            size_fixed: Some(size_bytes),
            path: PathBuf::from("fake device"),
            fake: None,
            memory: MemoryOptions::default(),
        }
    }

    /// The same file; its pages are taken like this from now on.
    pub(crate) fn with_memory(self, memory: MemoryOptions) -> Backing {
        Backing { memory, ..self }
    }

    /// How its pages are taken.
    pub(crate) fn memory(&self) -> &MemoryOptions {
        &self.memory
    }

    /// The kind of file.
    pub fn kind(&self) -> BackingKind {
        self.kind
    }

    /// Sizes and offsets that become real are multiples of this.
    pub fn alignment_bytes(&self) -> u64 {
        self.alignment_bytes
    }

    /// The size, where it cannot change: growth there only publishes more of it.
    pub fn size_fixed(&self) -> Option<u64> {
        self.size_fixed
    }

    /// Whether the file itself can grow.
    pub fn can_grow(&self) -> bool {
        self.size_fixed.is_none()
    }

    /// Whether a mapping larger than the file wants MAP_NORESERVE, or else takes the huge pages of
    /// all of it at once.
    pub fn needs_noreserve(&self) -> bool {
        self.kind == BackingKind::Hugetlbfs
    }

    /// Whether `pread` and `pwrite` reach the bytes; where not, only a mapping does.
    pub fn takes_pread(&self) -> bool {
        matches!(self.kind, BackingKind::Tmpfs | BackingKind::Disk | BackingKind::Fsdax)
    }

    /// Whether the bytes outlive the machine's power, once flushed.
    pub fn can_persist(&self) -> bool {
        matches!(self.kind, BackingKind::Disk | BackingKind::Fsdax | BackingKind::Devdax)
    }

    /// Bytes of a file of this kind that have memory, holes left out; `None` where the file system
    /// does not say so exactly.
    pub fn real_bytes(&self, file: impl AsFd) -> Result<Option<u64>, SystemError> {
        if self.kind != BackingKind::Tmpfs {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(file).map_err(SystemError::on("look at", &self.path))?;
        Ok(u64::try_from(stat.st_blocks).ok().map(|blocks| blocks * STAT_BLOCK_BYTES))
    }

    /// How errors name the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn detect_file(file: impl AsFd, path: &Path) -> Result<Backing, SystemError> {
    let statfs = rustix::io::retry_on_intr(|| rustix::fs::fstatfs(&file))
        .map_err(SystemError::on("look at", path))?;
    let page_bytes = rustix::param::page_size() as u64;
    // Which bits f_type has beyond 32 depends on its C type.
    let (kind, alignment_bytes) = match statfs.f_type as u64 & 0xffff_ffff {
        HUGETLBFS_MAGIC => (BackingKind::Hugetlbfs, (statfs.f_bsize as u64).max(page_bytes)),
        TMPFS_MAGIC => (BackingKind::Tmpfs, page_bytes),
        _ if is_dax(file) => (BackingKind::Fsdax, page_bytes),
        _ => (BackingKind::Disk, page_bytes),
    };
    let path = path.to_owned();
    let memory = MemoryOptions::default();
    Ok(Backing { kind, alignment_bytes, size_fixed: None, path, fake: None, memory })
}

fn is_dax(file: impl AsFd) -> bool {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    rustix::fs::statx(file, c"", flags, StatxFlags::empty())
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::DAX))
}

fn detect_device(stat: &rustix::fs::Stat, path: &Path) -> Result<Backing, BackingError> {
    let major = rustix::fs::major(stat.st_rdev);
    let minor = rustix::fs::minor(stat.st_rdev);
    let not_devdax = || BackingError::NotDevdax { path: path.to_owned(), major, minor };
    let device = PathBuf::from(format!("/sys/dev/char/{major}:{minor}"));
    let subsystem = std::fs::read_link(device.join("subsystem")).map_err(|_| not_devdax())?;
    if !subsystem.ends_with("dax") {
        return Err(not_devdax());
    }
    let size_bytes = read_number(&device.join("size")).ok_or_else(not_devdax)?;
    let alignment_bytes = read_number(&device.join("align")).unwrap_or(DEVDAX_ALIGNMENT_BYTES);
    Ok(Backing {
        kind: BackingKind::Devdax,
        alignment_bytes,
        size_fixed: Some(size_bytes / alignment_bytes * alignment_bytes),
        path: path.to_owned(),
        fake: None,
        memory: MemoryOptions::default(),
    })
}

fn read_number(file: &Path) -> Option<u64> {
    let number: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests;
