//! How a host takes the memory of its segment: what applies to which file, and what is refused.

use super::events::HostEvent;
use super::options::HostOptions;
use crate::control::ControlReader;
use crate::growth_helper::GrowthHelper;
use crate::memory::{HugePages, MemoryOptions};
use crate::segment::{
    ATTACH_MARGIN_BYTES, Backing, BackingKind, GrowError, HugeBytes, MAPPED_BY_BYTE, NoHugePages,
    NumaError, Span, SystemError, Taking, check_huge, check_placeable, measure_huge, place,
    resolve,
};
use onecopy_shm::sys::{can_populate, populate_write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use thiserror::Error;

/// Why memory cannot be taken as it was asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// The kernel is too old.
    #[error(
        "this kernel cannot populate memory, which --prefault and --huge-pages need: Linux 5.14 can"
    )]
    NoPopulate,
    /// Pages of this file are the kernel's to drop.
    #[error(
        "{path} is on {kind} and cannot be populated for good: leave out --prefault, or put it on \
         tmpfs or hugetlbfs"
    )]
    NotPopulated {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: BackingKind,
    },
    /// The file takes memory in larger pieces than the pool may ever have.
    #[error(
        "{path} takes memory by {step_bytes} bytes, so the pool may have {size_bytes_max} bytes at \
         most, but needs {needed_bytes}: raise --size-max"
    )]
    TooSmall {
        /// The pool.
        path: PathBuf,
        /// What its sizes are multiples of, in bytes.
        step_bytes: u64,
        /// The most it can have with that, in bytes.
        size_bytes_max: u64,
        /// The least it needs, in bytes.
        needed_bytes: u64,
    },
    /// Huge pages were required.
    #[error(transparent)]
    Huge(#[from] NoHugePages),
    /// Memory nodes that are not there, or do not apply.
    #[error(transparent)]
    Numa(#[from] NumaError),
}

/// How the memory of a segment that was made or opened is taken, and how much of it was found in huge
/// pages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub options: MemoryOptions,
    pub huge_bytes: u64,
}

/// What a host was asked for, checked against the machine.
pub(super) struct MemoryPlan<'a> {
    /// With the nodes that there are.
    pub options: MemoryOptions,
    helper: Option<&'a GrowthHelper>,
    events: Option<&'a Sender<HostEvent>>,
    given_up: Option<&'a AtomicBool>,
    reached_bytes: AtomicU64,
    total_bytes: u64,
}

impl<'a> MemoryPlan<'a> {
    pub fn new(options: &'a HostOptions) -> Result<MemoryPlan<'a>, MemoryError> {
        let mut memory = options.memory;
        memory.numa = memory.numa.map(resolve).transpose()?;
        if !can_populate() {
            memory = without_populate(memory)?;
        }
        Ok(MemoryPlan {
            options: memory,
            helper: options.growth_helper.as_ref(),
            events: options.events.as_ref(),
            given_up: options.start_given_up.as_deref(),
            reached_bytes: AtomicU64::new(0),
            total_bytes: 0,
        })
    }

    /// The file, to be taken as the options say; refuses what does not apply to it.
    // r[impl pool-memory.prefault-refused]
    pub fn apply(&self, file: impl AsFd, backing: Backing) -> Result<Backing, MemoryError> {
        let mut memory = self.options;
        let kind = backing.kind();
        if memory.prefault && matches!(kind, BackingKind::Disk | BackingKind::Fsdax) {
            return Err(MemoryError::NotPopulated { path: backing.path().to_owned(), kind });
        }
        if memory.numa.is_some() {
            check_placeable(&backing)?;
        }
        if memory.huge_pages != HugePages::Off
            && let Err(error) = check_huge(file, &backing)
        {
            if memory.huge_pages == HugePages::Require {
                return Err(error.into());
            }
            tracing::warn!("{error}");
            memory.huge_pages = HugePages::Off;
        }
        Ok(backing.with_memory(memory))
    }

    /// The file of a segment that is made: before anything of it is taken.
    pub fn place(
        &self,
        file: impl AsFd,
        backing: &Backing,
        size_bytes_max: u64,
    ) -> Result<(), MemoryError> {
        match self.options.numa {
            None => Ok(()),
            policy => Ok(place(file, backing, size_bytes_max, policy)?),
        }
    }

    /// The file of a segment that is there: what it does not have yet follows the options of this life,
    /// also where those say nothing.
    // r[impl pool-memory.restart]
    pub fn place_anew(
        &self,
        file: impl AsFd,
        backing: &Backing,
        size_bytes_max: u64,
    ) -> Result<(), MemoryError> {
        Ok(place(file, backing, size_bytes_max, self.options.numa)?)
    }

    /// Says how much is to be taken in all, for whoever listens.
    pub fn announce(&mut self, total_bytes: u64) {
        self.total_bytes = total_bytes;
    }

    /// Reserves spans of a file that are not there yet.
    pub fn reserve(
        &self,
        file: impl AsFd,
        backing: &Backing,
        spans: &[Span],
    ) -> Result<(), GrowError> {
        self.take(|taking| backing.reserve_spans(file.as_fd(), spans, taking))
    }

    /// Populates spans of a file that are there, if that is asked for.
    // r[impl pool-memory.restart]
    pub fn populate_anew(
        &self,
        file: impl AsFd,
        backing: &Backing,
        spans: &[Span],
    ) -> Result<(), GrowError> {
        if !backing.memory().prefault {
            return Ok(());
        }
        self.take(|taking| backing.take_spans(file.as_fd(), spans, taking))
    }

    /// How much of what is there is in huge pages. That it is not does no harm here: it is not taken
    /// anew.
    // r[impl pool-memory.restart]
    pub fn look_at_huge(
        &self,
        file: impl AsFd,
        backing: &Backing,
        spans: &[Span],
    ) -> Result<u64, GrowError> {
        let mut memory = *backing.memory();
        if memory.huge_pages == HugePages::Require {
            memory.huge_pages = HugePages::Try;
        }
        let backing = backing.clone().with_memory(memory);
        check_huge_while(file, &backing, spans, &|| self.is_wanted())
    }

    fn is_wanted(&self) -> bool {
        // No edge: nothing but the flag itself is told.
        self.given_up.is_none_or(|given_up| !given_up.load(Ordering::Relaxed))
    }

    /// By the helper, telling of each step, until the start is given up.
    // r[impl pool-memory.progress]
    fn take(&self, by: impl FnOnce(Taking<'_>) -> Result<(), GrowError>) -> Result<(), GrowError> {
        let step_done = |bytes| self.tell(bytes);
        let is_wanted = || self.is_wanted();
        by(Taking { helper: self.helper, is_wanted: &is_wanted, step_done: &step_done })
    }

    /// So many bytes more, at most what is expected in all.
    // r[impl pool-memory.progress]
    fn tell(&self, bytes: u64) {
        let Some(events) = self.events else { return };
        let before = self.reached_bytes.fetch_add(bytes, Ordering::Relaxed);
        let total_bytes = self.total_bytes;
        let reached_bytes = before.saturating_add(bytes).min(total_bytes);
        // Nobody has to listen.
        let _ = events.send(HostEvent::Reserved { reached_bytes, total_bytes });
    }

    /// All is taken.
    pub fn done(&self) {
        self.tell(self.total_bytes);
    }
}

/// What a kernel that cannot populate memory can still be asked for.
// r[impl pool-memory.old-kernel]
fn without_populate(memory: MemoryOptions) -> Result<MemoryOptions, MemoryError> {
    match memory {
        MemoryOptions { prefault: true, .. }
        | MemoryOptions { huge_pages: HugePages::Require, .. } => Err(MemoryError::NoPopulate),
        MemoryOptions { huge_pages: HugePages::Off, .. } => Ok(memory),
        MemoryOptions { huge_pages: HugePages::Try, .. } => {
            tracing::warn!("no huge pages: {}", MemoryError::NoPopulate);
            Ok(MemoryOptions { huge_pages: HugePages::Off, ..memory })
        }
    }
}

/// Populates this process's own mapping of what is real of the control area.
// r[impl pool-memory.prefault]
pub(super) fn populate_control(
    control: &ControlReader,
    backing: &Backing,
    spans: &[Span],
) -> Result<(), GrowError> {
    if !backing.memory().prefault {
        return Ok(());
    }
    let refused = SystemError::on("populate the mapping of", backing.path());
    for span in spans.iter().filter(|span| span.count() > 0) {
        // The pages are there; tables are taken for them, and those count like other memory.
        backing.check_memory(*span, span.count() / MAPPED_BY_BYTE, ATTACH_MARGIN_BYTES)?;
        // Whole words: the tables begin and end so.
        let part = control.part(span.from_bytes, span.count());
        part.map_err(|_| refused(rustix::io::Errno::INVAL))
            .and_then(|part| populate_write(&part).map_err(|error| refused(error.errno())))?;
    }
    Ok(())
}

/// How much of these spans came in huge pages; none is looked for where none was asked for.
// r[impl pool-memory.huge]
pub(super) fn check_huge_bytes(
    file: impl AsFd,
    backing: &Backing,
    spans: &[Span],
) -> Result<u64, NoHugePages> {
    let found = sum_huge(file, backing, spans, &|| true)?.unwrap_or_default();
    check_found(backing, found)
}

/// The same, until it is not wanted any more.
// r[impl pool-memory.huge]
pub(super) fn check_huge_while(
    file: impl AsFd,
    backing: &Backing,
    spans: &[Span],
    is_wanted: &dyn Fn() -> bool,
) -> Result<u64, GrowError> {
    match sum_huge(file, backing, spans, is_wanted)? {
        Some(found) => Ok(check_found(backing, found)?),
        None => {
            let to_bytes = spans.last().map_or(0, |span| span.to_bytes);
            let path = backing.path().to_owned();
            Err(GrowError::GivenUp { path, to_bytes, reached_bytes: to_bytes })
        }
    }
}

/// `None` when it was given up.
fn sum_huge(
    file: impl AsFd,
    backing: &Backing,
    spans: &[Span],
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<HugeBytes>, NoHugePages> {
    let mut sum = HugeBytes::default();
    let asked = backing.memory().huge_pages;
    if asked == HugePages::Off {
        return Ok(Some(sum));
    }
    for span in spans {
        match measure_huge(&file, backing, (span.from_bytes, span.to_bytes), is_wanted) {
            Ok(Some(HugeBytes { found, expected })) => {
                sum.found += found;
                sum.expected += expected;
            }
            Ok(None) => return Ok(None),
            // Nobody fails for want of a figure.
            Err(error @ NoHugePages::NoMemory { .. }) if asked == HugePages::Try => {
                tracing::warn!("{error}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(sum))
}

fn check_found(
    backing: &Backing,
    HugeBytes { found: huge_bytes, expected: expected_bytes }: HugeBytes,
) -> Result<u64, NoHugePages> {
    if huge_bytes >= expected_bytes {
        return Ok(huge_bytes);
    }
    let path = backing.path().to_owned();
    let small = NoHugePages::Small { path, huge_bytes, expected_bytes };
    if backing.memory().huge_pages == HugePages::Require {
        return Err(small);
    }
    tracing::warn!("{small}");
    Ok(huge_bytes)
}

#[cfg(test)]
mod tests;
