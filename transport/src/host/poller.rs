//! What the host sleeps on: one epoll over its listener, its own eventfd, and for each guest a
//! doorbell, a pidfd and the far end of a socket.

use super::peer::Link;
use crate::Serial;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// A guest wants to attach.
    Listener,
    /// Another thread of the host has something to say.
    Wake,
    /// A guest rang: its ring will be found when it is looked at.
    Doorbell,
    /// The process of this peer is gone.
    Death(Serial),
    /// The socket of this peer was closed at the far end.
    SocketClosed(Serial),
    /// A socket whose guest has not said hello yet can be read, or was closed.
    Hello(u32),
}

const KIND_BITS: u32 = 3;

impl Ready {
    fn token(self) -> u64 {
        let (kind, number) = match self {
            Ready::Listener => (0, 0),
            Ready::Wake => (1, 0),
            Ready::Doorbell => (2, 0),
            Ready::Death(serial) => (3, serial),
            Ready::SocketClosed(serial) => (4, serial),
            Ready::Hello(number) => (5, number),
        };
        u64::from(number) << KIND_BITS | kind
    }

    fn of(event: &epoll::Event) -> Option<Ready> {
        let token = event.data.u64();
        let number = (token >> KIND_BITS) as u32;
        Some(match token & ((1 << KIND_BITS) - 1) {
            0 => Ready::Listener,
            1 => Ready::Wake,
            2 => Ready::Doorbell,
            3 => Ready::Death(number),
            4 => Ready::SocketClosed(number),
            5 => Ready::Hello(number),
            _ => return None,
        })
    }

    fn events(self) -> epoll::EventFlags {
        match self {
            // Never read, so level-triggered would be ready for ever.
            Ready::Doorbell => epoll::EventFlags::IN | epoll::EventFlags::ET,
            Ready::SocketClosed(_) => epoll::EventFlags::RDHUP,
            _ => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
        }
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
}

/// Most events taken in one wait; the rest comes with the next.
const EVENTS_MAX: usize = 64;

impl Poller {
    pub fn new() -> Result<Poller, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poller { epoll })
    }

    /// Watches a descriptor until it is closed or forgotten.
    pub fn watch(&self, descriptor: impl AsFd, ready: Ready) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(ready.token());
        epoll::add(&self.epoll, descriptor, data, ready.events())
    }

    /// Stops watching a link. To close its descriptors is not enough: the guest has the same open
    /// file descriptions, and epoll watches those.
    pub fn forget_link(&self, link: &Link) {
        self.forget(&link.socket);
        self.forget(&link.doorbell);
    }

    /// Stops watching a descriptor.
    pub fn forget(&self, descriptor: impl AsFd) {
        // Not watched any more is what is wanted; ENOENT says just that.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits for at most `timeout` and calls back for each thing that is ready.
    pub fn wait(&self, timeout: Duration, found: &mut Vec<Ready>) -> Result<(), Errno> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok((events, _)) => found.extend(events.iter().filter_map(Ready::of)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
