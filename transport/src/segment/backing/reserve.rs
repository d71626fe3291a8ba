//! Making more of a file real: blocks now, so that a store later cannot fail.

use super::Backing;
use crate::segment::error::SystemError;
use crate::segment::room::{Bytes, Room};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use thiserror::Error;

/// Most bytes that one system call reserves: between two of them a reservation can be given up.
pub const STEP_BYTES: u64 = 64 << 20;

/// Why a file could not grow. What was reserved until then stays, beyond any published size: nobody
/// reads it, and the next growth finds it reserved already.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrowError {
    /// The file system is full, or has no memory for more.
    #[error(
        "cannot grow {path} from {} to {}: {source}; {room}; see --size-max and --pool PATH",
        Bytes(*from_bytes), Bytes(*to_bytes)
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The file system and its room after the failure.
        room: Room,
        /// What the system said.
        source: Errno,
    },
    /// The process may not write files as large as this (`ulimit -f`).
    #[error(
        "cannot grow {path} to {}: files of this process are limited to {} (ulimit -f)",
        Bytes(*to_bytes), Bytes(*limit_bytes)
    )]
    FileSizeLimit {
        /// The file.
        path: PathBuf,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The file cannot be as large as this.
    #[error("cannot grow {path} to {to_bytes} bytes, the most is {size_bytes_max}")]
    SizeFixed {
        /// The device.
        path: PathBuf,
        /// Size asked for, in bytes.
        to_bytes: u64,
        /// Its size, in bytes.
        size_bytes_max: u64,
    },
    /// A size that the backing cannot have.
    #[error("{value} bytes of {path} are no multiple of {alignment_bytes}")]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// The size.
        value: u64,
        /// What it should be a multiple of.
        alignment_bytes: u64,
    },
    /// The caller gave up.
    #[error("growing {path} to {to_bytes} bytes was given up at {reached_bytes}")]
    GivenUp {
        /// The file.
        path: PathBuf,
        /// Size it should have got, in bytes.
        to_bytes: u64,
        /// Bytes reserved until then.
        reached_bytes: u64,
    },
    /// The file system cannot reserve blocks.
    #[error("{path} cannot reserve blocks up front ({room}): put the pool elsewhere with --pool")]
    NotSupported {
        /// The file.
        path: PathBuf,
        /// The file system.
        room: Room,
    },
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

impl Backing {
    /// Reserves the bytes from one size to a larger one; both are multiples of the alignment. Bytes
    /// that were never written read as zero, others stay as they are. Repeating it changes nothing.
    pub fn reserve(
        &self,
        file: impl AsFd,
        from_bytes: u64,
        to_bytes: u64,
    ) -> Result<(), GrowError> {
        self.reserve_in_steps(file, from_bytes, to_bytes, &mut |_| ControlFlow::Continue(()))
    }

    /// The same, asking after each step of at most 64 MiB whether to go on; the argument is
    /// the size reached.
    // r[impl segment.reserve]
    pub fn reserve_in_steps(
        &self,
        file: impl AsFd,
        from_bytes: u64,
        to_bytes: u64,
        go_on: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), GrowError> {
        self.check_aligned(from_bytes)?;
        self.check_aligned(to_bytes)?;
        if let Some(size_bytes_max) = self.size_fixed {
            return self.check_fixed(to_bytes, size_bytes_max);
        }
        let file = file.as_fd();
        self.check_limit(file, to_bytes)?;
        let mut step = STEP_BYTES.next_multiple_of(self.alignment_bytes);
        let mut reached = from_bytes;
        while reached < to_bytes {
            let next = reached.saturating_add(step).min(to_bytes);
            match self.reserve_step(file, reached, next - reached) {
                Ok(()) => reached = next,
                // A signal undoes the step: smaller ones get through between two signals.
                Err(Errno::INTR) => {
                    step = (step / 2).next_multiple_of(self.alignment_bytes);
                    continue;
                }
                Err(source) => return Err(self.grow_error(file, from_bytes, to_bytes, source)),
            }
            if go_on(reached).is_break() && reached < to_bytes {
                let path = self.path.clone();
                return Err(GrowError::GivenUp { path, to_bytes, reached_bytes: reached });
            }
        }
        Ok(())
    }

    fn reserve_step(&self, file: BorrowedFd<'_>, offset: u64, count: u64) -> Result<(), Errno> {
        if let Some(fake) = &self.fake {
            fake.step()?;
        }
        rustix::fs::fallocate(file, FallocateFlags::empty(), offset, count)
    }

    fn check_aligned(&self, value: u64) -> Result<(), GrowError> {
        if value.is_multiple_of(self.alignment_bytes) {
            return Ok(());
        }
        let path = self.path.clone();
        Err(GrowError::Misaligned { path, value, alignment_bytes: self.alignment_bytes })
    }

    fn check_fixed(&self, to_bytes: u64, size_bytes_max: u64) -> Result<(), GrowError> {
        if to_bytes <= size_bytes_max {
            return Ok(());
        }
        Err(GrowError::SizeFixed { path: self.path.clone(), to_bytes, size_bytes_max })
    }

    /// Growing beyond the limit would bring SIGXFSZ, which kills.
    // r[impl segment.file-size-limit]
    fn check_limit(&self, file: BorrowedFd<'_>, to_bytes: u64) -> Result<(), GrowError> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        let Some(limit_bytes) = limit.filter(|&limit| limit < to_bytes) else { return Ok(()) };
        let refused = SystemError::on("look at", &self.path);
        let stat = rustix::fs::fstat(file).map_err(refused)?;
        if u64::try_from(stat.st_size).is_ok_and(|size| size >= to_bytes) {
            return Ok(());
        }
        Err(GrowError::FileSizeLimit { path: self.path.clone(), to_bytes, limit_bytes })
    }

    fn grow_error(
        &self,
        file: BorrowedFd<'_>,
        from_bytes: u64,
        to_bytes: u64,
        source: Errno,
    ) -> GrowError {
        let path = self.path.clone();
        let room = match Room::of(file, &path) {
            Ok(room) => room,
            Err(_) => return SystemError::on("grow", &path)(source).into(),
        };
        match source {
            Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::FBIG => {
                GrowError::NoRoom { path, from_bytes, to_bytes, room, source }
            }
            Errno::OPNOTSUPP | Errno::NOSYS => GrowError::NotSupported { path, room },
            _ => SystemError::on("grow", &path)(source).into(),
        }
    }
}

#[cfg(test)]
mod tests;
