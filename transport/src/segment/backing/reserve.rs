//! Making more of a file real: blocks now, so that a store later cannot fail.

use super::fill::{FillError, Filler};
use super::{Backing, BackingKind, GrowError};
use crate::growth_helper::{GrowthHelper, HelperError, RefusedCall};
use crate::memory::HugePages;
use crate::segment::error::SystemError;
use crate::segment::huge::huge_page_bytes;
use crate::segment::memory_limit::{GROWTH_MARGIN_BYTES, check_memory};
use crate::segment::nodes::{place_thread, refused_nodes};
use crate::segment::room::Room;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

/// Most bytes that one system call reserves: between two of them a reservation can be given up.
pub(crate) const STEP_BYTES: u64 = 64 << 20;

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
    /// Told after each step, with its bytes.
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
                self.reserve_in_thread(file, spans, taking)
            }
            None => self.reserve_placed(file, spans, taking),
        }
    }

    fn reserve_in_thread(
        &self,
        file: BorrowedFd<'_>,
        spans: &[Span],
        taking: Taking<'_>,
    ) -> Result<(), GrowError> {
        let refused = SystemError::on("start a thread to grow", &self.path);
        std::thread::scope(|scope| {
            let reserve = || self.reserve_placed(file, spans, taking);
            // What `Scope::spawn` does without a thread is panic.
            let thread = std::thread::Builder::new().spawn_scoped(scope, reserve);
            let thread = thread
                .map_err(|error| refused(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)))?;
            let ended = thread.join();
            ended.unwrap_or(Err(SystemError::on("grow", &self.path)(Errno::CANCELED).into()))
        })
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
            let mut told_bytes = span.from_bytes;
            let mut go_on = |reached_bytes| {
                (taking.step_done)(reached_bytes - told_bytes);
                told_bytes = reached_bytes;
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
            HelperError::Refused { span, call, source } => {
                let span = spans.get(span).map_or(last, |it| (it.from_bytes, it.to_bytes));
                return self.refused_call(file, span, (call, source));
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

    /// What this process would have said had it called itself.
    // r[impl resources.growth-refused]
    fn refused_call(
        &self,
        file: BorrowedFd<'_>,
        (from_bytes, to_bytes): (u64, u64),
        (call, source): (RefusedCall, Errno),
    ) -> GrowError {
        match call {
            RefusedCall::Reserve => self.grow_error(file, from_bytes, to_bytes, source),
            RefusedCall::Place => refused_nodes(self, self.memory.numa, source).into(),
            RefusedCall::Map => self.unmapped(to_bytes, source.to_string(), source),
        }
    }

    fn unmapped(&self, to_bytes: u64, reason: String, source: Errno) -> GrowError {
        GrowError::Unmapped { path: self.path.clone(), to_bytes, reason, source }
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
        filler.map(Some).map_err(|error| match error {
            FillError::Map(_) | FillError::Region(_) => {
                self.unmapped(to_bytes, error.to_string(), error.errno())
            }
            FillError::Advise(errno) => self.grow_error(file, from_bytes, to_bytes, errno),
        })
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
