//! Waiting for answers and for room.
//!
//! First a short spin, with the mutex while nobody else wants it. Then one thread, the receiver,
//! sleeps on the socket for all; the others wait for it in private memory. Whoever stops waiting
//! hands over: if nobody sleeps on the socket, one of those that wait is woken to do so.

use super::error::LinkEnd;
use super::link::{Link, LinkState, Locked};
use super::parker::Wish;
use crate::socket::{Polled, ReceiveError};
use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// Looks between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 128;
/// Times that a spinning thread makes way for others before it sleeps.
const WAYS_MADE_MAX: u32 = 256;
/// Pauses of the processor while another thread is let through.
const WAY_PAUSES: u32 = 8;
/// A thread that waits for room is not woken for it: the host says only in shared memory how far it
/// has read. It mostly is woken by an answer; when no answer is due it looks this often.
const ROOM_INTERVAL: Duration = Duration::from_millis(1);
/// When the system has no memory to wait with, the next try comes after this.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(1);
/// Without a watcher the receiver beats the heartbeat this often.
const BEAT_INTERVAL: Duration = Duration::from_millis(50);

/// Why a wait was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitError {
    Ended(LinkEnd),
    DeadlineExceeded,
}

/// How a spin went.
enum Spun {
    Ready,
    Contended,
    Missed,
}

impl Link {
    /// Waits until `ready`, taking in frames meanwhile. `wish` says what `ready` looks at.
    // r[impl guest.deadline]
    pub(super) fn wait_until<'a>(
        &'a self,
        state: Locked<'a>,
        wish: Wish,
        deadline: Instant,
        mut ready: impl FnMut(&mut LinkState) -> bool,
    ) -> Result<Locked<'a>, (Locked<'a>, WaitError)> {
        let mut state = state;
        let (mut ways_made, mut turns) = (0_u32, 0_u32);
        let mut outcome = None;
        loop {
            self.drain(&mut state);
            if ready(&mut state) {
                self.hand_over(&mut state);
                return Ok(state);
            }
            outcome = outcome.or(self.end_of(&mut state).map(WaitError::Ended));
            if let Some(error) = outcome {
                self.hand_over(&mut state);
                return Err((state, error));
            }
            turns = turns.wrapping_add(1);
            let quick = match self.spin(&mut state, wish) {
                Spun::Ready => true,
                Spun::Contended if self.polling || ways_made < WAYS_MADE_MAX => {
                    ways_made = ways_made.wrapping_add(1);
                    state = self.make_way(state);
                    true
                }
                Spun::Contended | Spun::Missed if self.polling => false,
                Spun::Contended | Spun::Missed => {
                    ways_made = 0;
                    state = self.sleep(state, wish, deadline);
                    false
                }
            };
            // When the deadline has passed, a last look follows.
            let time_to_look = !quick || turns.is_multiple_of(LOOKS_PER_CLOCK);
            if time_to_look {
                let now = Instant::now();
                if self.polling {
                    self.look_after_host(&mut state, now);
                }
                if now >= deadline {
                    outcome = Some(WaitError::DeadlineExceeded);
                }
            }
        }
    }

    /// Whether there is something to take in, or room where room is wanted.
    pub(super) fn has_news(state: &mut LinkState, wish: Wish) -> bool {
        if state.consumer.is_ready() {
            return true;
        }
        match wish {
            Wish::Answer(_) | Wish::Stock => false,
            // An error is news as well: the next attempt to send finds it.
            Wish::Room(length) => {
                state.desk.pending.has_room() && state.producer.has_room(length).unwrap_or(true)
            }
        }
    }

    fn spin(&self, state: &mut LinkState, wish: Wish) -> Spun {
        let ready = if self.polling {
            self.spin_polling(state, wish)
        } else {
            let mut spin = state.spin.clone();
            let ready = spin.spin(|| Link::has_news(state, wish) || self.is_contended());
            state.spin = spin;
            ready
        };
        match ready {
            true if Link::has_news(state, wish) => Spun::Ready,
            true => Spun::Contended,
            false => Spun::Missed,
        }
    }

    // r[impl guest.polling]
    fn spin_polling(&self, state: &mut LinkState, wish: Wish) -> bool {
        for _ in 0..LOOKS_PER_CLOCK {
            if Link::has_news(state, wish) || self.is_contended() {
                return true;
            }
            spin_loop();
        }
        false
    }

    /// Lets other threads at the mutex.
    fn make_way<'a>(&'a self, state: Locked<'a>) -> Locked<'a> {
        drop(state);
        for _ in 0..WAY_PAUSES {
            spin_loop();
        }
        self.lock()
    }

    /// Sleeps until there may be news, at most until the deadline.
    fn sleep<'a>(&'a self, mut state: Locked<'a>, wish: Wish, deadline: Instant) -> Locked<'a> {
        let deadline = match wish {
            Wish::Answer(_) | Wish::Stock => deadline,
            Wish::Room(_) => deadline.min(Instant::now() + ROOM_INTERVAL),
        };
        if state.has_receiver {
            let parker = state.desk.parked.add(wish);
            drop(state);
            parker.wait(deadline);
            state = self.lock();
            state.desk.parked.remove(&parker);
            return state;
        }
        state.sleeper.prepare();
        // The second look; see the doorbell's protocol.
        if Link::has_news(&mut state, wish) {
            state.sleeper.awake();
            return state;
        }
        state.has_receiver = true;
        drop(state);
        self.sleep_on_socket(deadline);
        state = self.lock();
        state.sleeper.awake();
        state.has_receiver = false;
        state
    }

    // r[impl guest.host-gone]
    // r[impl resources.guest-goes-on]
    fn sleep_on_socket(&self, deadline: Instant) {
        let mut deadline = deadline;
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
            deadline = deadline.min(Instant::now() + BEAT_INTERVAL);
        }
        match self.socket.poll(deadline) {
            Ok(Polled::Readable) => {
                // The bytes say nothing but "look".
                match self.socket.drain() {
                    Ok(_) => {}
                    Err(ReceiveError::System(_)) => std::thread::sleep(PAUSE_AFTER_ERROR),
                    Err(_) => self.set_closed(),
                }
            }
            Ok(Polled::TimedOut) => {}
            Ok(Polled::Closed) => self.set_closed(),
            // The system is short of memory: no sign of the host's end.
            Err(_) => std::thread::sleep(PAUSE_AFTER_ERROR),
        }
    }

    /// Sees to it that somebody sleeps on the socket while anybody waits.
    pub(super) fn hand_over(&self, state: &mut LinkState) {
        if !state.has_receiver {
            state.desk.parked.wake_one();
        }
    }
}
