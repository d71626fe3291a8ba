//! Letting guests in. A guest that connects and says nothing costs one descriptor until its time is
//! up; nothing here waits.

use super::Host;
use super::events::HostEvent;
use super::files::AttachFiles;
use super::leases::{Leases, LeasesOf};
use super::link::Rings;
use super::peer::{Link, Peer, ProcessName, Who};
use super::poller::Ready;
use super::unmapped::lock_leases;
use crate::Serial;
use crate::control::PeerFields;
use crate::format::{PeerState, Role};
use crate::layout::RingsLayout;
use crate::process::{self, Pidfd, ProcessError};
use crate::segment::{SystemError, reopen};
use crate::service::Service;
use crate::socket::{AttachSocket, ReceiveError, Received};
use crate::wire::{Hello, Refusal, Welcome, hello_field};
use onecopy_shm::crash_point;
use onecopy_shm::{Access, SERIAL_MAX};
use rustix::io::Errno;
use std::error::Error;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Connections that have not said hello yet.
const HELLOS_MAX: usize = 128;
/// How long a connection may take to say hello.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// Descriptors that come with a hello: a pidfd and an eventfd.
const HELLO_DESCRIPTORS: usize = 2;

/// A connection whose guest has not said hello yet.
pub(super) struct Greeting {
    pub number: u32,
    pub socket: AttachSocket,
    pub deadline: Option<Instant>,
}

/// What came with a hello that was found good.
struct Accepted {
    hello: Hello,
    role: Role,
    uid: u32,
    process: ProcessName,
    pidfd: Pidfd,
    doorbell: OwnedFd,
}

/// A guest that has its descriptors.
struct Entry {
    who: Who,
    pidfd: Pidfd,
    doorbell: OwnedFd,
    rings: Rings,
}

impl<S: Service> Host<S> {
    /// Takes new connections off the listener: left where they are they would keep the loop awake.
    pub(super) fn accept(&mut self) {
        for _ in 0..HELLOS_MAX {
            match self.listener.try_accept() {
                Ok(Some(socket)) => {
                    self.make_room_to_greet();
                    if let Err(error) = self.greet(socket, Some(Instant::now() + HELLO_TIME)) {
                        tracing::warn!(%error, "a connection could not be watched");
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    return;
                }
            }
        }
    }

    /// Who connects and says nothing does not keep others out: the one who has been silent for
    /// longest has to go.
    // r[impl attach.silence]
    fn make_room_to_greet(&mut self) {
        let silent = |greeting: &&Greeting| greeting.deadline.is_some();
        if self.greetings.iter().filter(silent).count() >= HELLOS_MAX
            && let Some(oldest) = self.greetings.iter().find(silent).map(|found| found.number)
        {
            self.greetings.retain(|greeting| greeting.number != oldest);
        }
    }

    /// Waits for a hello on this socket without blocking.
    pub(super) fn greet(
        &mut self,
        socket: AttachSocket,
        deadline: Option<Instant>,
    ) -> Result<u32, Errno> {
        self.greeting_last = self.greeting_last.wrapping_add(1);
        let number = self.greeting_last;
        self.poller.watch(&socket, Ready::Hello(number))?;
        self.greetings.push(Greeting { number, socket, deadline });
        Ok(number)
    }

    /// A greeted socket can be read, or was closed.
    pub(super) fn on_hello(&mut self, number: u32) {
        let Some(index) = self.greetings.iter().position(|greeting| greeting.number == number)
        else {
            return;
        };
        let mut record = [0; size_of::<Hello>()];
        let received = self.greetings[index].socket.try_receive(&mut record, HELLO_DESCRIPTORS);
        if matches!(received, Ok(None)) {
            return;
        }
        let socket = self.greetings.remove(index).socket;
        self.poller.forget(&socket);
        match received {
            Ok(Some(received)) => self.answer_hello(socket, &record, received),
            Ok(None) => {}
            Err(ReceiveError::TooLong { length, .. }) => {
                self.refuse(&socket, malformed(hello_field::RECORD_SIZE, length));
            }
            Err(ReceiveError::TooManyDescriptors { count, .. }) => {
                self.refuse(&socket, malformed(hello_field::DESCRIPTOR_COUNT, count));
            }
            Err(error) => tracing::debug!(%error, "a connection ended before its hello"),
        }
    }

    fn answer_hello(&mut self, socket: AttachSocket, record: &[u8], received: Received) {
        let accepted = self.check_hello(&socket, &record[..received.length], received);
        match accepted.and_then(|accepted| self.let_in(&socket, accepted)) {
            Ok(entry) => self.enter(entry, socket),
            Err(refusal) => self.refuse(&socket, refusal),
        }
    }

    fn refuse(&mut self, socket: &AttachSocket, refusal: Refusal) {
        self.core.counters.attach_refused += 1;
        tracing::info!(%refusal, "attach refused");
        // The guest may be gone already: then nobody is left to be told.
        let _ = socket.try_send(Welcome::refused(refusal).as_bytes(), &[]);
    }

    /// Forgets connections that took too long.
    pub(super) fn expire_greetings(&mut self, now: Instant) {
        self.greetings.retain(|greeting| greeting.deadline.is_none_or(|deadline| now < deadline));
    }

    /// Puts the guest in service, then hands out its descriptors.
    // r[impl attach.in_service_first]
    // r[impl crash.t0]
    // r[impl crash.t1]
    fn let_in(&mut self, socket: &AttachSocket, accepted: Accepted) -> Result<Entry, Refusal> {
        let serial = self.next_serial()?;
        let lease_serial = self.lease_serial(&accepted, serial);
        let row = self.free_row()?;
        let Accepted { role, process, uid, .. } = accepted;
        let who = Who { serial, row, role, process, uid, lease_serial };
        let fields = peer_fields(&who).map_err(|error| out_of(error.into()))?;
        let options = &self.core.options;
        let layout = RingsLayout::new(options.ring_capacity_bytes, options.touch_entries)
            .map_err(|error| out_of(error.into()))?;
        let leases_max = self.core.geometry.leases_max;
        let manner = (options.guard, options.memory.prefault);
        let made = AttachFiles::make(&self.dir, &who, &layout, leases_max, manner);
        let files = match made {
            Ok(files) => files,
            Err(error) => {
                // One of the two may have been made.
                self.remove_files(&who);
                return Err(out_of(error));
            }
        };
        crash_point!("attach.files_made");
        self.core.control.set_peer(row.into(), &fields);
        let leases = Leases::Table(files.scan.clone());
        self.core.leases.push(LeasesOf { who, leases, is_earlier: false });
        crash_point!("attach.row_stored");
        let Accepted { pidfd, doorbell, .. } = accepted;
        match self.hand_out(socket, &who, &pidfd, &doorbell, &files) {
            Ok(rings) => Ok(Entry { who, pidfd, doorbell, rings }),
            Err(error) => {
                // The guest has the same open file descriptions, so closing ours is not enough.
                self.poller.forget(&pidfd);
                self.poller.forget(socket);
                self.poller.forget(&doorbell);
                self.core.leases.retain(|leases| leases.who.serial != serial);
                self.core.control.clear_peer(row.into());
                self.remove_files(&who);
                Err(out_of(error))
            }
        }
    }

    /// Everything that can fail comes before the descriptors leave; after them the guest is in.
    // r[impl crash.t2.host]
    fn hand_out(
        &self,
        socket: &AttachSocket,
        who: &Who,
        pidfd: &Pidfd,
        doorbell: &OwnedFd,
        files: &AttachFiles,
    ) -> Result<Rings, Box<dyn Error>> {
        let options = &self.core.options;
        let (capacity, entries) = (options.ring_capacity_bytes, options.touch_entries);
        let rings = Rings::open(&files.region, who.serial, capacity, entries)?;
        let descriptors = self.descriptors(who, files)?;
        self.poller.watch(pidfd, Ready::Death(who.serial))?;
        self.poller.watch(socket, Ready::SocketClosed(who.serial))?;
        self.poller.watch(doorbell, Ready::Doorbell)?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        socket.try_send(self.welcome(who, files).as_bytes(), &borrowed)?;
        crash_point!("attach.descriptors_sent");
        Ok(rings)
    }

    // r[impl attach.refused]
    fn check_hello(
        &self,
        socket: &AttachSocket,
        record: &[u8],
        received: Received,
    ) -> Result<Accepted, Refusal> {
        let (hello, role) = Hello::parse(record)?;
        if self.leaving {
            return Err(Refusal::Leaving);
        }
        self.check_room()?;
        let credentials = received.credentials;
        let uid = credentials.uid;
        self.core.options.allowed.check(&credentials).map_err(|_| Refusal::NotAllowed {
            uid: uid.into(),
            expected: rustix::process::geteuid().as_raw().into(),
        })?;
        let count = received.descriptors.len();
        let [pidfd, doorbell] = <[OwnedFd; HELLO_DESCRIPTORS]>::try_from(received.descriptors)
            .map_err(|_| malformed(hello_field::DESCRIPTOR_COUNT, count))?;
        let pidfd = Pidfd::from_fd(pidfd).map_err(|_| malformed(hello_field::PIDFD, 0))?;
        // Anything else that can be watched might answer a look with a wait.
        if !is_eventfd(&doorbell) {
            return Err(malformed(hello_field::DOORBELL, 1));
        }
        let process = name_process(socket, &pidfd, credentials.pid)?;
        Ok(Accepted { hello, role, uid, process, pidfd, doorbell })
    }

    /// Whether one more guest may come. A place that is reserved is as good as taken; whoever claims
    /// one is not counted twice, because its greeting is over.
    // r[impl attach.guests_max]
    // r[impl attach.reserved_counts]
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        let linked = self.peers.iter().filter(|peer| peer.is_linked()).count();
        let reserved = self.greetings.iter().filter(|greeting| greeting.deadline.is_none()).count();
        let guests = (linked + reserved) as u64;
        let guests_max = u64::from(self.core.options.guests_max);
        if guests < guests_max { Ok(()) } else { Err(Refusal::Full { guests, guests_max }) }
    }

    /// Every attach gets a serial that was never used before; the header knows it first.
    // r[impl attach.serial]
    fn next_serial(&mut self) -> Result<Serial, Refusal> {
        let serial = self.core.control.serial_last() + 1;
        match Serial::try_from(serial) {
            Ok(serial) if serial <= SERIAL_MAX => {
                self.core.control.set_serial_last(serial);
                Ok(serial)
            }
            _ => Err(Refusal::SerialsUsedUp { serials: SERIAL_MAX.into() }),
        }
    }

    /// A process that comes back to this segment keeps its lease table, if it is the same process.
    // r[impl attach.lease-table]
    // r[impl crash.t5]
    fn lease_serial(&self, accepted: &Accepted, serial: Serial) -> Serial {
        let segment_id = self.core.control.segment_id();
        let is_its_own = |named: &Serial| {
            // Both processes live and have the same name, so they are one.
            self.peers.iter().any(|peer| {
                peer.who.lease_serial == *named
                    && peer.who.is_of(&accepted.process, accepted.uid)
                    && !peer.is_dead()
                    && !self.core.is_lease_table_lost(peer.who.serial)
            })
        };
        accepted.hello.lease_serial_in(segment_id).filter(is_its_own).unwrap_or(serial)
    }

    fn free_row(&self) -> Result<u32, Refusal> {
        let rows = self.core.geometry.peers_max as u32;
        (0..rows)
            .find(|row| !self.peers.iter().any(|peer| peer.who.row == *row))
            .ok_or(Refusal::Full { guests: rows.into(), guests_max: rows.into() })
    }

    fn welcome(&self, who: &Who, files: &AttachFiles) -> Welcome {
        let options = &self.core.options;
        let mut welcome = Welcome::blank();
        welcome.serial = who.serial.into();
        welcome.row = who.row.into();
        welcome.lease_serial = who.lease_serial.into();
        welcome.ring_capacity_bytes = options.ring_capacity_bytes.into();
        welcome.inline_bytes_max = options.inline_bytes_max.into();
        welcome.heartbeat_interval_ms = (options.heartbeat_interval.as_millis() as u32).into();
        welcome.control_bytes = self.core.control.layout().size_bytes.into();
        welcome.rings_bytes = files.region.size_bytes().into();
        welcome
    }

    /// Descriptors made for this guest: none shares its open file description with another.
    // r[impl attach.own_descriptors]
    fn descriptors(&self, who: &Who, files: &AttachFiles) -> Result<Vec<OwnedFd>, SystemError> {
        let mut descriptors = vec![
            reopen(&self.control_file, Access::ReadOnly)?,
            reopen(&self.pool_file, Access::ReadOnly)?,
            reopen(&files.rings, Access::ReadWrite)?,
            lock_leases(&self.dir, who.lease_serial, reopen(&files.leases, Access::ReadWrite)?)?,
        ];
        if who.role == Role::Writer {
            descriptors.push(reopen(&self.pool_file, Access::ReadWrite)?);
        }
        Ok(descriptors)
    }

    fn enter(&mut self, entry: Entry, socket: AttachSocket) {
        let Entry { who, pidfd, doorbell, rings } = entry;
        self.core.counters.attached += 1;
        tracing::info!(serial = who.serial, pid = who.process.pid, role = ?who.role, "guest attached");
        self.core.tell(HostEvent::Attached { serial: who.serial, pid: who.process.pid });
        self.peers.push(Peer {
            who,
            pidfd: Some(pidfd),
            link: Some(Link::new(socket, doorbell, rings)),
            state: PeerState::Attached,
            suspected: None,
            stock: Vec::new(),
            heartbeat_seen: 0,
            heartbeat_tick: self.core.tick,
            ended: None,
            settles: false,
            quiet_turns: 0,
        });
    }
}

/// What a later host has to know. Without the start time it could not tell this process from
/// another one of its id.
fn peer_fields(who: &Who) -> Result<PeerFields, ProcessError> {
    Ok(PeerFields {
        serial: who.serial,
        state: PeerState::Attached,
        attached: true,
        role: who.role,
        pid: who.process.pid,
        process_inode: who.process.inode,
        start_time_ticks: match who.process.pid {
            0 => 0,
            pid => process::start_time_ticks(pid)?,
        },
        boot_id: process::boot_id()?,
        uid: who.uid,
        lease_serial: who.lease_serial,
        suspicion: None,
    })
}

/// Names the process that says hello, which must be the one of the pidfd that it sent: both have the
/// same process id, or, where it has none in the host's PID namespace, the kernel says that the pidfd's
/// process made the connection.
// r[impl attach.namespaces]
fn name_process(
    socket: &AttachSocket,
    pidfd: &Pidfd,
    sender: Option<u32>,
) -> Result<ProcessName, Refusal> {
    let named = pidfd.pid().ok().flatten();
    let inode = pidfd.inode().ok().flatten();
    let name = |pid| ProcessName { pid, inode: inode.unwrap_or(0) };
    match sender {
        Some(pid) if named == Some(pid) => return Ok(name(pid)),
        // A sender that has a number here, and another one than the pidfd, tells a lie; unless this
        // process reads its numbers in a /proc of another namespace.
        Some(_) if proc_is_ours() => {}
        _ => {
            let connected = socket.peer_pidfd().ok().flatten();
            let connected = connected.and_then(|pidfd| pidfd.inode().ok().flatten());
            if inode.is_some() && inode == connected {
                return Ok(name(0));
            }
        }
    }
    let (named, sender) = (named.unwrap_or(0).into(), sender.unwrap_or(0).into());
    Err(Refusal::WrongPidfd { named, sender })
}

/// Whether `/proc` tells of processes by the numbers that they have in our PID namespace.
fn proc_is_ours() -> bool {
    let own = Pidfd::of_self().and_then(|pidfd| pidfd.pid());
    own.is_ok_and(|pid| pid == Some(std::process::id()))
}

fn malformed(field: u64, value: usize) -> Refusal {
    Refusal::Malformed { field, value: value as u64 }
}

fn is_eventfd(descriptor: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

/// What the host ran out of goes into its log; the guest learns the system's error number.
fn out_of(error: Box<dyn Error>) -> Refusal {
    tracing::warn!(%error, "an attach could not be completed");
    let mut source: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = source {
        if let Some(errno) = error.downcast_ref::<Errno>() {
            return Refusal::Resources { errno: errno.raw_os_error().unsigned_abs().into() };
        }
        source = error.source();
    }
    Refusal::Resources { errno: 0 }
}
