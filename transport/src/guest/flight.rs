//! Requests that were sent and whose answers are still to be taken.

use super::Inner;
use super::error::CallError;
use super::link::LinkState;
#[cfg(feature = "tokio")]
use super::options::REQUESTS_MAX;
use super::reply::Reply;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::{Context, Poll};
use std::time::Instant;

/// A request in flight. Dropping it abandons the request: the answer is discarded when it comes, and
/// a slot in it is given back. Any thread may wait for it.
#[derive(Debug)]
#[must_use = "dropping it abandons the answer"]
pub struct Pending {
    inner: Arc<Inner>,
    /// `None` once the answer was taken or given up.
    request_id: Option<u32>,
}

impl Pending {
    pub(super) fn new(inner: &Arc<Inner>, request_id: u32) -> Pending {
        Pending { inner: Arc::clone(inner), request_id: Some(request_id) }
    }

    /// Waits for the answer; when it does not come in time the request is abandoned.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn wait(mut self, deadline: Instant) -> Result<Reply, CallError> {
        self.wait_again(deadline)
    }

    /// Waits for the answer; after [`CallError::DeadlineExceeded`] it can be waited for again.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Taken`] after the answer was taken.
    pub fn wait_again(&mut self, deadline: Instant) -> Result<Reply, CallError> {
        self.inner.enter()?;
        let request_id = self.request_id.ok_or(CallError::Taken)?;
        let link = &self.inner.link;
        match link.await_or_keep(link.lock(), request_id, deadline) {
            Ok((state, answer)) => {
                let reply = Reply::new(&self.inner, answer);
                drop(state);
                self.request_id = None;
                reply.map(Reply::told)
            }
            Err((state, error)) => {
                drop(state);
                Err(error)
            }
        }
    }

    /// The answer, if it is here.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Taken`] after the answer was taken.
    pub fn try_wait(&mut self) -> Result<Option<Reply>, CallError> {
        self.look(|_, _| {})
    }

    /// The answer, if it is here; else `wait` is told of the request, with the mutex.
    fn look(&mut self, wait: impl FnOnce(&mut LinkState, u32)) -> Result<Option<Reply>, CallError> {
        self.inner.enter()?;
        let request_id = self.request_id.ok_or(CallError::Taken)?;
        let link = &self.inner.link;
        let mut state = link.lock();
        link.drain(&mut state);
        match state.desk.pending.take(request_id) {
            Some(answer) => {
                let reply = Reply::new(&self.inner, answer);
                drop(state);
                self.request_id = None;
                reply.map(|reply| Some(reply.told()))
            }
            None => match link.end_of(&mut state) {
                Some(end) => Err(CallError::Link(end)),
                None => {
                    wait(&mut state, request_id);
                    Ok(None)
                }
            },
        }
    }

    /// The answer, or the task is woken when it comes, or when nothing travels any more.
    #[cfg(feature = "tokio")]
    pub(super) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Reply, CallError>> {
        let inner = Arc::clone(&self.inner);
        let looked = self.look(|state, request_id| {
            let index = request_id & (REQUESTS_MAX - 1);
            state.desk.parked.tasks.wait_for(index, context.waker());
            // Somebody has to take it in.
            inner.link.hand_over(state);
        });
        looked.transpose().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Pending {
    // r[impl guest.abandon]
    fn drop(&mut self) {
        if let Some(request_id) = self.request_id.take()
            && self.inner.fork.is_this_process()
        {
            let mut state = self.inner.link.lock();
            self.inner.link.abandon(&mut state, request_id);
        }
    }
}
