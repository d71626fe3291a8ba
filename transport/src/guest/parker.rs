//! Threads of this process that wait while one of them, the receiver, sleeps for all.

#[cfg(feature = "tokio")]
use super::tasks::Tasks;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The answer to the request with this element number.
    Answer(u32),
    /// Slots in stock. Nobody is woken for them: who waits for them looks again now and then.
    Stock,
    /// Room in the request ring (for a payload of this many bytes) or in the table of requests.
    Room(u32),
}

/// One thread's place to wait. Not `std::thread::park`, whose token belongs to whoever runs on the
/// thread (an executor may use it).
#[derive(Debug, Default)]
pub(super) struct Parker {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Parker {
    fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_one();
    }

    /// Waits until somebody wakes this thread, at most until `deadline`.
    pub(super) fn wait(&self, deadline: Instant) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            woken = match self.bell.wait_timeout(woken, left) {
                Ok((woken, _)) => woken,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The threads that wait, and the tasks.
#[derive(Debug, Default)]
pub(super) struct Parked {
    threads: Vec<(Wish, Arc<Parker>)>,
    #[cfg(feature = "tokio")]
    pub(super) tasks: Tasks,
}

impl Parked {
    /// A place for the calling thread.
    pub(super) fn add(&mut self, wish: Wish) -> Arc<Parker> {
        let parker = Arc::new(Parker::default());
        self.threads.push((wish, Arc::clone(&parker)));
        parker
    }

    /// Takes a thread out that is awake again, if nobody has.
    pub(super) fn remove(&mut self, parker: &Arc<Parker>) {
        self.threads.retain(|(_, other)| !Arc::ptr_eq(other, parker));
    }

    /// Wakes the thread that waits for this answer.
    pub(super) fn wake_for(&mut self, index: u32) {
        #[cfg(feature = "tokio")]
        self.tasks.wake_for(index);
        self.wake_where(|wish| wish == Wish::Answer(index));
    }

    /// Wakes those that wait for room: frames were taken in, so there may be some.
    pub(super) fn wake_for_room(&mut self) {
        #[cfg(feature = "tokio")]
        self.tasks.wake_for_room();
        self.wake_where(|wish| matches!(wish, Wish::Room(_)));
    }

    /// Wakes one thread, or the driver of the tasks that wait, to become the receiver.
    pub(super) fn wake_one(&mut self) {
        #[cfg(feature = "tokio")]
        if self.tasks.wake_driver() {
            return;
        }
        if let Some((_, parker)) = self.threads.pop() {
            parker.wake();
        }
    }

    /// Wakes all: the link is over.
    pub(super) fn wake_all(&mut self) {
        #[cfg(feature = "tokio")]
        self.tasks.wake_all();
        self.wake_where(|_| true);
    }

    fn wake_where(&mut self, chosen: impl Fn(Wish) -> bool) {
        if self.threads.is_empty() {
            return;
        }
        self.threads.retain(|(wish, parker)| {
            if chosen(*wish) {
                parker.wake();
            }
            !chosen(*wish)
        });
    }
}
