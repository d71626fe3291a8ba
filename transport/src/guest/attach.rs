//! Becoming a guest: the handshake, and what is built from what the host hands out.

use super::areas::{AreaError, Areas, Descriptors, Rings};
use super::clones::Leases;
use super::closing::Closing;
use super::desk::Desk;
use super::error::{Forked, LinkEnd};
use super::growth::Growth;
use super::kept::KeptSlots;
use super::lease_area::open_leases;
use super::link::{Attached, Heartbeat, Link, LinkParts, LinkState};
use super::magazine::{Bounds, Magazines};
use super::parker::Parked;
use super::pending::PendingTable;
use super::populate::{Populated, populate_slot_table};
use super::pulse::Pulse;
use super::slots::SlotDirectory;
use super::succession::Succession;
use super::watcher::{Watch, Watcher};
use super::{Guest, GuestOptions, Inner};
use crate::Serial;
use crate::control::ControlReader;
use crate::process::{Pidfd, ProcessError};
use crate::segment::{PathError, SegmentPath};
use crate::socket::{AttachSocket, ConnectError, ReceiveError, SendError, SocketError};
use crate::touch::TouchLog;
use crate::wire::{HANDSHAKE_MAGIC, Hello, PARTING_BYTE, PROTOCOL_VERSION, Refusal, Welcome};
use onecopy_shm::crash_point;
use onecopy_shm::error::ForkGuardError;
use onecopy_shm::{Consumer, ForkGuard, Producer, Sleeper, SpinBudget, Waker, Word};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::mem::size_of;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

/// Most descriptors that come with a welcome.
const DESCRIPTORS_MAX: usize = 5;

/// Why a process did not become a guest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The segment's path cannot be one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no host to be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The socket to claim is none.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The hello could not be sent.
    #[error("the hello was not sent: {0}")]
    Send(#[from] SendError),
    /// No welcome came.
    #[error("no welcome came: {0}")]
    Receive(#[from] ReceiveError),
    /// The welcome was not one.
    #[error("the host's welcome has {length} bytes, magic {magic:#018x}, version {version}")]
    Malformed {
        /// Length of the record, in bytes.
        length: usize,
        /// Its first word.
        magic: u64,
        /// The version it says.
        version: u32,
    },
    /// The host refused.
    #[error("the host refused the attach: {0}")]
    Refused(#[from] Refusal),
    /// The host refused for a reason that this build does not know.
    #[error("the host refused the attach with code {code}, which this build does not know")]
    UnknownRefusal {
        /// The code.
        code: u32,
    },
    /// What the host handed out cannot be used.
    #[error(transparent)]
    Area(#[from] AreaError),
    /// No pidfd of this process could be made.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// No eventfd could be made.
    #[error("cannot make an eventfd: {0}")]
    Doorbell(Errno),
    /// The inherited socket could not be kept from programs that this process will start; the number
    /// may be that of no descriptor.
    #[error("cannot set close-on-exec on the inherited socket: {0}")]
    KeepFromExec(Errno),
    /// A forked child could not be told apart.
    #[error(transparent)]
    ForkGuard(#[from] ForkGuardError),
    /// The watcher could not be started.
    #[error("cannot start the watcher thread: {0}")]
    Watcher(#[source] std::io::Error),
    /// No socket was inherited.
    #[error("no socket to claim: {variable} is {found:?}, expected the number of a descriptor")]
    NothingToClaim {
        /// The environment variable.
        variable: &'static str,
        /// What it held.
        found: Option<String>,
    },
    /// The host names a lease table that is not this attach's to use.
    #[error(
        "the host names lease table {found}, expected that of this attach, {serial}, \
         or the one asked for, {asked:?}"
    )]
    ForeignLeases {
        /// Serial of the lease table that the host names.
        found: Serial,
        /// Serial of this attach.
        serial: Serial,
        /// Serial of the table that this process has for the segment, if it asked for that.
        asked: Option<Serial>,
    },
    /// Another thread was attaching anew and had not done it at the deadline.
    #[error("another thread was attaching anew until the deadline")]
    Underway,
    /// The link ended before the new attach had taken over what this process uses.
    #[error("the new attach ended before it was complete: {0}")]
    Ended(LinkEnd),
    /// The handle was used in a forked child.
    #[error(transparent)]
    Forked(#[from] Forked),
}

/// What an attach takes over from an earlier one.
pub(super) struct Earlier<'a> {
    pub(super) areas: &'a Areas,
    pub(super) leases: &'a Arc<Leases>,
    pub(super) kept: &'a Arc<KeptSlots>,
    pub(super) lease_serial: Serial,
    pub(super) growth: &'a Growth,
    pub(super) segment_id: u128,
}

/// What a hello brought.
struct Welcomed {
    welcome: Welcome,
    descriptors: Vec<OwnedFd>,
}

impl Guest {
    /// Attaches to the segment that `options` name.
    ///
    /// # Errors
    /// [`AttachError`]: no host, refused, or areas that this build cannot use.
    pub fn attach(options: GuestOptions) -> Result<Guest, AttachError> {
        let deadline = Instant::now() + options.attach_deadline;
        let socket = connect(&options, deadline)?;
        attach_over(socket, options, deadline, None)
    }

    /// Attaches over a socket that the host has reserved for this process.
    ///
    /// # Errors
    /// As for [`Guest::attach`].
    // r[impl guest.claim]
    pub fn claim(socket: OwnedFd, options: GuestOptions) -> Result<Guest, AttachError> {
        let deadline = Instant::now() + options.attach_deadline;
        attach_over(AttachSocket::from_fd(socket)?, options, deadline, None)
    }

    /// Attaches in the place of an earlier attach.
    pub(super) fn attach_after(
        options: &GuestOptions,
        deadline: Instant,
        earlier: Earlier<'_>,
    ) -> Result<Guest, AttachError> {
        let socket = connect(options, deadline)?;
        attach_over(socket, options.clone(), deadline, Some(earlier))
    }
}

fn connect(options: &GuestOptions, deadline: Instant) -> Result<AttachSocket, AttachError> {
    let path = SegmentPath::new(&options.segment)?;
    Ok(AttachSocket::connect(&path, deadline)?)
}

// r[impl crash.t3]
fn attach_over(
    socket: AttachSocket,
    options: GuestOptions,
    deadline: Instant,
    earlier: Option<Earlier<'_>>,
) -> Result<Guest, AttachError> {
    let fork = ForkGuard::new()?;
    let hello = match &earlier {
        Some(earlier) => Hello::new(options.role, earlier.lease_serial, earlier.segment_id),
        None => Hello::new(options.role, 0, 0),
    };
    let socket = Arc::new(socket);
    let doorbell = say_hello(&socket, &hello, deadline)?;
    let entered = enter(fork, &socket, doorbell, options, deadline, earlier);
    if entered.is_err() {
        // Else the host would wait for the end of this process. One that refused has gone already.
        let _ = socket.send_byte(PARTING_BYTE);
    }
    entered
}

/// Takes the answer to the hello, and what comes with it, into use.
// r[impl attach.given_up]
fn enter(
    fork: ForkGuard,
    socket: &Arc<AttachSocket>,
    doorbell: OwnedFd,
    options: GuestOptions,
    deadline: Instant,
    earlier: Option<Earlier<'_>>,
) -> Result<Guest, AttachError> {
    let welcomed = receive_welcome(socket, deadline)?;
    let welcome = welcomed.welcome;
    let descriptors = Descriptors::new(welcomed.descriptors, options.role)?;
    let earlier_areas = earlier.as_ref().map(|earlier| earlier.areas);
    let (areas, control, segment_id) =
        Areas::open(&descriptors, &welcome, earlier_areas, options.guard)?;
    let same = earlier.filter(|earlier| earlier.segment_id == segment_id);
    check_row(&control, &welcome)?;
    let (leases, kept) = take_leases(&descriptors, &control, &welcome, same.as_ref())?;
    let growth = Arc::new(Growth::new(control.clone()));
    if let Some(earlier) = &same {
        growth.take_over(earlier.growth);
    }
    let row = welcome.row.get();
    let no_row = AreaError::PeerRow { row, found: None, serial: welcome.serial.get() };
    let word = control.attached(row.into()).ok_or(no_row)?;
    let attached = Attached::new(word, welcome.serial.get());
    let rings = Rings::open(&descriptors, &welcome)?;
    let fittings = Fittings {
        areas: &areas,
        control: &control,
        growth: &growth,
        options: &options,
        welcome: &welcome,
    };
    let pool = areas.pool_views()?;
    let is_real = control.memory().map_err(AreaError::from)?.prefault;
    let populates = options.populate.unwrap_or(is_real);
    if populates {
        populate_slot_table(&control);
    }
    let writable = pool.write.clone().filter(|_| populates);
    let populated = writable.map(|view| Populated::new(view, is_real)).transpose()?;
    // Last: the watcher is a thread that would have to be stopped.
    let (link, touches, watcher) = fittings.link(rings, attached, Arc::clone(socket), doorbell)?;
    crash_point!("attach.done");
    Ok(Guest {
        inner: Arc::new(Inner {
            fork,
            serial: welcome.serial.get(),
            role: options.role,
            inline_bytes_max: welcome.inline_bytes_max.get(),
            options,
            segment_id,
            control,
            areas,
            pool,
            populated,
            leases,
            kept,
            lease_serial: welcome.lease_serial.get(),
            growth,
            link,
            touches,
            slots_seen: AtomicU64::new(0),
            closing: Closing::new(),
            succession: Succession::default(),
            watcher: Mutex::new(watcher),
            text_turn: Mutex::new(()),
        }),
    })
}

/// Says hello; returns the doorbell that the host has then.
fn say_hello(
    socket: &AttachSocket,
    hello: &Hello,
    deadline: Instant,
) -> Result<OwnedFd, AttachError> {
    let pidfd = Pidfd::of_self()?;
    let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(AttachError::Doorbell)?;
    socket.send(hello.as_bytes(), &[pidfd.as_fd(), doorbell.as_fd()], deadline)?;
    crash_point!("attach.hello_sent");
    Ok(doorbell)
}

// r[impl crash.t2]
fn receive_welcome(socket: &AttachSocket, deadline: Instant) -> Result<Welcomed, AttachError> {
    let mut record = [0; size_of::<Welcome>()];
    let received = socket.receive(&mut record, DESCRIPTORS_MAX, deadline)?;
    let welcome = check_welcome(&record[..received.length.min(record.len())])?;
    crash_point!("attach.descriptors_taken");
    Ok(Welcomed { welcome, descriptors: received.descriptors })
}

// r[impl guest.attach.refused]
fn check_welcome(record: &[u8]) -> Result<Welcome, AttachError> {
    let malformed =
        |magic, version| AttachError::Malformed { length: record.len(), magic, version };
    let welcome = Welcome::read_from_bytes(record).map_err(|_| malformed(0, 0))?;
    let (magic, version) = (welcome.magic.get(), welcome.version.get());
    if magic != HANDSHAKE_MAGIC {
        return Err(malformed(magic, version));
    }
    // A refusal is read first: it may be about the version.
    if welcome.refusal.get() != 0 {
        let code = welcome.refusal.get();
        let refusal = Refusal::decode(code, welcome.detail.map(|number| number.get()));
        return Err(refusal.map_or(AttachError::UnknownRefusal { code }, AttachError::Refused));
    }
    if version != PROTOCOL_VERSION {
        return Err(malformed(magic, version));
    }
    Ok(welcome)
}

fn check_row(control: &ControlReader, welcome: &Welcome) -> Result<(), AreaError> {
    let (row, serial) = (welcome.row.get(), welcome.serial.get());
    let found = control.peer(row.into())?.map(|peer| peer.serial);
    if found == Some(serial) { Ok(()) } else { Err(AreaError::PeerRow { row, found, serial }) }
}

/// The lease table of this process: the one it has, if the host goes on with that.
// r[impl guest.reattach.leases]
fn take_leases(
    descriptors: &Descriptors,
    control: &ControlReader,
    welcome: &Welcome,
    earlier: Option<&Earlier<'_>>,
) -> Result<(Arc<Leases>, Arc<KeptSlots>), AttachError> {
    let (found, serial) = (welcome.lease_serial.get(), welcome.serial.get());
    if let Some(earlier) = earlier.filter(|earlier| earlier.lease_serial == found) {
        return Ok((Arc::clone(earlier.leases), Arc::clone(earlier.kept)));
    }
    // Any other table may be in use by another handle of this process: two that write one table
    // overwrite each other's leases.
    if found != serial {
        let asked = earlier.map(|earlier| earlier.lease_serial);
        return Err(AttachError::ForeignLeases { found, serial, asked });
    }
    let geometry = control.geometry();
    let table = open_leases(descriptors, geometry.leases_max, control.fences_readers())?;
    Ok((Arc::new(Leases::new(table)), Arc::new(KeptSlots::new(geometry.slots_max))))
}

/// What a link is fitted out with.
struct Fittings<'a> {
    areas: &'a Areas,
    control: &'a ControlReader,
    growth: &'a Arc<Growth>,
    options: &'a GuestOptions,
    welcome: &'a Welcome,
}

impl Fittings<'_> {
    fn link(
        &self,
        rings: Rings,
        attached: Attached,
        socket: Arc<AttachSocket>,
        doorbell: OwnedFd,
    ) -> Result<(Link, TouchLog, Option<Watcher>), AttachError> {
        let Rings { producer, consumer, asleep, heartbeat, touches } = rings;
        let pulse = Pulse::new(self.control, self.interval());
        // Asked after the look at the host's epoch: so that was the epoch of the host at the other end.
        let closed = Arc::new(AtomicBool::new(socket.is_known_closed()));
        let (heartbeat, watch) = if self.options.watcher {
            (None, Some(self.watch(Heartbeat::new(heartbeat), &socket, &closed)))
        } else {
            (Some(Heartbeat::new(heartbeat)), None)
        };
        let link = Link::new(LinkParts {
            state: self.state(producer, consumer, asleep, pulse),
            closed,
            socket,
            doorbell,
            areas: self.areas.clone(),
            control: self.control.clone(),
            attached,
            heartbeat,
            polling: self.options.polling,
        });
        let watcher = watch.map(Watcher::start).transpose().map_err(AttachError::Watcher)?;
        Ok((link, touches, watcher))
    }

    /// The host beats once in an interval, and asks its guests to.
    fn interval(&self) -> Duration {
        Duration::from_millis(self.welcome.heartbeat_interval_ms.get().into())
    }

    fn watch(
        &self,
        heartbeat: Heartbeat,
        socket: &Arc<AttachSocket>,
        closed: &Arc<AtomicBool>,
    ) -> Watch {
        Watch {
            heartbeat,
            interval: self.interval(),
            socket: Arc::clone(socket),
            closed: Arc::clone(closed),
            growth: Arc::clone(self.growth),
        }
    }

    fn state(
        &self,
        producer: Producer,
        consumer: Consumer,
        asleep: Word,
        pulse: Pulse,
    ) -> LinkState {
        let slots = SlotDirectory::new(self.control.clone());
        let bounds = Bounds {
            slots_max: self.options.magazine_slots_max,
            bytes_max: self.options.magazine_bytes_max,
        };
        let magazines = Magazines::new(slots.classes(), bounds);
        let pending = PendingTable::new(self.options.requests_max);
        let parked = Parked::default();
        LinkState {
            producer,
            consumer,
            desk: Desk { pending, magazines, slots, parked, leaving: false },
            waker: Waker::new(self.control.host_asleep()),
            sleeper: Sleeper::new(asleep),
            spin: SpinBudget::new(),
            pulse,
            has_receiver: false,
            end: None,
        }
    }
}
