//! The tasks that wait.

use super::Running;
use std::sync::{Arc, Weak};
use std::task::Waker;

/// Who is to be woken for what.
#[derive(Debug, Default)]
pub(in crate::guest) struct Tasks {
    /// By element number of the request.
    answers: Vec<Option<Waker>>,
    /// How many of them there are.
    waiting: usize,
    room: Vec<Waker>,
    /// The task that takes frames in for all, with its number.
    driver: Option<(u64, Waker)>,
    /// What keeps it running.
    running: Weak<Running>,
}

/// Keeps the latest waker of a task.
fn keep(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(kept) => kept.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}

impl Tasks {
    /// A task waits for the answer to the request with this element number.
    pub fn wait_for(&mut self, index: u32, waker: &Waker) {
        let index = index as usize;
        if index >= self.answers.len() {
            self.answers.resize_with(index + 1, || None);
        }
        if let Some(place) = self.answers.get_mut(index) {
            self.waiting += usize::from(place.is_none());
            keep(place, waker);
        }
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, index: u32) {
        let _ = self.take(index);
    }

    fn take(&mut self, index: u32) -> Option<Waker> {
        let waker = self.answers.get_mut(index as usize)?.take()?;
        self.waiting -= 1;
        Some(waker)
    }

    /// A task waits for room. It is woken once.
    pub fn wait_for_room(&mut self, waker: &Waker) {
        if !self.room.iter().any(|kept| kept.will_wake(waker)) {
            self.room.push(waker.clone());
        }
    }

    /// Whether any task waits.
    pub fn any(&self) -> bool {
        self.waiting > 0 || !self.room.is_empty()
    }

    /// The driver is this task.
    pub fn set_driver(&mut self, number: u64, waker: &Waker) {
        match &mut self.driver {
            Some((kept_number, kept)) if *kept_number == number => kept.clone_from(waker),
            other => *other = Some((number, waker.clone())),
        }
    }

    /// This driver is gone. There may be another one by now.
    pub fn forget_driver(&mut self, number: u64) {
        self.driver.take_if(|(kept, _)| *kept == number);
    }

    /// The driver that other handles have started, if it runs.
    pub(super) fn running(&self) -> Option<Arc<Running>> {
        self.running.upgrade().filter(|running| !running.driver.is_finished())
    }

    pub(super) fn set_running(&mut self, running: &Arc<Running>) {
        self.running = Arc::downgrade(running);
    }

    /// Has the driver take over as receiver, if tasks wait and there is one.
    pub fn wake_driver(&self) -> bool {
        match &self.driver {
            Some((_, driver)) if self.any() => {
                driver.wake_by_ref();
                true
            }
            _ => false,
        }
    }

    /// Wakes the task that waits for this answer.
    pub fn wake_for(&mut self, index: u32) {
        if let Some(waker) = self.take(index) {
            waker.wake();
        }
    }

    /// Wakes those that wait for room.
    pub fn wake_for_room(&mut self) {
        self.room.drain(..).for_each(Waker::wake);
    }

    /// Wakes all: the link is over.
    pub fn wake_all(&mut self) {
        self.answers.drain(..).flatten().for_each(Waker::wake);
        self.waiting = 0;
        self.wake_for_room();
        if let Some((_, driver)) = self.driver.take() {
            driver.wake();
        }
    }
}
