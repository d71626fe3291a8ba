//! Whether a file can be had in huge pages, and how much of it is.

use super::backing::{Backing, BackingKind, STEP_BYTES};
use super::memory_limit::{ATTACH_MARGIN_BYTES, MAPPED_BY_BYTE, NoMemory, check_memory};
use super::room::mount_of;
use onecopy_shm::error::{MapError, PopulateError, RegionError};
use onecopy_shm::sys::populate_read;
use onecopy_shm::{Access, Mapping};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the kernel says what it thinks of huge pages in shared memory; `deny` and `force` there are
/// above what a mount says.
const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
/// Bytes of what transparent huge pages are.
const PMD_SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

/// Why a file cannot be had in huge pages.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoHugePages {
    /// The kernel has none for shared memory.
    #[error("no huge pages for {path}: {SHMEM_ENABLED} says {found:?}, expected anything but deny")]
    Denied {
        /// The file.
        path: PathBuf,
        /// What stands there; empty where there is no such file.
        found: String,
    },
    /// The file system was mounted without.
    #[error(
        "no huge pages for {path}: {} is mounted with huge={found}, expected advise, within_size or \
         always (mount -o remount,huge=advise {})", mount_point.display(), mount_point.display()
    )]
    Mount {
        /// The file.
        path: PathBuf,
        /// Where the file system is mounted.
        mount_point: PathBuf,
        /// Its option.
        found: String,
    },
    /// A kind of file that nobody can ask for huge pages.
    #[error(
        "no huge pages for {path}, which is on {kind}: only tmpfs and hugetlbfs have them to give"
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: BackingKind,
    },
    /// The system gave small ones: there were no huge ones left in a piece.
    #[error(
        "{huge_bytes} of {expected_bytes} bytes of {path} came in huge pages: memory is too \
         fragmented (/proc/buddyinfo), or used up"
    )]
    Small {
        /// The file.
        path: PathBuf,
        /// Bytes in huge pages.
        huge_bytes: u64,
        /// Bytes that could be.
        expected_bytes: u64,
    },
    /// A control group has no room for the page tables that a look takes: the kernel would kill a
    /// process instead of refusing.
    #[error("cannot tell how much of {path} is in huge pages: {no_memory}")]
    NoMemory {
        /// The file.
        path: PathBuf,
        /// Which group, and its numbers.
        #[source]
        no_memory: NoMemory,
    },
    /// It could not be looked at.
    #[error("cannot tell how much of {path} is in huge pages: {reason}")]
    Look {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Checks that huge pages can be asked for.
// r[impl pool-memory.huge-refused]
pub(crate) fn check_huge(file: impl AsFd, backing: &Backing) -> Result<(), NoHugePages> {
    let path = backing.path().to_owned();
    match backing.kind() {
        BackingKind::Hugetlbfs => return Ok(()),
        BackingKind::Devdax if backing.alignment_bytes() >= huge_page_bytes() => return Ok(()),
        BackingKind::Tmpfs => {}
        kind => return Err(NoHugePages::Kind { path, kind }),
    }
    let settings = std::fs::read_to_string(SHMEM_ENABLED).unwrap_or_default();
    match chosen(&settings) {
        "force" => Ok(()),
        found @ ("deny" | "") => Err(NoHugePages::Denied { path, found: found.to_owned() }),
        _ => check_mount(file, path),
    }
}

/// The word in brackets.
fn chosen(settings: &str) -> &str {
    let inside = settings.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("", |(chosen, _)| chosen)
}

fn check_mount(file: impl AsFd, path: PathBuf) -> Result<(), NoHugePages> {
    // A mount that cannot be told is taken for one that says nothing.
    let Some(mount) = mount_of(file.as_fd()) else {
        let mount_point = path.clone();
        return Err(NoHugePages::Mount { path, mount_point, found: "never".to_owned() });
    };
    let option = mount.options.split(',').find_map(|option| option.strip_prefix("huge="));
    match option {
        Some("advise" | "within_size" | "always") => Ok(()),
        other => {
            let found = other.unwrap_or("never").to_owned();
            Err(NoHugePages::Mount { path, mount_point: mount.point, found })
        }
    }
}

/// Bytes of a transparent huge page.
pub(crate) fn huge_page_bytes() -> u64 {
    let said = std::fs::read_to_string(PMD_SIZE).ok().and_then(|text| text.trim().parse().ok());
    said.filter(|bytes: &u64| bytes.is_power_of_two()).unwrap_or(2 << 20)
}

/// How many bytes of a part of a file lie in huge pages, and how many could.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HugeBytes {
    pub found: u64,
    /// Whole huge pages of it.
    pub expected: u64,
}

/// How much of `from_bytes..to_bytes` of a file, which are real, lies in huge pages. A look takes
/// page tables in this very process: it is done in steps that are unmapped again, each after the
/// control groups were asked for the tables of one. `None` when `is_wanted`, which is asked between
/// two steps, says no.
// r[impl pool-memory.huge-look]
pub(crate) fn measure_huge(
    file: impl AsFd,
    backing: &Backing,
    (from_bytes, to_bytes): (u64, u64),
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<HugeBytes>, NoHugePages> {
    let page_bytes = huge_page_bytes();
    let first = from_bytes.next_multiple_of(page_bytes);
    let end = to_bytes - to_bytes % page_bytes;
    if backing.kind() != BackingKind::Tmpfs || first >= end {
        let all = backing.kind() == BackingKind::Hugetlbfs;
        let found = if all { to_bytes.saturating_sub(from_bytes) } else { 0 };
        return Ok(Some(HugeBytes { found, expected: 0 }));
    }
    let mut sum = HugeBytes { found: 0, expected: end - first };
    let mut reached = first;
    while reached < end {
        if reached > first && !is_wanted() {
            return Ok(None);
        }
        let next = reached.saturating_add(STEP_BYTES.next_multiple_of(page_bytes)).min(end);
        sum.found += look(&file, backing, (reached, next - reached))?;
        reached = next;
    }
    Ok(Some(sum))
}

fn look(
    file: impl AsFd,
    backing: &Backing,
    (offset, count): (u64, u64),
) -> Result<u64, NoHugePages> {
    let path = || backing.path().to_owned();
    check_memory(count / MAPPED_BY_BYTE, ATTACH_MARGIN_BYTES)
        .map_err(|no_memory| NoHugePages::NoMemory { path: path(), no_memory })?;
    mapped_huge(file, offset, count)
        .map_err(|reason| NoHugePages::Look { path: path(), reason: reason.to_string() })
}

#[derive(Debug, Error)]
enum LookError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Region(#[from] RegionError),
    #[error(transparent)]
    Populate(#[from] PopulateError),
    #[error("/proc/self/smaps: {0}")]
    Smaps(#[from] std::io::Error),
}

/// A mapping that nobody else touches: what is mapped huge in it is what the kernel has in huge pages.
fn mapped_huge(file: impl AsFd, from_bytes: u64, size_bytes: u64) -> Result<u64, LookError> {
    let mapping = Mapping::map(file, from_bytes + size_bytes, Access::ReadOnly)?;
    populate_read(&mapping.region(from_bytes, size_bytes)?)?;
    let start = format!("{:x}-", mapping.base().addr());
    Ok(shmem_huge_bytes(BufReader::new(std::fs::File::open("/proc/self/smaps")?), &start)?)
}

/// What the mapping whose line begins with `start` has of shared memory in huge pages. Not read any
/// further than there: the kernel walks the tables of each mapping that is read.
fn shmem_huge_bytes(smaps: impl BufRead, start: &str) -> Result<u64, std::io::Error> {
    let mut is_it = false;
    for line in smaps.lines() {
        let line = line?;
        is_it |= line.starts_with(start);
        let Some(text) = line.strip_prefix("ShmemPmdMapped:").filter(|_| is_it) else { continue };
        let number = text.trim().strip_suffix("kB").and_then(|text| text.trim().parse().ok());
        return Ok(number.map_or(0, |kib: u64| kib * 1024));
    }
    Ok(0)
}

/// Huge pages of this size that are set aside on this machine: how many there are, and are free.
pub(super) fn set_aside(page_bytes: u64) -> Option<(u64, u64)> {
    let directory = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes / 1024);
    let number = |name| {
        let text = std::fs::read_to_string(Path::new(&directory).join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Some((number("nr_hugepages")?, number("free_hugepages")?))
}

#[cfg(test)]
mod tests;
