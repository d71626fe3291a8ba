//! Waking a sleeping peer with a doorbell: a frame in a ring, the protocol of the doorbell, and a
//! wake-up through the kernel, one way an eventfd that is watched and never read, the other way a
//! byte on a socket. Neither side spins before it sleeps.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use onecopy_shm::{Consumer, Producer, Region, Sleeper, Waker};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send as send_bytes};

use crate::Options;
use crate::error::{BenchError, Step};
use crate::partner::{Job, Partner, Side, exactly};
use crate::payload::{reply_word, request_word};
use crate::pin::Cores;
use crate::report::{Label, Report};
use crate::rounds::interleave;
use crate::socket::{self, Socket};
use crate::subject::{Link, send, take};
use crate::wait::Patience;

/// Round trips of one round.
const TRIPS: u64 = 5_000;
/// Bytes of a request and of a reply.
const LENGTH: u32 = 56;
/// Where the words of the two sides are, each with a line of its own.
const ASKING_WORD_OFFSET: u64 = 0;
const ANSWERING_WORD_OFFSET: u64 = 128;

/// Measures waking beside the bare byte.
pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let mut bare = Socket::start(cores)?;
    let file = Link::memory()?;
    let bell =
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).step("make an eventfd")?;
    let (mine, theirs) = UnixStream::pair().step("make a socket pair")?;
    let descriptors = [file.as_fd(), bell.as_fd(), theirs.as_fd()];
    let mut partner = Partner::start(Job::Wake, cores, &descriptors)?;
    let mut asks = Asks::new(&file, bell, mine)?;
    let compared =
        interleave(options.rounds, || bare.measure(trips), || partner.measure(&mut asks, trips))?;
    let label = Label {
        name: "wake_round_trip",
        text: "a request that wakes the peer, and a reply that wakes this side",
        baseline: socket::TEXT,
        slept_percent: Some(asks.rung as f64 * 100.0 / asks.trip as f64),
        ..Label::default()
    };
    report.figure(&label, &compared);
    Ok(())
}

/// The two doorbells of one side: its own to sleep at, the other's to ring.
fn doorbells(region: &Region, own: u64, other: u64) -> Result<(Sleeper, Waker), BenchError> {
    Ok((Sleeper::new(region.word(own)?), Waker::new(region.read_word(other)?)))
}

struct Asks {
    producer: Producer,
    consumer: Consumer,
    sleeper: Sleeper,
    waker: Waker,
    bell: OwnedFd,
    socket: UnixStream,
    trip: u64,
    rung: u64,
}

impl Asks {
    fn new(file: &OwnedFd, bell: OwnedFd, socket: UnixStream) -> Result<Asks, BenchError> {
        let link = Link::open(file)?;
        let (producer, consumer) = link.asking()?;
        let words = link.doorbells()?;
        let (sleeper, waker) = doorbells(&words, ASKING_WORD_OFFSET, ANSWERING_WORD_OFFSET)?;
        Ok(Asks { producer, consumer, sleeper, waker, bell, socket, trip: 0, rung: 0 })
    }

    /// Sleeps until a byte comes, and takes all there are.
    fn sleep(&mut self, patience: Patience) -> Result<(), BenchError> {
        let timeout = timespec(patience.left(self.trip)?);
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut watched, Some(&timeout)).step("sleep")?;
        let mut bytes = [0; 64];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(BenchError::PartnerEnded),
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error).step("read what woke this side"),
        }
    }
}

impl Side for Asks {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        for _ in 0..count {
            let trip = self.trip + 1;
            send(&mut self.producer, LENGTH, trip, |index| request_word(trip, index))?;
            if self.waker.should_ring() {
                rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).step("ring the eventfd")?;
                self.rung += 1;
            }
            loop {
                self.sleeper.prepare();
                let taken =
                    take(&mut self.consumer, LENGTH, trip, |index| reply_word(trip, index))?;
                if taken.is_some() {
                    break;
                }
                self.sleep(patience)?;
            }
            self.sleeper.awake();
            self.trip = trip;
        }
        Ok(())
    }
}

/// The partner's side.
pub(crate) struct Answers {
    producer: Producer,
    consumer: Consumer,
    sleeper: Sleeper,
    waker: Waker,
    /// Watches the eventfd, edge by edge; nobody reads it.
    watch: OwnedFd,
    socket: OwnedFd,
    /// Kept open for `watch`.
    _bell: OwnedFd,
    trip: u64,
}

impl Answers {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Result<Answers, BenchError> {
        let [file, bell, socket] = exactly(descriptors)?;
        let link = Link::open(&file)?;
        let (producer, consumer) = link.answering()?;
        let words = link.doorbells()?;
        let (sleeper, waker) = doorbells(&words, ANSWERING_WORD_OFFSET, ASKING_WORD_OFFSET)?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC).step("make an epoll")?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&watch, &bell, epoll::EventData::new_u64(0), edges).step("watch the eventfd")?;
        Ok(Answers { producer, consumer, sleeper, waker, watch, socket, _bell: bell, trip: 0 })
    }
}

impl Side for Answers {
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError> {
        for _ in 0..count {
            let trip = self.trip + 1;
            loop {
                self.sleeper.prepare();
                let taken =
                    take(&mut self.consumer, LENGTH, trip, |index| request_word(trip, index))?;
                if taken.is_some() {
                    break;
                }
                let timeout = timespec(patience.left(self.trip)?);
                let mut events = Vec::with_capacity(1);
                let events = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&self.watch, events, Some(&timeout)).step("sleep")?;
            }
            self.sleeper.awake();
            send(&mut self.producer, LENGTH, trip, |index| reply_word(trip, index))?;
            if self.waker.should_ring() {
                send_bytes(&self.socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                    .step("send the byte that wakes")?;
            }
            self.trip = trip;
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
