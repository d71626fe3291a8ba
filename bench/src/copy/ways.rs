//! Ways to copy a block: with which instructions, how many streams, and how many threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use onecopy_shm::copy::copy_in;

use super::kernels::{Shape, Vector, copy_lines};
use crate::error::BenchError;
use crate::pin;

/// How a block is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `copy_from_slice`, which is the C library's memcpy.
    Memcpy,
    /// `copy_in`, which is what `Fill::copy_from` does.
    CopyIn,
    /// By this thread with vector instructions.
    Vectors(Vector, Shape),
    /// Half of it by a thread on this other core, with `copy_from_slice`.
    TwoThreads(usize),
}

/// How blocks are copied with the widest vectors of this processor.
const SHAPES: [Shape; 4] =
    [Shape::Streams2, Shape::Streams4, Shape::NonTemporal2, Shape::NonTemporal4];

impl Way {
    /// All that this processor can do, `copy_from_slice` first.
    pub(super) fn all(second: Option<usize>) -> Vec<Way> {
        let vectors = Vector::available();
        let plain = vectors.iter().map(|vector| Way::Vectors(*vector, Shape::NonTemporal1));
        let widest = vectors.last();
        let shaped = widest
            .into_iter()
            .flat_map(|vector| SHAPES.into_iter().map(|shape| Way::Vectors(*vector, shape)));
        let threads = second.map(Way::TwoThreads);
        [Way::Memcpy, Way::CopyIn].into_iter().chain(plain).chain(shaped).chain(threads).collect()
    }

    pub(super) fn name(self) -> String {
        match self {
            Way::Memcpy => "memcpy".to_owned(),
            Way::CopyIn => "copy_in".to_owned(),
            Way::Vectors(vector, Shape::NonTemporal1) => format!("nt_{}", vector.name()),
            Way::Vectors(_, shape) => shape.name().to_owned(),
            Way::TwoThreads(_) => "threads_2".to_owned(),
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Way::Memcpy => "copy_from_slice".to_owned(),
            Way::CopyIn => "what Fill::copy_from does".to_owned(),
            Way::Vectors(vector, shape) => format!("{} ({})", shape.text(), vector.name()),
            Way::TwoThreads(_) => "two threads on two cores".to_owned(),
        }
    }

    /// Copies all of `from` to `to`, both of one length; nanoseconds until any thread may be told of it.
    pub(super) fn copy(self, to: &mut [u8], from: &[u8]) -> Result<u128, BenchError> {
        let start = Instant::now();
        match self {
            Way::Memcpy => to.copy_from_slice(from),
            Way::CopyIn => copy_in(to, from),
            Way::Vectors(vector, shape) => copy_lines(vector, shape, to, from)?,
            Way::TwoThreads(core) => return two_threads(core, to, from),
        }
        Ok(start.elapsed().as_nanos())
    }
}

/// The other thread is there and awake before the clock starts: waking it costs more than most copies.
fn two_threads(core: usize, to: &mut [u8], from: &[u8]) -> Result<u128, BenchError> {
    let half = to.len() / 2;
    let (here, there) = to.split_at_mut(half);
    let (from_here, from_there) = from.split_at(half);
    let (begin, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (ready, is_ready) = mpsc::channel();
    std::thread::scope(|scope| {
        let (begin, done) = (&begin, &done);
        scope.spawn(move || {
            let pinned = pin::pin(core);
            let is_pinned = pinned.is_ok();
            // Nobody listens any more only if the other thread has ended.
            let _ = ready.send(pinned);
            while is_pinned && !begin.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            there.copy_from_slice(from_there);
            done.store(true, Ordering::Release);
        });
        is_ready.recv().map_err(|_| BenchError::PartnerEnded)??;
        let start = Instant::now();
        begin.store(true, Ordering::Release);
        here.copy_from_slice(from_here);
        while !done.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        Ok(start.elapsed().as_nanos())
    })
}
