//! How much memory the control groups of this process leave it. Memory that is taken beyond a limit
//! is no error there: the kernel kills a process of the group.

use super::room::{Bytes, unescape};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes that a larger pool has to leave to whoever else is in the group: page tables, heaps, rings
/// of guests to come.
pub(crate) const GROWTH_MARGIN_BYTES: u64 = 8 << 20;
/// The same for the files of one attach, which are small: what growth has left is there for them.
pub(crate) const ATTACH_MARGIN_BYTES: u64 = 2 << 20;
/// Bytes of memory that one byte of page tables maps.
pub(crate) const MAPPED_BY_BYTE: u64 = 512;

/// A control group with a limit on memory, and how far it was used when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Directory of the group.
    pub group: PathBuf,
    /// Most bytes that the group may have.
    pub limit_bytes: u64,
    /// Bytes that it has and that the kernel cannot take back without swapping.
    pub used_bytes: u64,
}

impl MemoryLimit {
    /// Bytes that the group can still take.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// A control group that cannot hold what is asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "the memory of this process is limited to {} by {}, {} are free, but {} are needed and {} have \
     to stay free: raise the limit (docker run --memory, memory.max), or ask for less with --size \
     or --size-max",
    Bytes(limit.limit_bytes), limit.group.display(), Bytes(limit.free_bytes()),
    Bytes(*needed_bytes), Bytes(*margin_bytes)
)]
pub struct NoMemory {
    /// The tightest group.
    pub limit: MemoryLimit,
    /// Bytes that were asked for.
    pub needed_bytes: u64,
    /// Bytes that have to stay free besides.
    pub margin_bytes: u64,
    /// What the system would say if it did not kill instead.
    pub source: Errno,
}

/// Checks that every control group of this process has `needed_bytes` to give and `margin_bytes`
/// left then. Where no limit can be seen there is none, as far as this can tell.
// r[impl resources.memory-limit]
pub(crate) fn check_memory(needed_bytes: u64, margin_bytes: u64) -> Result<(), NoMemory> {
    check_limits(&groups(), needed_bytes, margin_bytes)
}

fn check_limits(groups: &[Group], needed_bytes: u64, margin_bytes: u64) -> Result<(), NoMemory> {
    let wanted = needed_bytes.saturating_add(margin_bytes);
    for group in groups {
        let Some(limit) = group.limit(wanted) else { continue };
        if limit.free_bytes() < wanted {
            return Err(NoMemory { limit, needed_bytes, margin_bytes, source: Errno::NOMEM });
        }
    }
    Ok(())
}

/// What one version of control groups calls its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// Lines of `memory.stat` with what the kernel takes back before it kills anybody. Memory of
    /// tmpfs is in neither.
    reclaimable: [&'static str; 2],
}

const FIRST: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};
const SECOND: Names = Names {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// A group that this process is in, by its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    directory: PathBuf,
    names: Names,
}

impl Group {
    /// The limit, if there is one. What the kernel can take back is looked up only if less than
    /// `wanted` is free without it: that file is dear to read.
    fn limit(&self, wanted: u64) -> Option<MemoryLimit> {
        let limit_bytes = self.number(self.names.limit)?;
        let mut used_bytes = self.number(self.names.usage)?;
        if limit_bytes.saturating_sub(used_bytes) < wanted {
            used_bytes = used_bytes.saturating_sub(self.reclaimable_bytes());
        }
        Some(MemoryLimit { group: self.directory.clone(), limit_bytes, used_bytes })
    }

    /// `max`, which is no number, is no limit.
    fn number(&self, file: &str) -> Option<u64> {
        std::fs::read_to_string(self.directory.join(file)).ok()?.trim().parse().ok()
    }

    fn reclaimable_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let figures = text.lines().filter_map(|line| line.split_once(' '));
        let wanted = figures.filter(|(name, _)| self.names.reclaimable.contains(name));
        wanted.filter_map(|(_, figure)| figure.trim().parse::<u64>().ok()).sum()
    }
}

/// The groups of this process that may have a limit: its own and all above it that can be seen.
fn groups() -> Vec<Group> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    groups_in(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

fn groups_in(membership: &str, mountinfo: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, names)) = Mount::parse(line) else { continue };
        let Some(path) = membership.lines().find_map(|line| member_path(line, names)) else {
            continue;
        };
        // A container sees its own group as the root of what is mounted.
        let below = Path::new(path).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        let directory: PathBuf = mount.point.join(below).components().collect();
        let above = directory.ancestors().take_while(|above| above.starts_with(&mount.point));
        groups.extend(above.map(|above| Group { directory: above.to_owned(), names }));
    }
    groups
}

/// `4:memory:/path` of the first version, `0::/path` of the second.
fn member_path(line: &str, names: Names) -> Option<&str> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let is_it = match names == SECOND {
        true => number == "0" && controllers.is_empty(),
        false => controllers.split(',').any(|controller| controller == "memory"),
    };
    is_it.then_some(path)
}

/// Where control groups are mounted, and which of them.
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// `30 25 0:26 /root /mount/point options [optional fields] - type source options`
    fn parse(line: &str) -> Option<(Mount, Names)> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (unescape(before.next()?), unescape(before.next()?));
        let mut after = after.split(' ');
        let names = match (after.next()?, after.nth(1)?) {
            ("cgroup2", _) => SECOND,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => FIRST,
            _ => return None,
        };
        Some((Mount { root, point }, names))
    }
}

#[cfg(test)]
mod tests;
