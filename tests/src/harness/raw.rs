//! A guest without manners: it keeps to the handshake, or not, and then writes what it likes into
//! its own rings.

use super::{PATIENCE, soon};
use onecopy::service::CacheService;
use onecopy_shm::{Access, Consumer, FrameHeader, Mapping, Producer, Region, SlotRef, ring_layout};
use onecopy_transport::format::{RINGS_REQUEST_OFFSET, Role, TABLE_ALIGNMENT_BYTES};
use onecopy_transport::inspect::inspect;
use onecopy_transport::process::Pidfd;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::socket::{AttachSocket, Received};
use onecopy_transport::wire::{
    ErrorWords, GrantedAt, Grants, Hello, Refill, Refusal, RequestError, Welcome, flag, kind,
};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;
use zerocopy::FromBytes;

/// The pidfd and the eventfd that belong to a hello.
pub fn hello_descriptors() -> (OwnedFd, OwnedFd) {
    let pidfd = Pidfd::of_self().unwrap().as_fd().try_clone_to_owned().unwrap();
    (pidfd, eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

/// Says hello over a new connection, whatever the bytes and descriptors are, and takes the answer.
pub fn say_hello(
    segment: &Path,
    hello: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> (AttachSocket, Welcome, Received) {
    let socket = knock(segment, hello, descriptors);
    let (welcome, received) = hear(&socket);
    (socket, welcome, received)
}

fn knock(segment: &Path, hello: &[u8], descriptors: &[BorrowedFd<'_>]) -> AttachSocket {
    let path = SegmentPath::new(segment).unwrap();
    let socket = AttachSocket::connect(&path, soon()).unwrap();
    socket.send(hello, descriptors, soon()).unwrap();
    socket
}

fn hear(socket: &AttachSocket) -> (Welcome, Received) {
    let mut record = [0; size_of::<Welcome>()];
    let received = socket.receive(&mut record, 8, soon()).unwrap();
    let welcome = Welcome::read_from_bytes(&record).unwrap();
    (welcome, received)
}

/// What came back for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// Header of the frame.
    pub header: FrameHeader,
    /// Its payload.
    pub bytes: Vec<u8>,
}

impl RawAnswer {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<RequestError> {
        if self.header.flags & flag::ERROR == 0 {
            return None;
        }
        RequestError::decode(&ErrorWords::read_from_bytes(&self.bytes).unwrap())
    }
}

impl RawAnswer {
    /// The slots that it grants.
    pub fn granted(&self) -> Vec<SlotRef> {
        let slots = self.bytes[size_of::<Grants>()..].chunks_exact(size_of::<GrantedAt>());
        let slot = |bytes| {
            let granted = GrantedAt::read_from_bytes(bytes).unwrap();
            SlotRef::from_u64(granted.slot.get()).unwrap()
        };
        slots.map(slot).collect()
    }
}

/// An attach whose rings are in the test's own hands.
pub struct RawGuest {
    /// The connection.
    pub socket: AttachSocket,
    /// What the host said.
    pub welcome: Welcome,
    /// What the host handed out.
    pub descriptors: Vec<OwnedFd>,
    /// The whole rings file.
    pub rings: Region,
    /// The guest's end of the ring to the host.
    pub requests: Producer,
    /// The guest's end of the ring from the host.
    pub answers: Consumer,
    /// Its own eventfd, which the host watches.
    pub doorbell: OwnedFd,
}

impl RawGuest {
    /// Attaches as this test's process.
    pub fn attach(segment: &Path, role: Role) -> RawGuest {
        RawGuest::attach_while(segment, role, || {})
    }

    /// Attaches as a writer that had this lease table before, or says so.
    pub fn attach_again(segment: &Path, lease_serial: u32) -> RawGuest {
        let path = SegmentPath::new(segment).unwrap();
        let id = inspect(&path, CacheService::new(Default::default())).unwrap().segment_id;
        RawGuest::say(segment, Hello::new(Role::Writer, lease_serial, id), || {})
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Attaches as this test's process to a host that turns only while `host` is called: after the
    /// hello, and before the answer is waited for.
    pub fn attach_while(segment: &Path, role: Role, host: impl FnOnce()) -> RawGuest {
        RawGuest::try_attach_while(segment, role, host)
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// The same, for a host that may refuse.
    pub fn try_attach_while(
        segment: &Path,
        role: Role,
        host: impl FnOnce(),
    ) -> Result<RawGuest, Option<Refusal>> {
        RawGuest::say(segment, Hello::new(role, 0, 0), host)
    }

    fn say(segment: &Path, hello: Hello, host: impl FnOnce()) -> Result<RawGuest, Option<Refusal>> {
        let (pidfd, doorbell) = hello_descriptors();
        let bytes = zerocopy::IntoBytes::as_bytes(&hello);
        let socket = knock(segment, bytes, &[pidfd.as_fd(), doorbell.as_fd()]);
        host();
        let (welcome, received) = hear(&socket);
        if welcome.refusal.get() != 0 {
            return Err(refusal_of(&welcome));
        }
        let descriptors = received.descriptors;
        let size_bytes = welcome.rings_bytes.get();
        let rings = Mapping::map(&descriptors[2], size_bytes, Access::ReadWrite).unwrap();
        let rings = rings.region(0, size_bytes).unwrap();
        let capacity = welcome.ring_capacity_bytes.get();
        let ring_bytes = ring_layout(capacity.into()).unwrap().size_bytes;
        let answers = RINGS_REQUEST_OFFSET + ring_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        let ring = |offset| rings.subregion(offset, ring_bytes).unwrap();
        Ok(RawGuest {
            requests: Producer::new(ring(RINGS_REQUEST_OFFSET), capacity).unwrap(),
            answers: Consumer::new(ring(answers), capacity).unwrap(),
            socket,
            welcome,
            descriptors,
            rings,
            doorbell,
        })
    }

    /// Its serial.
    pub fn serial(&self) -> u32 {
        self.welcome.serial.get()
    }

    /// Commits a frame and wakes the host.
    pub fn send(&mut self, kind: u8, flags: u8, request_id: u32, bytes: &[u8]) {
        let mut grant = self.requests.try_grant(bytes.len() as u32).unwrap();
        grant.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        grant.commit(bytes.len() as u32, kind, flags, request_id).unwrap();
        self.ring();
    }

    /// Wakes the host.
    pub fn ring(&self) {
        // One that is full has rung.
        let _ = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
    }

    /// The next frame of the host, if one comes in time.
    pub fn receive_until(&mut self, deadline: Instant) -> Option<RawAnswer> {
        loop {
            if let Some(frame) = self.answers.try_read().unwrap() {
                let mut bytes = Vec::new();
                frame.copy_to(&mut bytes);
                let header = frame.header();
                frame.release();
                return Some(RawAnswer { header, bytes });
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The next frame that answers a request.
    pub fn answer(&mut self) -> RawAnswer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.receive_until(deadline).unwrap();
            if answer.header.request_id != 0 {
                return answer;
            }
        }
    }

    /// Sends a request and takes its answer.
    pub fn ask(&mut self, kind: u8, flags: u8, bytes: &[u8]) -> RawAnswer {
        self.send(kind, flags, 1, bytes);
        self.answer()
    }

    /// Asks to take slots of earlier attaches over.
    pub fn hand_over(&mut self, last: u64, slots: &[SlotRef]) -> Option<RequestError> {
        let words = [last].into_iter().chain(slots.iter().map(|slot| slot.to_u64()));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        self.ask(kind::HANDOVER, 0, &bytes).refusal()
    }

    /// Asks for one slot.
    pub fn reserve(&mut self, size_bytes: u64) -> SlotRef {
        let refill = Refill { size_bytes: size_bytes.into(), count: 1.into() };
        let answer = self.ask(kind::REFILL, 0, zerocopy::IntoBytes::as_bytes(&refill));
        assert_eq!(answer.refusal(), None);
        answer.granted()[0]
    }

    /// Whether the host has closed the connection.
    pub fn is_cut_off(&self) -> bool {
        self.socket.is_closed().unwrap()
    }
}

/// The refusal that a welcome carries.
fn refusal_of(welcome: &Welcome) -> Option<Refusal> {
    Refusal::decode(welcome.refusal.get(), welcome.detail.map(|number| number.get()))
}
