//! A process that gets and puts, as it is told.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::path::Path;

use onecopy::cache::LookupPath;

use crate::clock::now_ns;
use crate::content::{Content, Look};
use crate::error::CompareError;
use crate::orders::{self, Answer, Gets, Order, Span};
use crate::picks::{Pick, Picks};
use crate::subject::{Iceoryx, Lmdb, Memcached, Onecopy, Redis, Subject, open_lmdb};
use crate::system::System;

/// Numbers of blocks that are put while it is measured begin here, above those that were filled.
const PUT_FIRST: u64 = 1 << 40;
/// Blocks that replace each other in their turn take up so much, and are so many.
const PUT_BYTES: u64 = 64 << 20;
const PUT_BLOCKS_MIN: u64 = 4;
const PUT_BLOCKS_MAX: u64 = 1024;
/// The clock is looked at about this often.
const LOOK_NS: u64 = 10_000;

/// Joins a system and carries out orders until the input ends. `seed` makes the order of blocks
/// another in each process.
pub(crate) fn serve(
    system: System,
    place: &Path,
    writes: bool,
    seed: u64,
) -> Result<(), CompareError> {
    match system {
        System::OnecopyDirect => onecopy(place, LookupPath::Direct, writes, seed),
        System::OnecopyRing => onecopy(place, LookupPath::Ring, writes, seed),
        System::Lmdb => Worker::new(Lmdb::of(&open_lmdb(place)?)?, seed).serve(),
        System::Iceoryx => Worker::new(Iceoryx::join(place)?, seed).serve(),
        System::Redis => Worker::new(Redis::connect(place)?, seed).serve(),
        System::Memcached => Worker::new(Memcached::connect(place)?, seed).serve(),
    }
}

fn onecopy(place: &Path, path: LookupPath, writes: bool, seed: u64) -> Result<(), CompareError> {
    Worker::new(Onecopy::attach(place, path, writes)?, seed).serve()
}

struct Worker<S> {
    subject: S,
    seed: u64,
    /// The orders in which blocks are got, by size, number of blocks, and run.
    picks: BTreeMap<(u64, u64, usize), Picks>,
    puts: u64,
}

impl<S: Subject> Worker<S> {
    fn new(subject: S, seed: u64) -> Worker<S> {
        Worker { subject, seed, picks: BTreeMap::new(), puts: 0 }
    }

    fn serve(&mut self) -> Result<(), CompareError> {
        let mut input = BufReader::new(io::stdin());
        let mut output = io::stdout();
        orders::say(&mut output, &Answer::Done { blocks: 0, nanoseconds: 0 })?;
        while let Some(order) = orders::read(&mut input)? {
            let answer = match self.carry_out(order) {
                Ok((blocks, nanoseconds)) => Answer::Done { blocks, nanoseconds },
                Err(error) => Answer::Failed { text: error.to_string() },
            };
            orders::say(&mut output, &answer)?;
        }
        Ok(())
    }

    /// How many blocks, and in how many nanoseconds.
    fn carry_out(&mut self, order: Order) -> Result<(u64, u64), CompareError> {
        match order {
            Order::Fill { size_bytes, blocks, spoil } => {
                let contents = (0..blocks).map(|number| {
                    let is_spoilt = spoil && number == blocks / 2;
                    Content { is_spoilt, ..Content::new(size_bytes, number) }
                });
                self.subject.fill(contents).map(|()| (blocks, 0))
            }
            Order::Get(gets) => self.get(&gets),
            Order::Verify { size_bytes, blocks, look } => self.verify(size_bytes, blocks, look),
            Order::Put { size_bytes, until, yields } => self.put(size_bytes, until, yields),
            order @ (Order::Serve(_) | Order::Rest) => {
                Err(CompareError::WrongOrder { order: format!("{order:?}") })
            }
        }
    }

    fn get(&mut self, gets: &Gets) -> Result<(u64, u64), CompareError> {
        let Gets { size_bytes, blocks, batch, is_prefix, look, until, .. } = *gets;
        let run = if is_prefix { batch } else { 1 };
        let seed = self.seed;
        let picks = self.picks.entry((size_bytes, blocks, run)).or_insert_with(|| match run {
            1 => Picks::shuffled(size_bytes, blocks, seed),
            run => Picks::runs(size_bytes, blocks, run as u64, seed),
        });
        let subject = &mut self.subject;
        repeat(until, || {
            let picks = picks.next(batch);
            subject.get(gets, picks, |pick, bytes| pick.content.check(bytes, look))?;
            Ok(picks.len() as u64)
        })
    }

    fn verify(
        &mut self,
        size_bytes: u64,
        blocks: u64,
        look: Look,
    ) -> Result<(u64, u64), CompareError> {
        let gets = one_at_a_time(size_bytes, blocks, look);
        for number in 0..blocks {
            let pick = [Pick::new(size_bytes, number)];
            self.subject.get(&gets, &pick, |pick, bytes| pick.content.check(bytes, look))?;
        }
        Ok((blocks, 0))
    }

    fn put(
        &mut self,
        size_bytes: u64,
        until: Span,
        yields: bool,
    ) -> Result<(u64, u64), CompareError> {
        let turn = (PUT_BYTES / size_bytes).clamp(PUT_BLOCKS_MIN, PUT_BLOCKS_MAX);
        let (subject, puts) = (&mut self.subject, &mut self.puts);
        let mut last = Content::new(size_bytes, PUT_FIRST);
        let done = repeat(until, || {
            let number = if S::REPLACES { *puts % turn } else { *puts };
            last = Content::new(size_bytes, PUT_FIRST + number);
            *puts += 1;
            subject.put(last, yields).map(|()| 1)
        })?;
        subject.check_put(&one_at_a_time(size_bytes, 1, Look::Whole), last)?;
        Ok(done)
    }
}

/// Gets that are not measured.
fn one_at_a_time(size_bytes: u64, blocks: u64, look: Look) -> Gets {
    let until = Span { start_ns: 0, end_ns: 0 };
    Gets { size_bytes, blocks, batch: 1, is_prefix: false, look, until, yields: true }
}

/// Works until the span is over, and counts from when it began on: what is done before warms up. How
/// many blocks, and in how many nanoseconds.
fn repeat(
    until: Span,
    mut once: impl FnMut() -> Result<u64, CompareError>,
) -> Result<(u64, u64), CompareError> {
    let mut start_ns = now_ns();
    while start_ns < until.start_ns {
        once()?;
        start_ns = now_ns();
    }
    let (mut blocks, mut looked_ns, mut between) = (0, start_ns, 1_u32);
    loop {
        for _ in 0..between {
            blocks += once()?;
        }
        let now = now_ns();
        if now >= until.end_ns {
            return Ok((blocks, now - start_ns));
        }
        if now - looked_ns < LOOK_NS / 2 {
            between *= 2;
        }
        looked_ns = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_before_the_span_does_not_count() {
        let now = now_ns();
        let until = Span { start_ns: now + 2_000_000, end_ns: now + 4_000_000 };
        let (mut all, mut early) = (0, 0);
        let (blocks, nanoseconds) = repeat(until, || {
            all += 1;
            early += u64::from(now_ns() < until.start_ns);
            Ok(1)
        })
        .unwrap();
        assert!(early > 0 && all > early, "{all} {early}");
        assert!(blocks <= all - early + 1 && blocks > 0, "{blocks} of {all}, {early} early");
        assert!(nanoseconds > 0);
    }

    #[test]
    fn one_failure_ends_the_work() {
        let until = Span { start_ns: 0, end_ns: u64::MAX };
        let missing = || Err(CompareError::Missing { size_bytes: 64, number: 1 });
        assert!(repeat(until, missing).is_err());
    }
}
