//! A thread that uses a cache as hard as it can and checks every byte that it reads.

use super::{Random, fill_payload, is_payload, key};
use onecopy::cache::{Block, Cache, Fill, PublishOptions};
use onecopy::error::{AskError, DeleteError, PinError, PublishError, UnpinError};
use onecopy_transport::guest::{CallError, LinkEnd};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Blocks that the thread keeps leased.
const KEPT: usize = 8;

/// What a load has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadFigures {
    /// Operations.
    pub operations: u64,
    /// Blocks whose every byte was read and right.
    pub verified: u64,
    /// Blocks with a wrong byte.
    pub mismatches: u64,
    /// Of the operations, those that published a block.
    pub published: u64,
    /// The error that ended it, if one did.
    pub error: Option<String>,
}

/// The running thread.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    operations: Arc<AtomicU64>,
    thread: JoinHandle<LoadFigures>,
}

impl Load {
    /// Starts to use so many keys. One that `goes_on` is content not to know what became of a request
    /// when the host goes away.
    pub fn start(cache: Cache, seed: u64, keys: u64, goes_on: bool) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let operations = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&operations));
        let thread = std::thread::spawn(move || {
            let mut work = Work {
                cache,
                random: Random::new(seed),
                keys,
                kept: VecDeque::new(),
                fill: None,
                figures: LoadFigures::default(),
                goes_on,
            };
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = work.step() {
                    work.figures.error = Some(error);
                    break;
                }
                work.figures.operations += 1;
                counted.store(work.figures.operations, Ordering::Relaxed);
            }
            work.check_kept();
            work.figures
        });
        Load { stop, operations, thread }
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(self) -> LoadFigures {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Length of the block of this number: each has one, from nothing to some pages.
pub(super) fn length_of(number: u64) -> usize {
    (number.wrapping_mul(2_654_435_761) % 24_000) as usize
}

struct Work {
    cache: Cache,
    random: Random,
    keys: u64,
    kept: VecDeque<(u64, Block)>,
    /// A slot that is filled and not published, held over some steps.
    fill: Option<(u64, Fill)>,
    figures: LoadFigures,
    goes_on: bool,
}

impl Work {
    fn step(&mut self) -> Result<(), String> {
        let number = self.random.below(self.keys);
        match self.random.below(100) {
            0..60 => self.read(number),
            60..85 => self.write(number),
            85..92 => self.delete(number),
            92..96 => self.pin(number),
            _ => self.unpin(number),
        }
    }

    fn read(&mut self, number: u64) -> Result<(), String> {
        let found = self.cache.lookup(&key(number)).map_err(|error| format!("{error:?}"))?;
        let Some(block) = found else { return Ok(()) };
        self.check(number, &block);
        self.kept.push_back((number, block));
        if self.kept.len() > KEPT
            && let Some((number, block)) = self.kept.pop_front()
        {
            // As right as when it was found, whatever became of its key.
            self.check(number, &block);
        }
        Ok(())
    }

    fn check(&mut self, number: u64, block: &Block) {
        let right = block.len() == length_of(number) && is_payload(number, block);
        match right {
            true => self.figures.verified += 1,
            false => self.figures.mismatches += 1,
        }
    }

    fn check_kept(&mut self) {
        while let Some((number, block)) = self.kept.pop_front() {
            self.check(number, &block);
        }
    }

    /// Publishes what was half filled before, then half fills another one.
    fn write(&mut self, number: u64) -> Result<(), String> {
        if let Some((number, mut fill)) = self.fill.take() {
            let length = length_of(number);
            fill_payload(number, &mut fill[..length]);
            let options = PublishOptions::default();
            let published = fill.publish(&key(number), length as u64, options);
            match published {
                Ok(published) => self.figures.published += u64::from(published.is_first()),
                Err(PublishError::Ask(error)) if self.is_unsure(&error) => {}
                Err(error) => return Err(format!("{error:?}")),
            }
        }
        let length = length_of(number);
        let mut fill = self.cache.reserve(length as u64).map_err(|error| format!("{error:?}"))?;
        fill_payload(number, &mut fill[..length / 2]);
        self.fill = Some((number, fill));
        Ok(())
    }

    fn delete(&mut self, number: u64) -> Result<(), String> {
        match self.cache.delete(&key(number)) {
            Ok(_) | Err(DeleteError::Busy { .. } | DeleteError::Guarded { .. }) => Ok(()),
            Err(DeleteError::Ask(error)) if self.is_unsure(&error) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Whether it is not known what became of a request: the host went away with it, and another one
    /// is expected.
    fn is_unsure(&self, error: &AskError) -> bool {
        let ended =
            matches!(error, AskError::Call(CallError::Link(LinkEnd::HostGone | LinkEnd::HostLeft)));
        ended && self.goes_on
    }

    fn pin(&mut self, number: u64) -> Result<(), String> {
        match self.cache.pin(&key(number)) {
            Ok(_) | Err(PinError::NotFound { .. }) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    fn unpin(&mut self, number: u64) -> Result<(), String> {
        match self.cache.unpin(&key(number)) {
            Ok(_) | Err(UnpinError::NotFound { .. } | UnpinError::NotPinned { .. }) => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}
