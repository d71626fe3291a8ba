//! The file of the pool: in the segment's directory or where `pool.path` says.

use super::backing::{Backing, BackingError, BackingKind};
use super::dir::SegmentDir;
use super::error::{FileKind, SystemError};
use super::file::{
    AreaFile, FileError, POOL, POOL_PATH, check_file, create_at, open_at, open_flags, remove_at,
};
use super::status::{read_at, word};
use crate::format::{POOL_MAGIC, PoolHeader};
use onecopy_shm::error::{MapError, RegionError};
use onecopy_shm::fault::shared_store;
use onecopy_shm::{Access, Mapping, Region};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Random id of a segment, the same in `control` and in the first granule of the pool.
pub type SegmentId = u128;

const HEADER_BYTES: usize = size_of::<PoolHeader>();
const MAGIC: usize = offset_of!(PoolHeader, magic);
const ID_LOW: usize = offset_of!(PoolHeader, segment_id_low);
const ID_HIGH: usize = offset_of!(PoolHeader, segment_id_high);
/// Longest path that the system takes, in bytes.
const PATH_BYTES_MAX: usize = 4096;
/// An id in `pool.path`: hexadecimal digits and a line feed.
const ID_LINE_BYTES: usize = 33;

/// Why a pool cannot be made or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolFileError {
    /// The pool belongs to another segment.
    #[error("the pool {path} belongs to segment {found:032x}, expected {expected:032x}")]
    OtherSegment {
        /// The pool.
        path: PathBuf,
        /// The segment it names.
        found: SegmentId,
        /// The segment that was opened.
        expected: SegmentId,
    },
    /// A device that should become a pool is the pool of a segment.
    #[error("{path} is the pool of segment {found:032x}: destroy that segment first")]
    Taken {
        /// The device.
        path: PathBuf,
        /// The segment it names.
        found: SegmentId,
    },
    /// The file does not begin as a pool does.
    #[error("{path} is no pool: it begins with {found:#018x}, expected {expected:#018x}",
        expected = POOL_MAGIC)]
    NotAPool {
        /// The file.
        path: PathBuf,
        /// Its first word.
        found: u64,
    },
    /// The file exists and is not empty: it is not ours to use.
    #[error("{path} exists and has {size_bytes} bytes: a new pool is made in a new file")]
    InUse {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// `pool.path` does not hold an absolute path and the id of a segment, a line each.
    #[error("{path} holds {length} bytes that are no absolute path and id, a line each")]
    BadPoolPath {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        length: usize,
    },
    /// The path of the pool cannot be written down.
    #[error("the path of a pool has 1 to 4095 bytes and no line feed: {path:?}")]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot hold a pool.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// The file is missing, exists already or is not ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// The first granule cannot be mapped.
    #[error("cannot map the first granule of {path}: {source}")]
    Map {
        /// The pool.
        path: PathBuf,
        /// Why not.
        source: MapError,
    },
    /// The first granule cannot be reached.
    #[error("cannot reach the first granule of {path}: {source}")]
    Region {
        /// The pool.
        path: PathBuf,
        /// Why not.
        source: RegionError,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// The open file of a pool.
#[derive(Debug)]
pub struct PoolFile {
    /// For reading and writing.
    pub file: OwnedFd,
    /// What it can do.
    pub backing: Backing,
    /// Where it is.
    pub path: PathBuf,
}

impl SegmentDir {
    /// Makes the pool's file for the segment `id`, of size 0: `pool` in the directory, or the file
    /// (or devdax device) `elsewhere`, which `pool.path` then names.
    ///
    /// A file that exists elsewhere is taken only if it is empty, a device whatever it holds unless
    /// it names a segment. Once it has room, it is given its header by [`PoolFile::write_header`].
    // r[impl segment.pool-place]
    pub fn create_pool(
        &self,
        elsewhere: Option<&Path>,
        id: SegmentId,
    ) -> Result<PoolFile, PoolFileError> {
        let Some(elsewhere) = elsewhere else {
            let path = self.path_of(POOL);
            let file = self.create_file(AreaFile::Pool)?;
            let backing = Backing::detect(&file, &path)?;
            return Ok(PoolFile { file, backing, path });
        };
        let path = absolute(elsewhere)?;
        // Written down first: whatever dies after this, a file there that bears the id is ours, and
        // one that was never given a header may be.
        self.write_pool_path(&path, id)?;
        let made = create_elsewhere(&path);
        if made.is_err() {
            // Nothing was made: do not name a file that is not ours.
            let _ = remove_at(self.as_fd(), POOL_PATH, &self.path_of(POOL_PATH));
        }
        made
    }

    /// Opens the pool and checks that it belongs to the segment `id`.
    // r[impl segment.pool-header]
    pub fn open_pool(&self, id: SegmentId) -> Result<PoolFile, PoolFileError> {
        let pool = match self.pool_elsewhere()? {
            None => {
                let path = self.path_of(POOL);
                let file = self.open_file(AreaFile::Pool, Access::ReadWrite)?;
                let backing = Backing::detect(&file, &path)?;
                PoolFile { file, backing, path }
            }
            Some(path) => PoolFile::open_at(&path)?,
        };
        match pool.read_header()? {
            HeaderFound::Segment(found) if found == id => Ok(pool),
            HeaderFound::Segment(found) => {
                Err(PoolFileError::OtherSegment { path: pool.path, found, expected: id })
            }
            HeaderFound::Other(found) => Err(PoolFileError::NotAPool { path: pool.path, found }),
        }
    }

    /// Where else the pool is, from `pool.path`; `None` where there is no such file.
    pub fn pool_elsewhere(&self) -> Result<Option<PathBuf>, PoolFileError> {
        Ok(self.read_pool_path()?.map(|(path, _)| path))
    }

    /// Where else the pool is, and the id it was made for.
    pub(crate) fn read_pool_path(&self) -> Result<Option<(PathBuf, SegmentId)>, PoolFileError> {
        let name = self.path_of(POOL_PATH);
        let file = match open_at(self.as_fd(), POOL_PATH, Access::ReadOnly, &name) {
            Err(FileError::NotFound { .. }) => return Ok(None),
            opened => opened?,
        };
        let mut bytes = vec![0_u8; PATH_BYTES_MAX + ID_LINE_BYTES + 1];
        let length = read_at(&file, &mut bytes).map_err(SystemError::on("read", &name))?;
        bytes.truncate(length);
        let parsed = parse_pool_path(&bytes);
        parsed.map(Some).ok_or(PoolFileError::BadPoolPath { path: name, length })
    }

    fn write_pool_path(&self, path: &Path, id: SegmentId) -> Result<(), PoolFileError> {
        let name = self.path_of(POOL_PATH);
        let file = create_at(self.as_fd(), POOL_PATH, &name)?;
        let mut bytes = path.as_os_str().as_bytes().to_vec();
        bytes.extend_from_slice(format!("\n{id:032x}\n").as_bytes());
        write_at(file.as_fd(), &bytes, 0).map_err(SystemError::on("write", &name))?;
        Ok(())
    }
}

/// A path and an id, a line each; nothing less, since a crash may have cut it off.
fn parse_pool_path(bytes: &[u8]) -> Option<(PathBuf, SegmentId)> {
    let (path, id) = bytes.split_at_checked(bytes.len().checked_sub(ID_LINE_BYTES)?)?;
    let id = std::str::from_utf8(id.strip_suffix(b"\n")?).ok()?;
    let path = path.strip_suffix(b"\n").filter(|path| path.starts_with(b"/"))?;
    if path.contains(&b'\n') || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let id = SegmentId::from_str_radix(id, 16).ok()?;
    Some((PathBuf::from(OsString::from_vec(path.to_vec())), id))
}

/// What the first words of a pool say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    /// A pool of this segment.
    Segment(SegmentId),
    /// No pool; the first word.
    Other(u64),
}

impl PoolFile {
    /// Opens a pool that is elsewhere, whomever it belongs to.
    pub(crate) fn open_at(path: &Path) -> Result<PoolFile, PoolFileError> {
        let file = open_elsewhere(path)?;
        let backing = Backing::detect(&file, path)?;
        Ok(PoolFile { file, backing, path: path.to_owned() })
    }

    /// Writes the header that makes the file a pool of the segment `id`. Needs the first
    /// `alignment_bytes` to be real. The magic is stored last.
    // r[impl segment.pool-header]
    pub fn write_header(&self, id: SegmentId) -> Result<(), PoolFileError> {
        let (low, high) = (id as u64, (id >> 64) as u64);
        self.store_words(&[(ID_LOW, low), (ID_HIGH, high), (MAGIC, POOL_MAGIC)])
    }

    /// Takes back what [`PoolFile::write_header`] wrote: a device, which cannot be removed, is then
    /// free for another segment.
    pub(crate) fn erase_header(&self) -> Result<(), PoolFileError> {
        self.store_words(&[(MAGIC, 0)])
    }

    fn store_words(&self, words: &[(usize, u64)]) -> Result<(), PoolFileError> {
        if self.backing.takes_pread() {
            let refused = SystemError::on("write", &self.path);
            for &(offset, value) in words {
                shared_store();
                write_at(self.file.as_fd(), &value.to_le_bytes(), offset).map_err(&refused)?;
            }
            return Ok(());
        }
        let region = self.map_header(Access::ReadWrite)?;
        for &(offset, value) in words {
            let word = region.word(offset as u64).map_err(|source| self.region_error(source))?;
            // edge: none; who opens the pool has the segment's lock, which orders all of it.
            word.store(value.to_le(), Ordering::Release);
        }
        Ok(())
    }

    /// Reads which segment the file belongs to.
    pub(crate) fn read_header(&self) -> Result<HeaderFound, PoolFileError> {
        let mut bytes = [0_u8; HEADER_BYTES];
        if self.backing.takes_pread() {
            let refused = SystemError::on("read", &self.path);
            read_at(&self.file, &mut bytes).map_err(refused)?;
        } else if self.size_bytes()? >= self.backing.alignment_bytes() {
            let region = self.map_header(Access::ReadOnly)?;
            for (number, place) in bytes.chunks_exact_mut(8).enumerate() {
                let word = region.read_word(number as u64 * 8);
                let word = word.map_err(|source| self.region_error(source))?;
                // edge: none, as in `write_header`.
                place.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
            }
        }
        let id = u128::from(word(&bytes, ID_HIGH)) << 64 | u128::from(word(&bytes, ID_LOW));
        Ok(match word(&bytes, MAGIC) {
            POOL_MAGIC => HeaderFound::Segment(id),
            other => HeaderFound::Other(other),
        })
    }

    /// Bytes that are real now.
    pub fn size_bytes(&self) -> Result<u64, SystemError> {
        if let Some(size_bytes) = self.backing.size_fixed() {
            return Ok(size_bytes);
        }
        let stat = rustix::fs::fstat(&self.file).map_err(SystemError::on("look at", &self.path))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn map_header(&self, access: Access) -> Result<Region, PoolFileError> {
        let size_bytes = self.backing.alignment_bytes();
        let map_error = |source| PoolFileError::Map { path: self.path.clone(), source };
        let mapping = Mapping::map(&self.file, size_bytes, access).map_err(map_error)?;
        mapping.region(0, size_bytes).map_err(|source| self.region_error(source))
    }

    fn region_error(&self, source: RegionError) -> PoolFileError {
        PoolFileError::Region { path: self.path.clone(), source }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, PoolFileError> {
    let bad = || PoolFileError::BadPath { path: path.to_owned() };
    let absolute = std::path::absolute(path).map_err(|_| bad())?;
    let bytes = absolute.as_os_str().as_bytes();
    if bytes.len() >= PATH_BYTES_MAX || bytes.contains(&b'\n') || bytes.contains(&0) {
        return Err(bad());
    }
    Ok(absolute)
}

/// Makes the file, or takes an empty one or a device that is there.
fn create_elsewhere(path: &Path) -> Result<PoolFile, PoolFileError> {
    let file = match create_at(CWD, path, path) {
        Ok(file) => file,
        Err(FileError::Exists { .. }) => open_elsewhere(path)?,
        Err(error) => return Err(error.into()),
    };
    let backing = Backing::detect(&file, path)?;
    let pool = PoolFile { file, backing, path: path.to_owned() };
    if pool.backing.kind() == BackingKind::Devdax {
        return match pool.read_header()? {
            HeaderFound::Segment(found) => Err(PoolFileError::Taken { path: pool.path, found }),
            HeaderFound::Other(_) => Ok(pool),
        };
    }
    match pool.size_bytes()? {
        0 => Ok(pool),
        size_bytes => Err(PoolFileError::InUse { path: pool.path, size_bytes }),
    }
}

/// Opens an ordinary file of ours, or a device that we may use.
fn open_elsewhere(path: &Path) -> Result<OwnedFd, PoolFileError> {
    let refused = SystemError::on("look at", path);
    let stat = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Err(FileError::NotFound { path: path.to_owned() }.into()),
        stat => stat.map_err(&refused)?,
    };
    if FileKind::of(&stat) != FileKind::CharacterDevice {
        return Ok(open_at(CWD, path, Access::ReadWrite, path)?);
    }
    let flags = open_flags(Access::ReadWrite) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(SystemError::on("open", path))?;
    let opened = rustix::fs::fstat(&file).map_err(&refused)?;
    if FileKind::of(&opened) != FileKind::CharacterDevice {
        check_file(&opened, path)?;
    }
    Ok(file)
}

fn write_at(file: BorrowedFd<'_>, bytes: &[u8], offset: usize) -> Result<(), Errno> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pwrite(file, rest, (offset + written) as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
