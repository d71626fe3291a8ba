//! Taking pages by touching them: in huge pages where those are asked for, and zeroed at once.

use super::{Backing, BackingKind};
use crate::memory::HugePages;
use onecopy_shm::sys::{advise_huge, populate_write};
use onecopy_shm::{Access, Mapping};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;

/// A mapping of a file through which its pages are taken.
///
/// `fallocate` asks nobody for advice and zeroes nothing: of a page that it took, whoever is first to
/// touch it has the work. What it finds there it leaves as it is.
pub(super) struct Filler {
    mapping: Arc<Mapping>,
    /// It is an error if it does not work; else only an attempt to have huge pages.
    must: bool,
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
    ) -> Result<Filler, Errno> {
        let mapping =
            Mapping::map(file, size_bytes, Access::ReadWrite).map_err(|_| Errno::NOMEM)?;
        if backing.memory.huge_pages != HugePages::Off {
            let whole = mapping.region(0, size_bytes).map_err(|_| Errno::INVAL)?;
            advise_huge(&whole)?;
        }
        Ok(Filler { mapping, must: backing.memory.prefault })
    }

    /// Takes these bytes. What is there keeps its bytes. A file system that is full is an error.
    pub(super) fn fill(&self, offset: u64, count: u64) -> Result<(), Errno> {
        let region = self.mapping.region(offset, count).map_err(|_| Errno::INVAL)?;
        populate_write(&region).map_err(|error| error.errno())
    }

    /// Looks again at what could not be filled before it was reserved.
    pub(super) fn settle(
        &self,
        filled: Result<(), Errno>,
        offset: u64,
        count: u64,
    ) -> Result<(), Errno> {
        match filled {
            Err(_) if self.must => self.fill(offset, count),
            _ => Ok(()),
        }
    }
}
