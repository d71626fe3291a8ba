//! A guest process of a replay: takes requests from the board, looks their blocks up, checks every
//! byte of what it finds, stores the rest.

use super::arrivals::Arrivals;
use super::plan::Source;
use crate::cli::ReplayGuestArgs;
use crate::exit::Failure;
use crate::signals;
use onecopy::cache::{Cache, CacheOptions, PublishOptions, ToPublish};
use onecopy::key::Key;
use onecopy::replay::board::{RequestOutcome, Worker};
use onecopy::replay::payload;
use onecopy_transport::guest::GuestOptions;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use std::time::{Duration, Instant};

/// Blocks that are reserved, filled and published together.
const BATCH_BLOCKS: usize = 16;
/// How long the host may be busy before the guest gives up.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn guest(args: &ReplayGuestArgs) -> Result<(), Failure> {
    end_with_supervisor(args.supervisor)?;
    let source = match &args.trace {
        Some(path) => Source::File(path.clone()),
        None => Source::Generator { seed: args.seed, conversations: args.conversations },
    };
    let trace = source.load()?;
    let mut worker = Worker::join(std::io::stdin(), args.place).map_err(Failure::refused)?;
    let mut options = CacheOptions::new(GuestOptions::at(&args.segment));
    options.deadline = PATIENCE;
    options.lookup = args.lookup.path();
    let replayer = Replayer {
        cache: Cache::attach(options).map_err(Failure::no_segment)?,
        run: args.run,
        block_bytes: args.block_bytes,
    };
    let first = trace.request(0).map_or(0, |request| request.timestamp_ms);
    let arrivals = Arrivals::new(args.started_ns, args.speed, first);
    while let Some(number) = worker.take() {
        let request = trace.request(number as usize).ok_or_else(|| {
            Failure::Refused(format!("request {number} is not in the trace any more"))
        })?;
        arrivals.wait_for(request.timestamp_ms);
        worker.begin();
        let outcome = replayer.request(request.block_ids, &worker)?;
        worker.finish(number, &outcome).map_err(Failure::refused)?;
    }
    let detached = replayer.cache.guest().detach(Instant::now() + PATIENCE);
    detached.map_err(Failure::refused)
}

/// Ctrl-C in a terminal reaches every process of it. The supervisor ends its guests; if it cannot,
/// because it was killed, the system does.
fn end_with_supervisor(supervisor: u32) -> Result<(), Failure> {
    signals::ignore()?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Failure::refused)?;
    // It may have ended before the line above.
    let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
    match parent.is_some_and(|parent| parent.get().cast_unsigned() == supervisor) {
        true => Ok(()),
        false => Err(Failure::Refused("the replay that this guest belongs to is gone".into())),
    }
}

struct Replayer {
    cache: Cache,
    run: u64,
    block_bytes: u64,
}

impl Replayer {
    fn request(&self, block_ids: &[u64], worker: &Worker) -> Result<RequestOutcome, Failure> {
        let keys: Vec<Key> = block_ids.iter().map(|id| key(self.run, *id)).collect();
        let mut outcome = RequestOutcome { references: keys.len() as u64, ..Default::default() };
        self.read_prefix(block_ids, &keys, worker, &mut outcome)?;
        let hits = outcome.hits as usize;
        let batches = block_ids[hits..].chunks(BATCH_BLOCKS).zip(keys[hits..].chunks(BATCH_BLOCKS));
        for (block_ids, keys) in batches {
            self.store(block_ids, keys, worker, &mut outcome)?;
        }
        Ok(outcome)
    }

    /// Looks the blocks up until the first miss and checks what it finds, in place.
    fn read_prefix(
        &self,
        block_ids: &[u64],
        keys: &[Key],
        worker: &Worker,
        outcome: &mut RequestOutcome,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let blocks = self.cache.lookup_prefix(keys)?;
        outcome.lookup_ns = started.elapsed().as_nanos() as u64;
        outcome.hits = blocks.len() as u64;
        // The miss that ends the prefix was looked up too.
        let looked_up = (blocks.len() + 1).min(keys.len()).max(1);
        for _ in 0..looked_up {
            worker.count_lookup(outcome.lookup_ns / looked_up as u64);
        }
        for (block, id) in blocks.iter().zip(block_ids) {
            let wrong = block.len() as u64 != self.block_bytes
                || payload::verify(block, self.run, *id).is_err();
            outcome.mismatches += u64::from(wrong);
            outcome.bytes_verified += block.len() as u64;
        }
        Ok(())
    }

    fn store(
        &self,
        block_ids: &[u64],
        keys: &[Key],
        worker: &Worker,
        outcome: &mut RequestOutcome,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let mut fills = self.cache.reserve_many(self.block_bytes, keys.len() as u32)?;
        let mut time = started.elapsed();
        for (fill, id) in fills.iter_mut().zip(block_ids) {
            payload::fill(&mut fill[..self.block_bytes as usize], self.run, *id);
        }
        let blocks = fills.into_iter().zip(keys).map(|(fill, key)| ToPublish {
            fill,
            key: *key,
            length_bytes: self.block_bytes,
            options: PublishOptions::default(),
        });
        let started = Instant::now();
        for published in self.cache.publish_many(blocks.collect()) {
            published?;
        }
        time += started.elapsed();
        let per_key = time.as_nanos() as u64 / keys.len().max(1) as u64;
        keys.iter().for_each(|_| worker.count_publish(per_key));
        outcome.publish_ns += time.as_nanos() as u64;
        Ok(())
    }
}

/// The key of a block: other runs of the same trace have other keys.
fn key(run: u64, block_id: u64) -> Key {
    let mut name = [0; 32];
    name[..16].copy_from_slice(b"onecopy replay 1");
    name[16..24].copy_from_slice(&run.to_le_bytes());
    name[24..].copy_from_slice(&block_id.to_le_bytes());
    Key::from_bytes(name)
}
