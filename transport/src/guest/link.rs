//! One link to the host: two rings, a doorbell either way and the requests in flight, behind one
//! mutex of this process.
//!
//! Whoever holds the mutex may take frames in for everybody. A thread that waits keeps it for a
//! short spin (with nobody else about, a whole call costs one lock and one unlock) and lets go as
//! soon as another thread wants it.

use super::areas::Areas;
use super::desk::Desk;
use super::error::{CallError, LinkEnd, LinkError};
use super::magazine::{GIVE_BACK_MAX, GrantedSlot, Magazines};
use super::pulse::{Pulse, Sign};
use crate::Serial;
use crate::control::ControlReader;
use crate::format::HostState;
use crate::socket::AttachSocket;
use crate::wire::{flag, kind};
use onecopy_shm::{Consumer, GrantError, Producer, ReadWord, Sleeper, SpinBudget, Waker, Word};
use onecopy_shm::{copy_shared, crash_point};
use rustix::fd::OwnedFd;
use rustix::net::Shutdown;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Instant;

/// Looks at the mutex before a thread sleeps for it.
const LOCK_LOOKS: u32 = 200;

/// What the mutex protects.
#[derive(Debug)]
pub(super) struct LinkState {
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    pub(super) desk: Desk,
    /// Wakes the host.
    pub(super) waker: Waker,
    /// This guest's own word, for the host to see that it sleeps.
    pub(super) sleeper: Sleeper,
    pub(super) spin: SpinBudget,
    pub(super) pulse: Pulse,
    /// A thread sleeps on the socket, for all that wait.
    pub(super) has_receiver: bool,
    /// Nothing travels any more.
    pub(super) end: Option<LinkEnd>,
}

pub(super) type Locked<'a> = MutexGuard<'a, LinkState>;

/// One link to the host.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<LinkState>,
    /// Threads that want the mutex and did not get it at once.
    contenders: AtomicU32,
    /// The socket was seen closed, by whomever.
    closed: Arc<AtomicBool>,
    /// Another attach takes this one's place: nothing more is taken in. Changed with the mutex.
    superseded: AtomicBool,
    pub(super) socket: Arc<AttachSocket>,
    /// What rings at the host: an eventfd of this guest.
    doorbell: OwnedFd,
    areas: Areas,
    control: ControlReader,
    pub(super) attached: Attached,
    /// The heartbeat word, where no watcher beats it.
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) polling: bool,
}

/// The word that tells the host that this process runs.
#[derive(Debug)]
pub(super) struct Heartbeat {
    word: Word,
    /// Private count of the beats.
    beats: AtomicU32,
}

impl Heartbeat {
    pub(super) fn new(word: Word) -> Heartbeat {
        Heartbeat { word, beats: AtomicU32::new(0) }
    }

    /// Changes the word.
    pub(super) fn beat(&self) {
        let beats = self.beats.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // Relaxed: that it changes is all it says.
        self.word.store(u64::from(beats), Ordering::Relaxed);
    }
}

/// The host's word about this attach, in its peer row.
#[derive(Debug)]
pub(super) struct Attached {
    word: ReadWord,
    serial: Serial,
}

impl Attached {
    pub(super) fn new(word: ReadWord, serial: Serial) -> Attached {
        Attached { word, serial }
    }

    /// Whether leases of this attach protect what they name. The row may be another peer's by now:
    /// it names the attach. (A lease looks for itself, in `LeaseTable::lease_published`.)
    pub(super) fn is_attached(&self) -> bool {
        // Relaxed: only to know why the link ended.
        self.load(Ordering::Relaxed) == self.expected()
    }

    /// What it says now.
    #[inline]
    pub(super) fn load(&self, ordering: Ordering) -> u64 {
        self.word.load(ordering)
    }

    /// What it says while this guest is attached.
    #[inline]
    pub(super) fn expected(&self) -> u64 {
        self.serial.into()
    }
}

/// What a link is made of.
pub(super) struct LinkParts {
    pub(super) state: LinkState,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) socket: Arc<AttachSocket>,
    pub(super) doorbell: OwnedFd,
    pub(super) areas: Areas,
    pub(super) control: ControlReader,
    pub(super) attached: Attached,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) polling: bool,
}

/// One request as it goes into the ring.
#[derive(Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) length: u32,
    /// The slot its payload stands in.
    pub(super) request_slot: Option<GrantedSlot>,
}

impl Outgoing {
    /// A request whose payload travels in the frame.
    pub(super) fn inline(kind: u8, length: u32) -> Outgoing {
        Outgoing { kind, flags: 0, length, request_slot: None }
    }
}

impl Link {
    pub(super) fn new(parts: LinkParts) -> Link {
        let LinkParts { state, closed, socket, doorbell, areas, .. } = parts;
        let LinkParts { control, attached, heartbeat, polling, .. } = parts;
        Link {
            state: Mutex::new(state),
            contenders: AtomicU32::new(0),
            closed,
            superseded: AtomicBool::new(false),
            socket,
            doorbell,
            areas,
            control,
            attached,
            heartbeat,
            polling,
        }
    }

    /// Takes the mutex. A thread that panicked with it (in a caller's `fill`) left nothing half
    /// done: a grant that is dropped is abandoned, everything else changes in one step.
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> Locked<'_> {
        // Relaxed: a hint to whoever spins with the mutex.
        self.contenders.fetch_add(1, Ordering::Relaxed);
        let state = self.lock_patiently();
        self.contenders.fetch_sub(1, Ordering::Relaxed);
        state
    }

    // r[impl guest.polling]
    fn lock_patiently(&self) -> Locked<'_> {
        let mut looks = 0;
        while self.polling || looks < LOCK_LOOKS {
            spin_loop();
            match self.state.try_lock() {
                Ok(state) => return state,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => looks += 1,
            }
        }
        match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Whether another thread wants the mutex.
    #[inline]
    pub(super) fn is_contended(&self) -> bool {
        self.contenders.load(Ordering::Relaxed) != 0
    }

    /// Whether the socket was seen closed.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether this attach may be over, as far as this process has noticed.
    #[inline]
    pub(super) fn is_over_or_superseded(&self) -> bool {
        self.is_closed() || self.is_superseded()
    }

    /// Says that the socket was seen closed.
    pub(super) fn set_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// What a thread that polls does now and then where no watcher does it: shows that this process
    /// runs, and finds out whether the host does. While the host beats there is no system call.
    // r[impl guest.polling.host-gone]
    pub(super) fn look_after_host(&self, state: &mut LinkState, now: Instant) {
        let Some(heartbeat) = &self.heartbeat else { return };
        match state.pulse.look(&self.control, now) {
            // The host asks for a beat as often as it beats.
            Sign::Beats => heartbeat.beat(),
            Sign::Nothing => {}
            Sign::Silent => {
                heartbeat.beat();
                if self.socket.is_known_closed() {
                    self.set_closed();
                }
            }
            Sign::Replaced => self.set_closed(),
        }
    }

    /// Why nothing travels any more, if so.
    #[inline]
    pub(super) fn end_of(&self, state: &mut LinkState) -> Option<LinkEnd> {
        if state.end.is_none() && (self.is_closed() || state.desk.leaving) {
            let end = self.how_it_ended(state);
            self.finish(state, end);
        }
        // What was filled in a pool that was cut is nobody's but this process's: it must not be
        // published.
        if state.end.is_none()
            && let Err(torn) = self.areas.check_intact()
        {
            self.finish(state, LinkEnd::Broken(LinkError::Torn(torn)));
        }
        state.end
    }

    // r[impl guest.host-gone]
    // r[impl guest.host-left]
    #[cold]
    fn how_it_ended(&self, state: &LinkState) -> LinkEnd {
        let left = matches!(self.control.host_state(), Ok(Some(HostState::Left)));
        if state.desk.leaving || left {
            LinkEnd::HostLeft
        } else if self.attached.is_attached() {
            LinkEnd::HostGone
        } else {
            LinkEnd::CutOff
        }
    }

    /// Ends the link: everybody who waits is told, also the receiver, which sleeps on the socket.
    pub(super) fn finish(&self, state: &mut LinkState, end: LinkEnd) {
        if state.end.is_none() {
            state.end = Some(end);
            state.desk.parked.wake_all();
            // Nothing is lost when it cannot be shut down: then it is closed already.
            let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
        }
    }

    /// Whether another attach takes this one's place.
    #[inline]
    pub(super) fn is_superseded(&self) -> bool {
        // Relaxed: it changes with the mutex; without it, it is a hint to look for the later one.
        self.superseded.load(Ordering::Relaxed)
    }

    /// Ends a link that is over for good: what was committed is taken in a last time, then neither
    /// its stock nor anything that comes is handed out any more.
    pub(super) fn supersede(&self, state: &mut LinkState) {
        self.drain(state);
        self.superseded.store(true, Ordering::Relaxed);
        state.desk.magazines.clear();
        state.desk.pending.lose_slots();
    }

    /// Takes in every frame that is there; returns how many. What no host sends ends the link.
    pub(super) fn drain(&self, state: &mut LinkState) -> u32 {
        let mut count = 0;
        // What a host that is gone has committed is still an answer.
        let is_done = matches!(state.end, Some(LinkEnd::Broken(_) | LinkEnd::Detached));
        if is_done || self.is_superseded() {
            return count;
        }
        let broken = loop {
            match state.consumer.try_read() {
                Ok(Some(frame)) => {
                    count += 1;
                    if let Err(error) = state.desk.dispatch(&frame) {
                        break Some(error);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(LinkError::Read(error)),
            }
        };
        match broken {
            Some(error) => self.finish(state, LinkEnd::Broken(error)),
            None => self.after_drain(state, count),
        }
        count
    }

    fn after_drain(&self, state: &mut LinkState, count: u32) {
        if count > 0 {
            self.tell_of_room(state);
            state.desk.parked.wake_for_room();
            if state.desk.magazines.has_surplus() {
                self.give_back(state);
            }
        }
    }

    /// Commits a request, if there is room now; returns its id. `fill` is taken only then.
    // r[impl crash.s6]
    #[inline]
    pub(super) fn try_submit<F: FnOnce(&mut [u8])>(
        &self,
        state: &mut LinkState,
        outgoing: Outgoing,
        fill: &mut Option<F>,
    ) -> Result<u32, CallError> {
        if let Some(end) = self.end_of(state) {
            return Err(CallError::Link(end));
        }
        let Outgoing { kind, flags, length, request_slot } = outgoing;
        if !state.desk.pending.has_room() {
            return Err(CallError::Full);
        }
        let mut grant = match state.producer.try_grant(length) {
            Ok(grant) => grant,
            Err(error) => return Err(self.no_grant(state, error)),
        };
        if let Some(fill) = fill.take() {
            fill(grant.bytes_mut());
        }
        // Room was there before, and nobody else can have taken it.
        let Some(request_id) = state.desk.pending.open(kind, request_slot) else {
            return Err(CallError::Full);
        };
        if let Err(error) = grant.commit(length, kind, flags, request_id) {
            state.desk.pending.forget(request_id);
            return Err(self.broken(state, LinkError::Commit(error)));
        }
        crash_point!("guest.request.sent");
        self.ring(state);
        Ok(request_id)
    }

    #[cold]
    fn no_grant(&self, state: &mut LinkState, error: GrantError) -> CallError {
        match error {
            GrantError::Full => CallError::Full,
            GrantError::TooLarge { length, max } => {
                CallError::TooLarge { length_bytes: length.into(), max_bytes: max.into() }
            }
            GrantError::Corrupt { .. } => self.broken(state, LinkError::Grant(error)),
        }
    }

    #[cold]
    pub(super) fn broken(&self, state: &mut LinkState, error: LinkError) -> CallError {
        let end = LinkEnd::Broken(error);
        self.finish(state, end);
        CallError::Link(end)
    }

    /// Wakes the host if it sleeps on a request that found no room for its answer: frames were taken
    /// in, which nothing else tells it. With nothing in flight there is no such request.
    // r[impl guest.back-pressure]
    #[inline]
    pub(super) fn tell_of_room(&self, state: &mut LinkState) {
        if state.desk.pending.in_flight() > 0 {
            self.ring(state);
        }
    }

    /// Wakes the host for what was committed, if it sleeps.
    #[inline]
    pub(super) fn ring(&self, state: &mut LinkState) {
        if state.waker.should_ring() {
            self.ring_now();
        }
    }

    #[cold]
    fn ring_now(&self) {
        // It cannot be full: nobody signals it two to the 64 times. A host that died reads nothing.
        let _ = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
    }

    /// Puts a slot back into stock; a full magazine gives some back to the host.
    pub(super) fn return_slot(&self, state: &mut LinkState, granted: GrantedSlot) {
        state.desk.magazines.push(granted);
        if state.desk.magazines.has_surplus() {
            self.give_back(state);
        }
    }

    /// Gives the host what is over the bounds of the magazines, as far as the ring has room.
    // r[impl guest.magazine.bounded]
    #[cold]
    fn give_back(&self, state: &mut LinkState) {
        while state.desk.magazines.has_surplus()
            && self.try_give_back(state, Magazines::take_surplus)
        {}
    }

    /// Gives the host slots that `take` takes out of stock; false when there is no room for them.
    pub(super) fn try_give_back(
        &self,
        state: &mut LinkState,
        take: impl FnOnce(&mut Magazines, &mut [u64]) -> usize,
    ) -> bool {
        let most = (state.producer.frame_length_max() / 8).min(GIVE_BACK_MAX as u32);
        if self.end_of(state).is_some() || !state.producer.has_room(most * 8).unwrap_or(false) {
            return false;
        }
        let mut words = [0; GIVE_BACK_MAX];
        let count = take(&mut state.desk.magazines, &mut words[..most as usize]);
        let length = count as u32 * 8;
        let Ok(mut grant) = state.producer.try_grant(length) else { return false };
        for (target, word) in grant.bytes_mut().chunks_exact_mut(8).zip(&words) {
            copy_shared!("ring.request.half", target, &word.to_le_bytes());
        }
        if count > 0 && grant.commit(length, kind::GIVE_BACK, 0, 0).is_ok() {
            self.ring(state);
        }
        count > 0
    }
}

/// Flags of a request whose payload stands in a slot.
pub(super) const SLOT_FLAGS: u8 = flag::SLOT;
