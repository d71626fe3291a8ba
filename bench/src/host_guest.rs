//! A guest of the crowd in `host`: works from one point in time to another when it is told to, with
//! several requests in flight, and says how many were answered.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use onecopy::cache::{Cache, CacheOptions, LookupPath};
use onecopy::key::Key;
use onecopy::protocol::{Head, PublishAnswer, PublishEntry, PublishOutcome, kind, lookup_answer};
use onecopy_transport::guest::{Guest, GuestOptions, Pending, Reservation};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::{FromBytes, Immutable, IntoBytes, little_endian as le};

use crate::error::BenchError;
use crate::pin;

/// Requests in flight.
pub(crate) const DEPTH: usize = 16;
/// Bytes of a block.
const BLOCK_BYTES: u64 = 64;
/// Blocks that are looked up in turn.
const LOOKED_UP: u64 = 64;
/// Requests between two looks at the clock.
const REQUESTS_PER_CLOCK: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Publishes blocks, each in a request of its own.
    Publish,
    /// Looks blocks up over the ring, leases and reads them.
    Lookup,
    /// Attaches so many times and asks nothing.
    Idle,
}

/// The clock that processes have in common, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The guest's life: a line of input says from when to when it works, a line of output how many
/// requests were answered in that time. It ends with its input.
pub(crate) fn serve(
    segment: &Path,
    core: Option<usize>,
    work: Work,
    number: u64,
) -> Result<(), BenchError> {
    core.map_or(Ok(()), pin::pin)?;
    let attaches = if work == Work::Idle { number } else { 1 };
    let attach = || {
        let mut options = CacheOptions::new(GuestOptions::at(segment));
        options.lookup = LookupPath::Ring;
        options.deadline = PATIENCE;
        Cache::attach(options)
    };
    let caches = (0..attaches).map(|_| attach()).collect::<Result<Vec<Cache>, _>>()?;
    let mut asker = match caches.first() {
        Some(cache) if work != Work::Idle => Some(Asker::new(cache, work, number)?),
        _ => None,
    };
    tell(attaches)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|_| BenchError::PartnerEnded)?;
        let mut times = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(start_ns)), Some(Ok(end_ns)), Some(asker)) =
            (times.next(), times.next(), &mut asker)
        else {
            return Err(BenchError::PartnerEnded);
        };
        tell(asker.work(start_ns, end_ns)?)?;
    }
    Ok(())
}

fn tell(number: u64) -> Result<(), BenchError> {
    let mut output = io::stdout();
    let told = writeln!(output, "{number}").and_then(|()| output.flush());
    told.map_err(|_| BenchError::PartnerEnded)
}

/// A request in flight.
struct Asked {
    number: u64,
    pending: Pending,
    /// The slot that is published with it.
    reservation: Option<Reservation>,
}

struct Asker {
    guest: Guest,
    work: Work,
    /// Keys of this guest begin here.
    base: u64,
    next: u64,
    in_flight: VecDeque<Asked>,
}

impl Asker {
    fn new(cache: &Cache, work: Work, number: u64) -> Result<Asker, BenchError> {
        let (guest, base) = (cache.guest(), number << 40);
        let mut asker = Asker { guest, work, base, next: 0, in_flight: VecDeque::new() };
        if work == Work::Lookup {
            for number in 0..LOOKED_UP {
                cache.store(&key(base + number), &payload(base + number))?;
            }
        }
        asker.in_flight.reserve(DEPTH);
        Ok(asker)
    }

    fn work(&mut self, start_ns: u64, end_ns: u64) -> Result<u64, BenchError> {
        std::thread::sleep(Duration::from_nanos(start_ns.saturating_sub(now_ns())));
        let deadline = Instant::now() + PATIENCE;
        let mut answered = 0;
        while now_ns() < end_ns {
            for _ in 0..REQUESTS_PER_CLOCK {
                while self.in_flight.len() < DEPTH {
                    self.ask(deadline)?;
                }
                self.finish(deadline)?;
            }
            answered += REQUESTS_PER_CLOCK;
        }
        while !self.in_flight.is_empty() {
            self.finish(deadline)?;
        }
        Ok(answered)
    }

    fn ask(&mut self, deadline: Instant) -> Result<(), BenchError> {
        let number = self.base + self.next;
        self.next += 1;
        let asked = match self.work {
            Work::Publish => {
                let mut reservation = self.guest.reserve(BLOCK_BYTES, deadline)?;
                reservation[..BLOCK_BYTES as usize].copy_from_slice(&payload(number));
                let entry = PublishEntry {
                    slot: reservation.slot().to_u64().into(),
                    length_bytes: BLOCK_BYTES.into(),
                    checksum: 0.into(),
                    ttl_s: 0.into(),
                    flags: 0.into(),
                    key: key(number),
                };
                let pending = self.submit(kind::PUBLISH, &entry, deadline)?;
                Asked { number, pending, reservation: Some(reservation) }
            }
            _ => {
                let number = self.base + (number - self.base) % LOOKED_UP;
                let pending = self.submit(kind::LOOKUP, &key(number), deadline)?;
                Asked { number, pending, reservation: None }
            }
        };
        self.in_flight.push_back(asked);
        Ok(())
    }

    fn submit<Entry: IntoBytes + Immutable>(
        &self,
        kind: u8,
        entry: &Entry,
        deadline: Instant,
    ) -> Result<Pending, BenchError> {
        let head = Head { count: 1.into(), flags: 0.into() };
        let (head, entry) = (head.as_bytes(), entry.as_bytes());
        let length = (head.len() + entry.len()) as u32;
        let fill = |target: &mut [u8]| {
            let (first, rest) = target.split_at_mut(head.len());
            first.copy_from_slice(head);
            rest.copy_from_slice(entry);
        };
        Ok(self.guest.submit_with(kind, length, fill, deadline)?)
    }

    fn finish(&mut self, deadline: Instant) -> Result<(), BenchError> {
        let Some(Asked { number, pending, reservation }) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let reply = pending.wait(deadline)?;
        let is_right = match reservation {
            Some(reservation) => {
                reservation.into_slot();
                let answer = PublishAnswer::read_from_bytes(&reply).ok();
                let outcome = answer.and_then(|answer| answer.decode());
                matches!(outcome, Some(PublishOutcome::Published))
            }
            None => {
                let slot = le::U64::read_from_bytes(&reply).ok().and_then(lookup_answer);
                let guard = slot.map(|slot| self.guest.lease(slot)).transpose()?.flatten();
                guard.is_some_and(|guard| *guard == payload(number))
            }
        };
        if is_right { Ok(()) } else { Err(BenchError::Missing { number }) }
    }
}

fn key(number: u64) -> Key {
    let mut name = [0; Key::SIZE_BYTES];
    name[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(name)
}

fn payload(number: u64) -> [u8; BLOCK_BYTES as usize] {
    let mut bytes = [0; BLOCK_BYTES as usize];
    crate::payload::fill(&mut bytes, |index| crate::payload::request_word(number, index));
    bytes
}
