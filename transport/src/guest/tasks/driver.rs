//! The task that takes frames in for all tasks of an attach.

use super::watched::watch;
use crate::guest::link::{Link, LinkState};
use crate::guest::parker::Wish;
use crate::guest::{Guest, Inner};
use crate::socket::ReceiveError;
use rustix::fd::OwnedFd;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

/// So often other tasks run before the driver goes to sleep: meanwhile the answer of a host that is awake
/// comes without a wake-up, which would cost both sides more.
const LOOKS: u32 = 16;

/// Ends when its link is over, and is aborted with the last handle of tasks. It does not keep the guest.
pub(super) struct Driver {
    inner: Weak<Inner>,
    socket: AsyncFd<OwnedFd>,
    /// Tells it from others of this process.
    number: u64,
    /// It is the receiver: everybody else leaves the socket to it.
    is_asleep: bool,
    looks_left: u32,
}

impl Driver {
    pub(super) fn new(guest: &Guest) -> io::Result<Driver> {
        static DRIVERS: AtomicU64 = AtomicU64::new(0);
        Ok(Driver {
            inner: Arc::downgrade(&guest.inner),
            socket: watch(&guest.inner.link.socket)?,
            number: DRIVERS.fetch_add(1, Ordering::Relaxed),
            is_asleep: false,
            looks_left: LOOKS,
        })
    }

    fn wake_up(&mut self, state: &mut LinkState) {
        if std::mem::take(&mut self.is_asleep) {
            state.sleeper.awake();
            state.has_receiver = false;
        }
    }

    // r[impl guest.tasks.driver]
    fn drive(&mut self, link: &Link, context: &mut Context<'_>) -> Poll<()> {
        let mut state = link.lock();
        self.wake_up(&mut state);
        loop {
            if link.drain(&mut state) > 0 {
                self.looks_left = LOOKS;
            }
            if link.end_of(&mut state).is_some() {
                return Poll::Ready(());
            }
            state.desk.parked.tasks.set_driver(self.number, context.waker());
            if state.has_receiver || !state.desk.parked.tasks.any() {
                link.hand_over(&mut state);
                return Poll::Pending;
            }
            if let Some(left) = self.looks_left.checked_sub(1) {
                self.looks_left = left;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.sleeper.prepare();
            // The second look; see the doorbell's protocol.
            if Link::has_news(&mut state, Wish::Stock) {
                state.sleeper.awake();
                continue;
            }
            match self.socket.poll_read_ready(context) {
                Poll::Pending => {
                    state.has_receiver = true;
                    self.is_asleep = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(mut ready)) => {
                    state.sleeper.awake();
                    // Before the bytes are taken: one that comes later says so anew.
                    ready.clear_ready();
                    match link.socket.drain() {
                        // The bytes say nothing but "look".
                        Ok(_) => {}
                        Err(ReceiveError::System(_)) => {
                            // The system is short of memory: no sign of the host's end.
                            context.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Err(_) => link.set_closed(),
                    }
                }
                Poll::Ready(Err(_)) => {
                    // The runtime ends.
                    state.sleeper.awake();
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        match driver.inner.upgrade() {
            Some(inner) if inner.fork.is_this_process() => driver.drive(&inner.link, context),
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade().filter(|inner| inner.fork.is_this_process()) else {
            return;
        };
        let mut state = inner.link.lock();
        self.wake_up(&mut state);
        state.desk.parked.tasks.forget_driver(self.number);
        // Threads that wait have to look after themselves again.
        inner.link.hand_over(&mut state);
    }
}
