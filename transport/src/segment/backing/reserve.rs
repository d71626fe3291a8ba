//! Making more of a file real: blocks now, so that a store later cannot fail.

use super::fill::Filler;
use super::{Backing, BackingKind};
use crate::growth_helper::{GrowthHelper, HelperError};
use crate::memory::HugePages;
use crate::segment::error::SystemError;
use crate::segment::huge::{NoHugePages, huge_page_bytes};
use crate::segment::memory_limit::{GROWTH_MARGIN_BYTES, NoMemory, check_memory};
use crate::segment::nodes::{NumaError, place_thread};
use crate::segment::room::{Bytes, Room};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use thiserror::Error;

/// Most bytes that one system call reserves: between two of them a reservation can be given up.
pub(crate) const STEP_BYTES: u64 = 64 << 20;

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
    /// A control group leaves too little memory: the kernel would kill a process instead of refusing.
    #[error("cannot grow {path} from {} to {}: {no_memory}", Bytes(*from_bytes), Bytes(*to_bytes))]
    MemoryLimit {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// Which group, and its numbers.
        #[source]
        no_memory: NoMemory,
    },
    /// The process that reserves memory in the host's place was killed: there was none.
    #[error(
        "cannot grow {path} from {} to {}: the process that reserved the memory was killed, most \
         likely because a memory limit was reached ({room}); raise the limit, or ask for less with \
         --size or --size-max",
        Bytes(*from_bytes), Bytes(*to_bytes)
    )]
    HelperKilled {
        /// The file.
        path: PathBuf,
        /// Size it had, in bytes.
        from_bytes: u64,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// The file system and its room after the failure.
        room: Room,
    },
    /// The process that reserves memory in the host's place does not do so.
    #[error("cannot grow {path} to {to_bytes} bytes: {reason}")]
    Helper {
        /// The file.
        path: PathBuf,
        /// Size it should get, in bytes.
        to_bytes: u64,
        /// What is wrong with it, in words.
        reason: String,
        /// The nearest error number.
        source: Errno,
    },
    /// The file did not come in huge pages, which were required.
    #[error(transparent)]
    Small(#[from] NoHugePages),
    /// Its pages cannot be had from the memory nodes that were asked for.
    #[error(transparent)]
    Numa(#[from] NumaError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] SystemError),
}

impl GrowError {
    /// What the system said, or the error number that says it best.
    pub fn errno(&self) -> Errno {
        match self {
            GrowError::NoRoom { source, .. } | GrowError::Helper { source, .. } => *source,
            GrowError::FileSizeLimit { .. } => Errno::FBIG,
            GrowError::SizeFixed { .. } => Errno::NOSPC,
            GrowError::Misaligned { .. } => Errno::INVAL,
            GrowError::GivenUp { .. } => Errno::CANCELED,
            GrowError::NotSupported { .. } => Errno::OPNOTSUPP,
            GrowError::MemoryLimit { no_memory, .. } => no_memory.source,
            GrowError::HelperKilled { .. } | GrowError::Small(_) => Errno::NOMEM,
            GrowError::Numa(
                NumaError::Refused { source, .. } | NumaError::Forbidden { source, .. },
            ) => *source,
            GrowError::Numa(_) => Errno::INVAL,
            GrowError::System(error) => error.source,
        }
    }
}

/// Bytes of a file, from one size to a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub from_bytes: u64,
    pub to_bytes: u64,
}

impl Span {
    pub(crate) fn count(&self) -> u64 {
        self.to_bytes.saturating_sub(self.from_bytes)
    }
}

/// Who reserves, and who is told of it.
#[derive(Clone, Copy)]
pub(crate) struct Taking<'a> {
    /// The process that does it in this one's place.
    pub helper: Option<&'a GrowthHelper>,
    /// Asked between steps.
    pub is_wanted: &'a (dyn Fn() -> bool + Sync),
    /// Told after each step, with the bytes that a whole step has.
    pub step_done: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Taking<'a> {
    /// Told to nobody, and never given up.
    pub(crate) fn by(helper: Option<&'a GrowthHelper>) -> Taking<'a> {
        Taking { helper, is_wanted: &|| true, step_done: &|_| {} }
    }
}

impl Backing {
    /// Reserves spans of a file where memory may run out: by the helper if there is one, which the
    /// kernel kills in this process's place. What a failure left is for [`Backing::give_back`].
    // r[impl resources.growth]
    // r[impl resources.charged-to-host]
    pub(crate) fn reserve_spans(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        taking: Taking<'_>,
    ) -> Result<(), GrowError> {
        self.check_spans(file, spans)?;
        self.take_spans(file, spans, taking)
    }

    /// The same for spans that were reserved long ago: they are only populated, where that is asked for.
    pub(crate) fn take_spans(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        taking: Taking<'_>,
    ) -> Result<(), GrowError> {
        match taking.helper.filter(|_| self.can_grow()) {
            Some(helper) => helper
                .reserve(file, spans, (&self.memory, taking))
                .map_err(|error| self.helper_error(file, spans, error)),
            // Where the kernel is told per thread, it is told in a thread that does nothing else.
            None if self.kind == BackingKind::Hugetlbfs && self.memory.numa.is_some() => {
                let reserve = || self.reserve_placed(file, spans, taking);
                let ended = std::thread::scope(|scope| scope.spawn(reserve).join());
                ended.unwrap_or(Err(SystemError::on("grow", &self.path)(Errno::CANCELED).into()))
            }
            None => self.reserve_placed(file, spans, taking),
        }
    }

    /// Reserves in this very thread.
    pub(crate) fn reserve_placed(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        taking: Taking<'_>,
    ) -> Result<(), GrowError> {
        place_thread(self, self.memory.numa)?;
        spans.iter().try_for_each(|span| {
            let mut go_on = |_| {
                (taking.step_done)(STEP_BYTES);
                if (taking.is_wanted)() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            };
            self.reserve_in_steps(file, span.from_bytes, span.to_bytes, &mut go_on)
        })
    }

    fn check_spans(&self, file: BorrowedFd<'_>, spans: &[Span]) -> Result<(), GrowError> {
        for span in spans {
            self.check_span(file, *span)?;
        }
        match spans.last() {
            Some(last) => {
                let needed_bytes = spans.iter().map(|span| self.taken_bytes(span)).sum();
                self.check_memory(*last, needed_bytes, GROWTH_MARGIN_BYTES)
            }
            None => Ok(()),
        }
    }

    /// What taking a span can take: a huge page that it only touches is taken whole.
    // r[impl pool-memory.huge-counted]
    fn taken_bytes(&self, span: &Span) -> u64 {
        if self.memory.huge_pages == HugePages::Off || span.count() == 0 {
            return span.count();
        }
        let page_bytes = huge_page_bytes();
        let from_bytes = span.from_bytes - span.from_bytes % page_bytes;
        span.to_bytes.next_multiple_of(page_bytes).saturating_sub(from_bytes)
    }

    /// Whether the control groups of this process have so much memory to give for a file.
    pub(crate) fn check_memory(
        &self,
        Span { from_bytes, to_bytes }: Span,
        needed_bytes: u64,
        margin_bytes: u64,
    ) -> Result<(), GrowError> {
        if self.kind != BackingKind::Tmpfs {
            return Ok(());
        }
        check_memory(needed_bytes, margin_bytes).map_err(|no_memory| {
            let path = self.path.clone();
            GrowError::MemoryLimit { path, from_bytes, to_bytes, no_memory }
        })
    }

    fn helper_error(&self, file: BorrowedFd<'_>, spans: &[Span], error: HelperError) -> GrowError {
        let last = spans.last().map_or((0, 0), |span| (span.from_bytes, span.to_bytes));
        let (path, (from_bytes, to_bytes)) = (self.path.clone(), last);
        let source = match error {
            HelperError::Refused { span, source } => {
                let refused = spans.get(span).map_or(last, |it| (it.from_bytes, it.to_bytes));
                return self.grow_error(file, refused.0, refused.1, source);
            }
            HelperError::GivenUp => {
                return GrowError::GivenUp { path, to_bytes, reached_bytes: from_bytes };
            }
            HelperError::Died => match Room::of(file, &path) {
                Ok(room) => return GrowError::HelperKilled { path, from_bytes, to_bytes, room },
                Err(error) => return error.into(),
            },
            HelperError::Start(source) => source,
            HelperError::Silent => Errno::PROTO,
        };
        GrowError::Helper { path, to_bytes, reason: error.to_string(), source }
    }

    /// Gives back what was reserved and is not used by anybody: a failure left it, or a process died
    /// before it was published. The file keeps its size.
    // r[impl resources.give-back]
    pub(crate) fn give_back(&self, file: BorrowedFd<'_>, span: Span) -> Result<(), SystemError> {
        if !self.can_grow() || self.fake.is_some() || span.count() == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match rustix::fs::fallocate(file, flags, span.from_bytes, span.count()) {
                Err(Errno::INTR) => {}
                outcome => {
                    return outcome.map_err(SystemError::on("give back blocks of", &self.path));
                }
            }
        }
    }

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
        let file = file.as_fd();
        self.check_span(file, Span { from_bytes, to_bytes })?;
        if !self.can_grow() {
            return Ok(());
        }
        let filler = self.filler(file, (from_bytes, to_bytes))?;
        let mut step = STEP_BYTES.next_multiple_of(self.alignment_bytes);
        let mut reached = from_bytes;
        while reached < to_bytes {
            let next = reached.saturating_add(step).min(to_bytes);
            match self.reserve_step(file, filler.as_ref(), (reached, next - reached)) {
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

    /// Gives the file a size of at least so many bytes. What is new is a hole: whoever touches it
    /// reserves it before.
    pub(crate) fn lengthen(&self, file: impl AsFd, to_bytes: u64) -> Result<(), GrowError> {
        let file = file.as_fd();
        self.check_span(file, Span { from_bytes: 0, to_bytes })?;
        let refused = SystemError::on("lengthen", &self.path);
        let stat = rustix::fs::fstat(file).map_err(&refused)?;
        if u64::try_from(stat.st_size).is_ok_and(|size| size >= to_bytes) {
            return Ok(());
        }
        rustix::io::retry_on_intr(|| rustix::fs::ftruncate(file, to_bytes)).map_err(refused)?;
        Ok(())
    }

    fn check_span(&self, file: BorrowedFd<'_>, span: Span) -> Result<(), GrowError> {
        self.check_aligned(span.from_bytes)?;
        self.check_aligned(span.to_bytes)?;
        match self.size_fixed {
            Some(size_bytes_max) => self.check_fixed(span.to_bytes, size_bytes_max),
            None => self.check_limit(file, span.to_bytes),
        }
    }

    fn filler(
        &self,
        file: BorrowedFd<'_>,
        (from_bytes, to_bytes): (u64, u64),
    ) -> Result<Option<Filler>, GrowError> {
        if !Filler::is_wanted(self) {
            return Ok(None);
        }
        // A page beyond the end of the file cannot be touched.
        self.lengthen(file, to_bytes)?;
        let filler = Filler::new(file, self, to_bytes);
        filler.map(Some).map_err(|errno| self.grow_error(file, from_bytes, to_bytes, errno))
    }

    fn reserve_step(
        &self,
        file: BorrowedFd<'_>,
        filler: Option<&Filler>,
        (offset, count): (u64, u64),
    ) -> Result<(), Errno> {
        if let Some(fake) = &self.fake {
            fake.step()?;
        }
        if let Some(filler) = filler {
            filler.before(offset, count);
        }
        rustix::fs::fallocate(file, FallocateFlags::empty(), offset, count)?;
        filler.map_or(Ok(()), |filler| filler.after(offset, count))
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
