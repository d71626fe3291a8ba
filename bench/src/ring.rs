//! Requests and replies over a pair of rings, both sides polling: one in flight for the time of a
//! round trip, 64 in flight for the rate.

use std::os::fd::{AsFd, OwnedFd};

use onecopy_shm::{Consumer, Producer};

use crate::Options;
use crate::bounce::{self, Bounce};
use crate::error::BenchError;
use crate::partner::{Job, Partner, Side, exactly};
use crate::payload::{reply_word, request_word};
use crate::pin::Cores;
use crate::report::{Label, Report};
use crate::rounds::interleave;
use crate::subject::{Link, send, take};
use crate::wait::Patience;

/// Round trips of one round.
const TRIPS: u64 = 100_000;

/// Request and reply are of the same length.
struct Case {
    label: Label<'static>,
    length: u32,
    depth: u64,
}

fn cases() -> [Case; 3] {
    let baseline = bounce::TEXT;
    let name = |name, text| Label { name, text, baseline, ..Label::default() };
    [
        Case {
            label: name("ring_round_trip_64", "ring round trip, 64-byte request and reply"),
            length: 64,
            depth: 1,
        },
        Case {
            label: name("ring_round_trip_56", "ring round trip, 56-byte request and reply"),
            length: 56,
            depth: 1,
        },
        Case {
            label: Label {
                is_rate: true,
                ..name("ring_depth_64", "ring request, 64 bytes, 64 in flight")
            },
            length: 64,
            depth: 64,
        },
    ]
}

/// Measures the ring beside the bounced line.
pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let mut line = Bounce::start(cores)?;
    for case in cases() {
        let file = Link::memory()?;
        let mut asks = Asks::new(&file, case.length, case.depth)?;
        let mut partner = Partner::start(Job::Ring, cores, &[file.as_fd()])?;
        let compared = interleave(
            options.rounds,
            || line.measure(trips),
            || partner.measure(&mut asks, trips),
        )?;
        report.figure(&case.label, &compared);
    }
    Ok(())
}

struct Asks {
    producer: Producer,
    consumer: Consumer,
    length: u32,
    depth: u64,
    sent: u64,
    answered: u64,
}

impl Asks {
    fn new(file: &OwnedFd, length: u32, depth: u64) -> Result<Asks, BenchError> {
        let (producer, consumer) = Link::open(file)?.asking()?;
        Ok(Asks { producer, consumer, length, depth, sent: 0, answered: 0 })
    }

    #[inline]
    fn take_reply(&mut self) -> Result<Option<()>, BenchError> {
        let trip = self.answered + 1;
        let taken = take(&mut self.consumer, self.length, trip, |index| reply_word(trip, index))?;
        if taken.is_some() {
            self.answered = trip;
        }
        Ok(taken)
    }
}

impl Side for Asks {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        let last = self.sent + count;
        while self.answered < last {
            while self.sent < last && self.sent - self.answered < self.depth {
                let trip = self.sent + 1;
                send(&mut self.producer, self.length, trip, |index| request_word(trip, index))?;
                self.sent = trip;
            }
            patience.poll(self.answered, || self.take_reply())?;
            // What else is there, before more is asked for.
            while self.answered < self.sent && self.take_reply()?.is_some() {}
        }
        Ok(())
    }
}

/// The partner's side: answers with as many bytes as it was asked with.
pub(crate) struct Answers {
    producer: Producer,
    consumer: Consumer,
    trip: u64,
}

impl Answers {
    pub(crate) fn new(descriptors: &[OwnedFd]) -> Result<Answers, BenchError> {
        let [file] = exactly(descriptors.iter().collect())?;
        let (producer, consumer) = Link::open(file)?.answering()?;
        Ok(Answers { producer, consumer, trip: 0 })
    }
}

impl Side for Answers {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        for _ in 0..count {
            let trip = self.trip + 1;
            let length = patience.poll(self.trip, || {
                let Some(frame) = self.consumer.try_read()? else { return Ok(None) };
                let length = frame.header().length;
                crate::payload::check(frame.bytes(), length as usize, trip, |index| {
                    request_word(trip, index)
                })?;
                frame.release();
                Ok(Some(length))
            })?;
            send(&mut self.producer, length, trip, |index| reply_word(trip, index))?;
            self.trip = trip;
        }
        Ok(())
    }
}
