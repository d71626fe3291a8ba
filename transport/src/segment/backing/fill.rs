//! Taking pages by touching them: in huge pages where those are asked for, and zeroed at once.

use super::{Backing, BackingKind};
use crate::memory::{HugePages, MemoryOptions};
use onecopy_shm::error::{MapError, RegionError};
use onecopy_shm::sys::{advise_huge, populate_write};
use onecopy_shm::{Access, Mapping};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;
use thiserror::Error;

/// Why the pages of a file cannot be touched.
#[derive(Debug, Error)]
pub(super) enum FillError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Region(#[from] RegionError),
    #[error("huge pages cannot be advised: {0}")]
    Advise(#[from] Errno),
}

impl FillError {
    /// What the system said, or the error number that says it best.
    pub(super) fn errno(&self) -> Errno {
        let said = match self {
            FillError::Advise(errno) => return *errno,
            FillError::Region(_) => return Errno::INVAL,
            FillError::Map(error) => std::error::Error::source(error),
        };
        let said = said.and_then(|source| source.downcast_ref::<std::io::Error>());
        said.and_then(Errno::from_io_error).unwrap_or(Errno::NOMEM)
    }
}

/// A mapping of a file through which its pages are touched.
///
/// `fallocate` asks nobody for advice and zeroes nothing: of a page that it took, whoever is first to
/// touch it has the work. So huge pages are touched before it; what is only to be zeroed is after it,
/// because holes that are touched take longer than both. What a touch finds it leaves as it is.
pub(super) struct Filler {
    mapping: Arc<Mapping>,
    advised: bool,
    populates: bool,
}

impl Filler {
    /// Whether the options want a filler for this file. Hugetlbfs zeroes what it reserves; other files
    /// are not asked.
    pub(super) fn is_wanted(backing: &Backing) -> bool {
        let memory = backing.memory;
        let wanted = memory.prefault || memory.huge_pages != HugePages::Off;
        wanted && backing.kind == BackingKind::Tmpfs && backing.fake.is_none()
    }

    /// One for a file of `size_bytes`, holes or not.
    // r[impl pool-memory.prefault]
    // r[impl pool-memory.huge]
    pub(super) fn new(
        file: impl AsFd,
        backing: &Backing,
        size_bytes: u64,
    ) -> Result<Filler, FillError> {
        let mapping = Mapping::map(file, size_bytes, Access::ReadWrite)?;
        let MemoryOptions { prefault, huge_pages, .. } = backing.memory;
        if huge_pages != HugePages::Off {
            advise_huge(&mapping.region(0, size_bytes)?)?;
        }
        let advised = huge_pages != HugePages::Off;
        Ok(Filler { mapping, advised, populates: prefault })
    }

    /// Before these bytes are reserved. What cannot be had now is not there to be reserved either, or
    /// comes in small pages.
    pub(super) fn before(&self, offset: u64, count: u64) {
        if self.advised
            && let Err(errno) = self.touch(offset, count)
        {
            tracing::debug!(offset, count, %errno, "no huge pages were touched");
        }
    }

    /// After these bytes were reserved.
    pub(super) fn after(&self, offset: u64, count: u64) -> Result<(), Errno> {
        if self.populates { self.touch(offset, count) } else { Ok(()) }
    }

    /// A file system that is full is an error.
    fn touch(&self, offset: u64, count: u64) -> Result<(), Errno> {
        let region = self.mapping.region(offset, count).map_err(|_| Errno::INVAL)?;
        populate_write(&region).map_err(|error| error.errno())
    }
}
