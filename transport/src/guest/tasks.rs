//! The guest as tasks of an async runtime use it: requests are futures.
//!
//! The tasks of one attach have one driver, a task of its own, which is to them what the receiver is to
//! threads: it alone says that this guest sleeps, waits for the socket to be readable, takes frames in
//! for all and wakes the task whose answer came. A task that is not polled therefore holds nobody up.
//! Threads may use the same guest meanwhile: a thread that sleeps on the socket takes in for tasks too,
//! and the driver for threads.

mod driver;
mod waiting;
mod watched;

pub(super) use waiting::Tasks;

use super::error::CallError;
use super::link::{Link, Outgoing};
use super::reply::Reply;
use super::{Guest, Inner, Pending};
use crate::wire::kind;
use driver::Driver;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

/// Nobody is told of room in the request ring but by an answer: when none is due a task looks this often.
const ROOM_INTERVAL: Duration = Duration::from_millis(1);

/// Why tasks cannot use a guest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TasksError {
    /// It was made outside a runtime, where no task can run.
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// The runtime could not watch the attach socket.
    #[error("the attach socket cannot be watched: {source}")]
    Watch {
        /// What the system said.
        source: io::Error,
    },
}

/// A [`Guest`] for the tasks of a tokio runtime. Cheap to clone; all clones are one guest.
///
/// Every call ends at its deadline. A future that is dropped gives its request up: nothing is sent that
/// was not sent yet, an answer to what was sent is discarded when it comes, and what holds slots goes
/// back into stock. Futures are to be polled in the runtime that the handle was made in: once that has
/// ended they end at their deadlines.
#[derive(Clone)]
pub struct AsyncGuest {
    guest: Guest,
    pub(super) running: Arc<Running>,
}

/// The driver, which ends with the last handle.
#[derive(Debug)]
pub(in crate::guest) struct Running {
    driver: JoinHandle<()>,
    /// One task at a time asks the host for slots: what comes is for all.
    pub(in crate::guest) refilling: tokio::sync::Mutex<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl AsyncGuest {
    /// A handle over a guest that is attached; all handles over one attach share a driver. To be called
    /// in a runtime.
    ///
    /// # Errors
    /// [`TasksError`].
    ///
    /// # Panics
    /// In a runtime that was built without its drivers for input and time.
    pub fn new(guest: Guest) -> Result<AsyncGuest, TasksError> {
        let runtime = Handle::try_current().map_err(|_| TasksError::NoRuntime)?;
        let mut state = guest.inner.link.lock();
        let running = match state.desk.parked.tasks.running() {
            Some(running) => running,
            None => {
                let driver = Driver::new(&guest).map_err(|source| TasksError::Watch { source })?;
                let driver = runtime.spawn(driver);
                let running = Arc::new(Running { driver, refilling: Default::default() });
                state.desk.parked.tasks.set_running(&running);
                running
            }
        };
        drop(state);
        Ok(AsyncGuest { guest, running })
    }

    /// The guest beneath, for what does not wait: leases, figures, its end.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Sends a request and waits for the answer. The payload travels in the frame.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &self,
        kind: u8,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let pending = self.submit(kind, payload, deadline).await?;
        self.answer(pending, deadline).await
    }

    /// Sends a request, waiting for room until the deadline. Many may be in flight.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn submit(
        &self,
        kind: u8,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Pending, CallError> {
        self.inner().check_kind(kind)?;
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.inner().check_inline(length)?;
        self.send(Outgoing::inline(kind, length), payload, deadline).await
    }

    /// Waits for the answer to a request of this guest; when it does not come in time, or nobody waits
    /// any more, the request is given up.
    ///
    /// # Errors
    /// [`CallError`].
    // r[impl guest.tasks]
    pub async fn answer(
        &self,
        mut pending: Pending,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let answer = poll_fn(|context| pending.poll_answer(context));
        match timeout_at(deadline.into(), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::DeadlineExceeded { sent: true }),
        }
    }

    /// The time that a small frame takes to the host and back.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ping(&self, deadline: Instant) -> Result<Duration, CallError> {
        let started = Instant::now();
        let pending = self.send(Outgoing::inline(kind::PING, 0), &[], deadline).await?;
        self.answer(pending, deadline).await?;
        Ok(started.elapsed())
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.guest.inner
    }

    fn link(&self) -> &Link {
        &self.guest.inner.link
    }

    /// Commits a frame as soon as there is room.
    // r[impl guest.tasks.room]
    pub(super) async fn send(
        &self,
        outgoing: Outgoing,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Pending, CallError> {
        self.inner().enter()?;
        loop {
            match self.try_send(outgoing, payload) {
                Err(CallError::Full) => {}
                sent => return sent,
            }
            if !self.wait_for_room(deadline).await {
                return Err(CallError::DeadlineExceeded { sent: false });
            }
        }
    }

    fn try_send(&self, outgoing: Outgoing, payload: &[u8]) -> Result<Pending, CallError> {
        let mut fill = Some(|target: &mut [u8]| target.copy_from_slice(payload));
        let mut state = self.link().lock();
        // What has been answered meanwhile may make room.
        self.link().drain(&mut state);
        let request_id = self.link().try_submit(&mut state, outgoing, &mut fill)?;
        drop(state);
        Ok(Pending::new(self.inner(), request_id))
    }

    /// Waits until there may be room; false when the deadline has passed.
    pub(super) async fn wait_for_room(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        let mut has_waited = false;
        let room = poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            let mut state = self.link().lock();
            state.desk.parked.tasks.wait_for_room(context.waker());
            self.link().hand_over(&mut state);
            Poll::Pending
        });
        // Whether it was told or not, it looks again.
        let _ = timeout_at(deadline.min(now + ROOM_INTERVAL).into(), room).await;
        true
    }
}

impl fmt::Debug for AsyncGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncGuest").field("guest", &self.guest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
