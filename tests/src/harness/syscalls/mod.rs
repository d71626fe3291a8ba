//! The system calls of a peer, one by one: at the n-th the peer is told an error or killed. The
//! library makes its calls without the C library, so nothing inside the process could see them.

mod listen;
mod table;

pub use table::Call;

use super::Peer;
use listen::Told;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What becomes of the n-th call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Of the calls that have so many errors, it fails with this one.
    Fail(usize),
    /// The process is killed before the call.
    Kill,
}

/// What was seen since the trap was armed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Calls that the blow could have met.
    pub calls: u32,
    /// The one that it met, and with what.
    pub hit: Option<(Call, Option<Errno>)>,
}

/// Watches the calls of one peer.
pub struct Trap {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    pid: u32,
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    armed: Option<(u32, Blow)>,
    seen: Seen,
}

impl Trap {
    /// Has the calls of a peer, which has to be fresh, watched. `None`, with a line that says so,
    /// where that is not permitted.
    pub fn of(peer: &mut Peer) -> Option<Trap> {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("listener");
        let meeting = UnixListener::bind(&path).unwrap();
        peer.order(&format!("trap {}", path.display()));
        let listener = receive_descriptor(&meeting.accept().unwrap().0);
        let shared = Arc::new(Shared {
            pid: peer.pid(),
            state: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let watched = Arc::clone(&shared);
        // Its answer is a call that is told already.
        let thread = listener.map(|listener| std::thread::spawn(move || watched.watch(&listener)));
        let answer = peer.answer();
        if thread.is_none() || !answer.starts_with("ok") {
            println!("skipped: system calls cannot be watched here: {answer}");
            return None;
        }
        Some(Trap { shared, thread })
    }

    /// From now on calls are counted, and the n-th that the blow can meet, from 1, is met.
    pub fn arm(&self, nth: u32, blow: Blow) {
        *self.shared.lock() = State { armed: Some((nth, blow)), seen: Seen::default() };
    }

    /// Nothing is counted any more.
    pub fn disarm(&self) -> Seen {
        let mut state = self.shared.lock();
        state.armed = None;
        state.seen
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, listener: &OwnedFd) {
        let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while !self.ended.load(Ordering::Relaxed) {
            let mut watched = [PollFd::new(listener, PollFlags::IN)];
            if poll(&mut watched, Some(&pause)).unwrap_or(0) == 0 {
                continue;
            }
            if watched[0].revents().contains(PollFlags::HUP) {
                return;
            }
            match listen::receive(listener) {
                Ok(Some(told)) => self.decide(listener, &told),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    fn decide(&self, listener: &OwnedFd, told: &Told) {
        let mut state = self.lock();
        match state.meet(told, || self.is_ours(told)) {
            Some(None) => super::peer::kill(self.pid),
            Some(failure) => listen::answer(listener, told, failure),
            None => listen::answer(listener, told, None),
        }
    }

    /// Whether a thread is one of the peer and not of a process that it has started.
    fn is_ours(&self, told: &Told) -> bool {
        Path::new(&format!("/proc/{}/task/{}", self.pid, told.thread)).exists()
    }
}

impl State {
    /// `Some` with the error, or with none for a kill, if this call is the one.
    fn meet(&mut self, told: &Told, is_ours: impl FnOnce() -> bool) -> Option<Option<Errno>> {
        let (nth, blow) = self.armed?;
        if is_conversation(told) || !is_ours() {
            return None;
        }
        let call = table::look_up(told.number, &told.arguments);
        let failure = match blow {
            Blow::Kill => None,
            Blow::Fail(which) => Some(*call.failures.get(which)?),
        };
        self.seen.calls += 1;
        if self.seen.calls != nth || self.seen.hit.is_some() {
            return None;
        }
        self.seen.hit = Some((call, failure));
        println!("call {nth} is met: {} of {:?}, {failure:?}", call.name, told.arguments);
        Some(failure)
    }
}

/// The orders that the peer reads and the answers that it gives.
fn is_conversation(told: &Told) -> bool {
    let standard = told.arguments[0] <= 2;
    standard && [libc::SYS_read, libc::SYS_write].contains(&told.number)
}

/// In the peer: from now on each call of this thread, and of all it starts, is told to whoever
/// listens at the path.
pub(super) fn be_trapped(path: &str) -> Result<String, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let stream = UnixStream::connect(path).map_err(|error| told(&error))?;
    let (hand_over, taken) = std::sync::mpsc::channel::<OwnedFd>();
    // A thread of its own, begun before: its calls are not told, so it can send what tells them.
    let sender = std::thread::spawn(move || match taken.recv() {
        Ok(listener) => send_descriptor(&stream, &listener),
        Err(_) => Ok(()),
    });
    let listener = listen::install(table::PASSING).map_err(|error| told(&error))?;
    hand_over.send(listener).map_err(|error| told(&error))?;
    match sender.join() {
        Ok(sent) => sent.map(|()| String::new()).map_err(|error| told(&error)),
        Err(_) => Err("the listener was not sent".to_owned()),
    }
}

fn send_descriptor(stream: &UnixStream, descriptor: &OwnedFd) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(stream, &[IoSlice::new(b"d")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive_descriptor(stream: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags).ok()?;
    control.drain().find_map(|record| match record {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}
