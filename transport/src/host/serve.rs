//! The host's loop: turns while there is work, spins for a little, sleeps, and looks after its
//! clock, its sockets and its peers on the way.

use super::Host;
use super::poller::Ready;
use crate::format::HostState;
use crate::segment::{DestroyError, SegmentDir};
use crate::service::Service;
use crate::wire::kind;
use onecopy_shm::SpinBudget;
use rustix::io::Errno;
use std::time::{Duration, Instant};
use thiserror::Error;

/// While it is busy the loop looks at its sockets and its clock once in so many turns: a death is seen
/// within some tens of microseconds under a light load.
const TURNS_PER_LOOK: u32 = 64;
/// And at least once in so many requests, where a turn brings many.
const REQUESTS_PER_LOOK: u64 = 1024;

/// Why the loop ended early.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeError {
    /// The system refused to let the loop wait.
    #[error("the host cannot wait for its guests: {0}")]
    Wait(Errno),
}

impl<S: Service> Host<S> {
    /// Serves until somebody calls [`super::HostHandle::leave`], then says goodbye.
    ///
    /// # Errors
    /// [`ServeError`] when the system does not let it wait; it says goodbye then as well.
    // r[impl host.look]
    // r[impl host.polling]
    pub fn serve(mut self) -> Result<(), ServeError> {
        let mut spin = SpinBudget::new();
        let (mut turns, mut requests) = (0u32, 0u64);
        while !self.leaving {
            let busy = self.next_turn();
            turns = turns.wrapping_add(1);
            let is_look_due = turns.is_multiple_of(TURNS_PER_LOOK)
                || self.core.counters.requests - requests >= REQUESTS_PER_LOOK;
            if is_look_due {
                requests = self.core.counters.requests;
                self.look(Duration::ZERO)?;
            }
            if busy || self.core.options.polling || spin.spin(|| self.has_news()) {
                continue;
            }
            self.look(self.core.options.heartbeat_interval)?;
        }
        Ok(())
    }

    /// Does everything that one wake-up can bring, sleeping for at most `timeout` and not beyond the
    /// next tick. With [`Host::turn`] this is the loop for those who embed a host in one of their
    /// own.
    ///
    /// # Errors
    /// [`ServeError`] when the system does not let it wait.
    pub fn look(&mut self, timeout: Duration) -> Result<(), ServeError> {
        let found = if timeout.is_zero() { self.poll(timeout) } else { self.sleep(timeout) };
        self.act_on(found?);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Vec<Ready>, ServeError> {
        let mut found = Vec::new();
        self.poller.wait(timeout, &mut found).map_err(ServeError::Wait)?;
        Ok(found)
    }

    fn act_on(&mut self, found: Vec<Ready>) {
        for ready in found {
            match ready {
                Ready::Listener => self.accept(),
                Ready::Wake => self.obey(),
                Ready::Doorbell => {}
                Ready::Death(serial) => self.on_death(serial),
                Ready::SocketClosed(serial) => self.on_socket_closed(serial),
                Ready::Hello(number) => self.on_hello(number),
            }
        }
        self.core.take_touches_of(&mut self.peers);
        self.finish_growth();
        self.tick_if_due();
        // What was found may be for anybody.
        self.peers.sweep_next();
    }

    /// Sleeps until a guest rings, something else happens, or the next tick is due.
    // r[impl doorbell.host_sleeps]
    fn sleep(&mut self, timeout: Duration) -> Result<Vec<Ready>, ServeError> {
        self.sleeper.prepare();
        let timeout = if self.has_requests() {
            Duration::ZERO
        } else {
            let due = self.tick_at + self.core.options.heartbeat_interval;
            let timeout = self.walk_in().map_or(timeout, |walk_in| walk_in.min(timeout));
            due.saturating_duration_since(Instant::now()).min(timeout)
        };
        self.core.counters.sleeps += u64::from(!timeout.is_zero());
        let found = self.poll(timeout);
        // Before anything is done about it: nobody needs to ring for a host that is at work.
        self.sleeper.awake();
        found
    }

    fn tick_if_due(&mut self) {
        let now = Instant::now();
        if now < self.tick_at + self.core.options.heartbeat_interval {
            return;
        }
        self.tick_at = now;
        self.core.tick += 1;
        self.core.control.set_host_heartbeat(self.core.tick);
        self.core.clock_s = self.clock_base_s + self.started.elapsed().as_secs();
        self.core.control.set_coarse_clock_s(self.core.clock_s);
        self.check_heartbeats();
        self.look_for_unmapped();
        self.kill_old_suspects();
        self.expire_greetings(now);
        self.remove_rest();
        self.expire_settling(now);
        self.lift_guard_if_due();
        self.core.tick_service();
        if self.core.pool.limbo_len() > 0 {
            self.core.reclaim();
        }
        self.core.grow_ahead();
        if !self.core.parked.is_empty() {
            self.answer_parked();
        }
        if !self.core.deferred.is_empty() {
            self.answer_deferred();
        }
    }

    /// Tells every guest that the host leaves, so that it is not taken for dead.
    // r[impl host.goodbye]
    fn say_goodbye(&mut self) {
        self.core.control.set_host_state(HostState::Left);
        for link in self.peers.iter_mut().filter_map(|peer| peer.link.as_mut()) {
            if let Ok(grant) = link.rings.replies.try_grant(0)
                && grant.commit(0, kind::LEAVING, 0, 0).is_ok()
            {
                link.unannounced = true;
                self.core.counters.guests_woken += u64::from(link.announce());
            }
        }
    }
}

impl<S: Service> Host<S> {
    fn remove_segment(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        let removed = SegmentDir::open(self.dir.path())
            .map_err(DestroyError::from)
            .and_then(|dir| dir.destroy(lock));
        if let Err(error) = removed {
            tracing::warn!(%error, "the segment was not removed");
        }
    }
}

impl<S: Service> Drop for Host<S> {
    // r[impl host.start]
    fn drop(&mut self) {
        // A start that failed leaves a segment as it was, whatever is to become of one it serves.
        if !self.serving {
            return;
        }
        self.say_goodbye();
        if self.core.options.remove_on_leave {
            self.remove_segment();
        }
    }
}
