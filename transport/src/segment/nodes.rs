//! The memory nodes of this machine, and files whose pages come from certain ones.

use super::backing::{Backing, BackingKind};
use crate::memory::{NodeSet, NumaPolicy};
use onecopy_shm::error::MapError;
use onecopy_shm::sys_numa::{NodesOf, set_region_nodes, set_thread_nodes};
use onecopy_shm::{Access, Mapping};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::PathBuf;
use thiserror::Error;

/// Nodes that have memory.
const HAS_MEMORY: &str = "/sys/devices/system/node/has_memory";

/// Why pages cannot be had from the memory nodes asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumaError {
    /// Nodes without memory, or none at all.
    #[error("there is no memory node {missing}: {HAS_MEMORY} says {there}")]
    NoSuchNode {
        /// Those that are not there.
        missing: NodeSet,
        /// Those that are.
        there: NodeSet,
    },
    /// The system knows of no memory nodes.
    #[error("this system tells no memory nodes: there is no {HAS_MEMORY}")]
    Unknown,
    /// A kind of file that is where it is.
    #[error(
        "memory nodes do not apply to {path}, which is on {kind}: only tmpfs and hugetlbfs take their \
         pages where they are told to"
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: BackingKind,
    },
    /// The file cannot be mapped, to tell the kernel.
    #[error("cannot place {path} on memory nodes: {reason}")]
    Map {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// This process may not say where memory comes from.
    #[error(
        "this process may not place {path} by {policy}: {source}; in a container that takes \
         CAP_SYS_NICE (docker run --cap-add SYS_NICE)"
    )]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        policy: String,
        /// What the system said.
        source: Errno,
    },
    /// The kernel refused.
    #[error("the kernel does not place {path} by {policy}: {source}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        policy: String,
        /// What it said.
        source: Errno,
    },
}

/// The policy with the nodes that there are: all of them where all were asked for.
// r[impl pool-memory.numa-refused]
pub(crate) fn resolve(policy: NumaPolicy) -> Result<NumaPolicy, NumaError> {
    let text = std::fs::read_to_string(HAS_MEMORY).map_err(|_| NumaError::Unknown)?;
    let there = text.trim().parse::<NodeSet>().map_err(|_| NumaError::Unknown)?;
    resolve_among(policy, there)
}

fn resolve_among(policy: NumaPolicy, there: NodeSet) -> Result<NumaPolicy, NumaError> {
    if policy.nodes == NodeSet::ALL {
        return Ok(NumaPolicy { nodes: there, ..policy });
    }
    let missing = policy.nodes.without(there);
    if missing.is_empty() { Ok(policy) } else { Err(NumaError::NoSuchNode { missing, there }) }
}

/// Checks that pages of this file can be had from certain nodes.
// r[impl pool-memory.numa-refused]
pub(crate) fn check_placeable(backing: &Backing) -> Result<(), NumaError> {
    match backing.kind() {
        BackingKind::Tmpfs | BackingKind::Hugetlbfs => Ok(()),
        kind => Err(NumaError::Kind { path: backing.path().to_owned(), kind }),
    }
}

fn nodes_of(policy: Option<NumaPolicy>) -> Option<NodesOf> {
    policy.map(|policy| (policy.mode, policy.nodes.bits()))
}

/// Has all that the file does not have yet be taken from certain nodes, whoever comes to touch it; `None`
/// takes back what an earlier host said. Hugetlbfs keeps no such thing: there it is for who reserves.
// r[impl pool-memory.numa]
pub(crate) fn place(
    file: impl AsFd,
    backing: &Backing,
    size_bytes_max: u64,
    policy: Option<NumaPolicy>,
) -> Result<(), NumaError> {
    if backing.kind() != BackingKind::Tmpfs {
        return Ok(());
    }
    let path = || backing.path().to_owned();
    let unmapped = |error: MapError| NumaError::Map { path: path(), reason: error.to_string() };
    let mapping = Mapping::map(file, size_bytes_max, Access::ReadWrite).map_err(unmapped)?;
    let unreachable = |error: onecopy_shm::error::RegionError| NumaError::Map {
        path: path(),
        reason: error.to_string(),
    };
    let whole = mapping.region(0, size_bytes_max).map_err(unreachable)?;
    match set_region_nodes(&whole, nodes_of(policy)) {
        // Nothing can have been said that would have to be taken back: not by this system, nor by
        // anybody in a container that may not say such things.
        Err(Errno::NOSYS | Errno::PERM) if policy.is_none() => Ok(()),
        outcome => outcome.map_err(|source| refused_nodes(backing, policy, source)),
    }
}

/// Has what the calling thread reserves of a file on hugetlbfs come from certain nodes.
// r[impl pool-memory.numa]
pub(crate) fn place_thread(backing: &Backing, policy: Option<NumaPolicy>) -> Result<(), NumaError> {
    if backing.kind() != BackingKind::Hugetlbfs || policy.is_none() {
        return Ok(());
    }
    set_thread_nodes(nodes_of(policy)).map_err(|source| refused_nodes(backing, policy, source))
}

/// What it means that the kernel refused a policy with this error.
pub(crate) fn refused_nodes(
    backing: &Backing,
    policy: Option<NumaPolicy>,
    source: Errno,
) -> NumaError {
    let policy = policy.map_or("default".to_owned(), |policy| policy.to_string());
    let path = backing.path().to_owned();
    match source {
        Errno::PERM => NumaError::Forbidden { path, policy, source },
        _ => NumaError::Refused { path, policy, source },
    }
}

#[cfg(test)]
mod tests;
