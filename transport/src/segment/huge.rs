//! Whether a file can be had in huge pages, and how much of it is.

use super::backing::{Backing, BackingKind};
use super::room::mount_of;
use onecopy_shm::error::{MapError, PopulateError, RegionError};
use onecopy_shm::sys::populate_read;
use onecopy_shm::{Access, Mapping};
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

/// How many bytes of `from_bytes..to_bytes` of a file, which are real, lie in huge pages, and how many
/// could: whole huge pages of it.
pub(crate) fn measure_huge(
    file: impl AsFd,
    backing: &Backing,
    (from_bytes, to_bytes): (u64, u64),
) -> Result<(u64, u64), NoHugePages> {
    let page_bytes = huge_page_bytes();
    let first = from_bytes.next_multiple_of(page_bytes);
    let expected_bytes = (to_bytes - to_bytes % page_bytes).saturating_sub(first);
    if backing.kind() != BackingKind::Tmpfs || expected_bytes == 0 {
        let all = backing.kind() == BackingKind::Hugetlbfs;
        return Ok((if all { to_bytes.saturating_sub(from_bytes) } else { 0 }, 0));
    }
    let look = |reason: LookError| {
        let (path, reason) = (backing.path().to_owned(), reason.to_string());
        NoHugePages::Look { path, reason }
    };
    let huge_bytes = mapped_huge(file, first, expected_bytes).map_err(look)?;
    Ok((huge_bytes, expected_bytes))
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
    let table = std::fs::read_to_string("/proc/self/smaps")?;
    Ok(shmem_huge_bytes(&table, &start))
}

/// What the mapping whose line begins with `start` has of shared memory in huge pages.
fn shmem_huge_bytes(smaps: &str, start: &str) -> u64 {
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(start));
    let found = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
    let number = found.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse().ok());
    number.map_or(0, |kib: u64| kib * 1024)
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
