//! The watcher: a small thread that beats the heartbeat, sees the host go and notices growth.

use super::growth::Growth;
use super::link::Heartbeat;
use crate::socket::AttachSocket;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Shortest pause between two turns, whatever the host asks for.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What the watcher needs. None of it keeps the guest alive.
pub(super) struct Watch {
    pub(super) heartbeat: Heartbeat,
    /// The heartbeat changes at least this often.
    pub(super) interval: Duration,
    pub(super) socket: Arc<AttachSocket>,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) growth: Arc<Growth>,
}

/// A running watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    thread: Option<JoinHandle<()>>,
    stop: Arc<OwnedFd>,
}

impl Watcher {
    /// Starts the thread.
    pub(super) fn start(watch: Watch) -> io::Result<Watcher> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("onecopy-watcher".to_owned())
            .spawn(move || watch.run(&stopped))?;
        Ok(Watcher { thread: Some(thread), stop })
    }

    /// Ends the thread and waits for that: it never outlives its guest.
    // r[impl guest.watcher.ends]
    pub(super) fn stop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A callback that panicked was caught; there is nothing else to learn from it.
            let _ = thread.join();
        }
    }

    /// In a forked child there is no such thread.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.thread.take());
    }
}

impl Watch {
    // r[impl guest.watcher]
    fn run(self, stop: &OwnedFd) {
        let pause = (self.interval / 3).max(PAUSE_MIN);
        loop {
            self.heartbeat.beat();
            // A callback that panics must not stop the heartbeat.
            if catch_unwind(AssertUnwindSafe(|| self.growth.tell())).is_err() {
                tracing::error!("a growth callback panicked");
            }
            match wait(stop, &self.socket, pause) {
                Seen::Nothing => {}
                Seen::Stop => return,
                Seen::Closed => {
                    self.closed.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

enum Seen {
    Nothing,
    Stop,
    Closed,
}

fn wait(stop: &OwnedFd, socket: &AttachSocket, pause: Duration) -> Seen {
    // Wake bytes on the socket are for the thread that waits; a hang-up is reported unasked.
    let mut watched = [
        PollFd::new(stop, PollFlags::IN),
        PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty()),
    ];
    let pause = Timespec::try_from(pause).ok();
    match poll(&mut watched, pause.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => thread::sleep(PAUSE_MIN),
    }
    if !watched[0].revents().is_empty() {
        return Seen::Stop;
    }
    if watched[1].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Seen::Closed;
    }
    Seen::Nothing
}
