//! The other process: this program once more, on another core, told over a socket what to do.
//!
//! It is given its shared memory and whatever else it needs as descriptors over that socket, which
//! is its standard input, so that nothing is inherited by accident. Between rounds it sleeps and so
//! disturbs nobody. It dies with its parent, and its parent ends it in `Drop`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::error::{BenchError, Step};
use crate::pin::{self, Cores};
use crate::wait::Patience;
use crate::{bounce, ring, socket, wake};

/// Descriptors that a partner is given at most.
const DESCRIPTORS_MAX: usize = 4;
/// How long one round may take.
const ROUND_TIMEOUT: Duration = Duration::from_secs(30);

/// What a partner does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Job {
    /// Bounces a cache line.
    Bounce,
    /// Answers bytes on a socket.
    Socket,
    /// Answers requests of a ring, polling.
    Ring,
    /// Answers requests of a ring, asleep until it is woken.
    Wake,
}

/// One side of a benchmark: does `count` operations with the other side and verifies each.
pub(crate) trait Side {
    /// Does them. The two sides are called with the same counts in the same order.
    fn round(&mut self, count: u64, patience: Patience) -> Result<(), BenchError>;
}

/// The partner, as its parent sees it.
#[derive(Debug)]
pub(crate) struct Partner {
    child: Child,
    socket: UnixStream,
    shares_core: bool,
}

impl Partner {
    /// Starts a partner with its descriptors, at most four.
    pub(crate) fn start(
        job: Job,
        cores: &Cores,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Partner, BenchError> {
        let (socket, theirs) = UnixStream::pair().step("make a socket pair")?;
        let name = job.to_possible_value().map(|value| value.get_name().to_owned());
        let program = std::env::current_exe().step("find this program")?;
        let mut command = Command::new(program);
        command.arg("partner").arg(name.unwrap_or_default());
        command.args(["--parent", &std::process::id().to_string()]);
        if let Some(core) = cores.second() {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn().step("start the partner")?;
        let mut partner = Partner { child, socket, shares_core: cores.second().is_none() };
        send_descriptors(&partner.socket, descriptors)?;
        // It begins on this core: at real-time priority it would not get to its own while this side polls.
        partner.socket.set_read_timeout(Some(ROUND_TIMEOUT)).step("limit a wait")?;
        read_number(&mut partner.socket)?;
        Ok(partner)
    }

    /// One round of both sides: `count` operations that count after a tenth as many that do not.
    /// Nanoseconds for each.
    pub(crate) fn measure(&mut self, side: &mut dyn Side, count: u64) -> Result<f64, BenchError> {
        let warm_up = count / 10 + 1;
        let patience =
            Patience { deadline: Instant::now() + ROUND_TIMEOUT, shares_core: self.shares_core };
        self.socket.set_read_timeout(Some(ROUND_TIMEOUT)).step("limit a wait")?;
        tell(&mut self.socket, warm_up + count)?;
        side.round(warm_up, patience)?;
        let start = Instant::now();
        side.round(count, patience)?;
        let elapsed = start.elapsed();
        let verified = read_number(&mut self.socket)?;
        if verified != warm_up + count {
            return Err(BenchError::WrongCount { verified, expected: warm_up + count });
        }
        Ok(elapsed.as_nanos() as f64 / count as f64)
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // It may have ended already; it has nothing to tidy up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The partner's life: rounds until its parent is gone.
pub(crate) fn serve(job: Job, parent: i32, core: Option<usize>) -> Result<(), BenchError> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("die with the parent")?;
    // The parent may have died before that took hold.
    let found = getppid().map_or(0, |process| process.as_raw_nonzero().get());
    if found != parent {
        return Err(BenchError::Orphan { found, expected: parent });
    }
    core.map_or(Ok(()), pin::pin)?;
    let input = io::stdin().as_fd().try_clone_to_owned().step("take over the socket")?;
    let mut socket = UnixStream::from(input);
    let descriptors = receive_descriptors(&socket)?;
    let mut side: Box<dyn Side> = match job {
        Job::Bounce => Box::new(bounce::Answers::new(&descriptors)?),
        Job::Socket => Box::new(socket::Answers::new(descriptors)?),
        Job::Ring => Box::new(ring::Answers::new(&descriptors)?),
        Job::Wake => Box::new(wake::Answers::new(descriptors)?),
    };
    // Where it is to be, and ready.
    tell(&mut socket, 0)?;
    loop {
        let count = match read_number(&mut socket) {
            Err(BenchError::PartnerEnded) => return Ok(()),
            count => count?,
        };
        let deadline = Instant::now() + ROUND_TIMEOUT;
        side.round(count, Patience { deadline, shares_core: core.is_none() })?;
        tell(&mut socket, count)?;
    }
}

fn tell(socket: &mut UnixStream, number: u64) -> Result<(), BenchError> {
    socket.write_all(&number.to_ne_bytes()).step("tell the other process")
}

fn read_number(socket: &mut UnixStream) -> Result<u64, BenchError> {
    let mut bytes = [0; 8];
    match socket.read_exact(&mut bytes) {
        Ok(()) => Ok(u64::from_ne_bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BenchError::PartnerEnded),
        Err(error) => Err(error).step("hear from the other process"),
    }
}

/// Sends descriptors with the one byte that must go with them.
fn send_descriptors(socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<(), BenchError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let expected = descriptors.len();
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(BenchError::Descriptors { received: DESCRIPTORS_MAX, expected });
    }
    let count = [u8::try_from(expected).unwrap_or(u8::MAX)];
    sendmsg(socket, &[IoSlice::new(&count)], &mut control, SendFlags::NOSIGNAL)
        .step("send descriptors to the partner")?;
    Ok(())
}

fn receive_descriptors(socket: &UnixStream) -> Result<Vec<OwnedFd>, BenchError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut count = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(socket, &mut [IoSliceMut::new(&mut count)], &mut control, flags)
        .step("receive descriptors")?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    let (received, expected) = (descriptors.len(), usize::from(count[0]));
    if received == expected {
        Ok(descriptors)
    } else {
        Err(BenchError::Descriptors { received, expected })
    }
}

/// The descriptors a job needs, or an error that says how many it got.
pub(crate) fn exactly<T, const N: usize>(received: Vec<T>) -> Result<[T; N], BenchError> {
    let count = received.len();
    received.try_into().map_err(|_| BenchError::Descriptors { received: count, expected: N })
}
