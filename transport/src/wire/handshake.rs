//! The attach handshake: a hello, and the welcome or refusal that answers it.

use crate::Serial;
use crate::format::Role;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, little_endian as le};

/// First word of every handshake record: the bytes `onecopyA`.
pub const HANDSHAKE_MAGIC: u64 = u64::from_le_bytes(*b"onecopyA");
/// A guest whose attach fails after its hello sends this byte over the socket before it closes it:
/// nothing that the host handed out is used. No other byte comes from a guest.
pub const PARTING_BYTE: u8 = 2;

/// Version of the handshake and of the transport's frames.
pub const PROTOCOL_VERSION: u32 = 2;

/// What a [`Refusal::Malformed`] says of a hello's record as a whole, and of its descriptors.
pub mod hello_field {
    /// The size of the record; its value is that size, in bytes.
    pub const RECORD_SIZE: u64 = 100;
    /// The number of descriptors; its value is how many came.
    pub const DESCRIPTOR_COUNT: u64 = 101;
    /// The descriptor that should be a pidfd; its value is its position.
    pub const PIDFD: u64 = 102;
    /// The descriptor that should be an eventfd; its value is its position.
    pub const DOORBELL: u64 = 103;
}

/// What a guest says first. Descriptors: a pidfd of itself, an eventfd of its own (non-blocking).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// [`HANDSHAKE_MAGIC`].
    pub magic: le::U64,
    /// [`PROTOCOL_VERSION`] of the guest.
    pub version: le::U32,
    /// A [`Role`] value.
    pub role: le::U32,
    /// Serial that names this process's lease table from an earlier attach, or 0.
    pub lease_serial: le::U32,
    /// 0.
    pub reserved: le::U32,
    /// The segment of that earlier attach, low half first, or 0: in another one the same serial
    /// names another lease table.
    pub segment_id: [le::U64; 2],
}

/// The host's answer to a [`Hello`]. When `refusal` is 0 the record carries descriptors:
/// control (read-only), pool (read-only), rings, leases, and for a writer the pool once more,
/// writable.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Welcome {
    /// [`HANDSHAKE_MAGIC`].
    pub magic: le::U64,
    /// [`PROTOCOL_VERSION`] of the host.
    pub version: le::U32,
    /// 0, or a [`Refusal`] code.
    pub refusal: le::U32,
    /// Two numbers that explain a refusal; see [`Refusal`].
    pub detail: [le::U64; 2],
    /// Serial of this attach.
    pub serial: le::U32,
    /// Its row in the peer table.
    pub row: le::U32,
    /// Serial that names the lease table in use.
    pub lease_serial: le::U32,
    /// Data capacity of each ring, in bytes.
    pub ring_capacity_bytes: le::U32,
    /// Payloads of at most this many bytes travel in the frame, larger ones by slot.
    pub inline_bytes_max: le::U32,
    /// A guest changes its heartbeat word at least this often, in milliseconds.
    pub heartbeat_interval_ms: le::U32,
    /// Size of the control mapping, in bytes.
    pub control_bytes: le::U64,
    /// Size of the rings file, in bytes.
    pub rings_bytes: le::U64,
}

/// Why a host refuses an attach. The two numbers of [`Welcome::detail`] are given in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The guest speaks another version.
    #[error("the host speaks protocol version {host}, this guest {guest}")]
    Version {
        /// The host's version.
        host: u64,
        /// The guest's version.
        guest: u64,
    },
    /// As many guests as the segment was started for.
    #[error("the host serves {guests} guests and takes at most {guests_max} (see guests_max)")]
    Full {
        /// Guests attached now.
        guests: u64,
        /// The most the host takes.
        guests_max: u64,
    },
    /// The user is not on the allow list.
    #[error("user {uid} is not allowed to attach, expected user {expected}")]
    NotAllowed {
        /// The guest's user id.
        uid: u64,
        /// The host's user id.
        expected: u64,
    },
    /// The host is on its way out.
    #[error("the host is leaving")]
    Leaving,
    /// The hello was not one: wrong magic, role, size or descriptors.
    #[error("the host could not read this guest's hello (field {field}, value {value})")]
    Malformed {
        /// Which field, counted from 0, or one of [`hello_field`].
        field: u64,
        /// What it held.
        value: u64,
    },
    /// The pidfd does not belong to the process that sent it.
    #[error("the pidfd names process {named}, the record came from process {sender}")]
    WrongPidfd {
        /// Process that the pidfd names.
        named: u64,
        /// Process that sent the record.
        sender: u64,
    },
    /// The host could not make the files or descriptors of this attach.
    #[error("the host ran out of room, files or memory for this attach, as its log says: {}",
        std::io::Error::from_raw_os_error(i32::try_from(*errno).unwrap_or(0)))]
    Resources {
        /// The system's error number.
        errno: u64,
    },
    /// All serials have been used.
    #[error("this segment has given out all of its {serials} serials")]
    SerialsUsedUp {
        /// How many there are.
        serials: u64,
    },
}

impl Refusal {
    /// Code and numbers as they travel.
    pub fn encode(self) -> (u32, [u64; 2]) {
        match self {
            Refusal::Version { host, guest } => (1, [host, guest]),
            Refusal::Full { guests, guests_max } => (2, [guests, guests_max]),
            Refusal::NotAllowed { uid, expected } => (3, [uid, expected]),
            Refusal::Leaving => (4, [0, 0]),
            Refusal::Malformed { field, value } => (5, [field, value]),
            Refusal::WrongPidfd { named, sender } => (6, [named, sender]),
            Refusal::Resources { errno } => (7, [errno, 0]),
            Refusal::SerialsUsedUp { serials } => (8, [serials, 0]),
        }
    }

    /// The refusal that travelled as `code`; `None` for a code this build does not know.
    pub fn decode(code: u32, [first, second]: [u64; 2]) -> Option<Refusal> {
        Some(match code {
            1 => Refusal::Version { host: first, guest: second },
            2 => Refusal::Full { guests: first, guests_max: second },
            3 => Refusal::NotAllowed { uid: first, expected: second },
            4 => Refusal::Leaving,
            5 => Refusal::Malformed { field: first, value: second },
            6 => Refusal::WrongPidfd { named: first, sender: second },
            7 => Refusal::Resources { errno: first },
            8 => Refusal::SerialsUsedUp { serials: first },
            _ => return None,
        })
    }
}

impl Hello {
    /// A hello of this build. `lease_serial` names the lease table of an earlier attach to the
    /// segment `segment_id`; both are 0 at the first attach.
    pub fn new(role: Role, lease_serial: Serial, segment_id: u128) -> Hello {
        Hello {
            magic: HANDSHAKE_MAGIC.into(),
            version: PROTOCOL_VERSION.into(),
            role: (role.bits() as u32).into(),
            lease_serial: lease_serial.into(),
            reserved: 0.into(),
            segment_id: [segment_id as u64, (segment_id >> 64) as u64].map(le::U64::new),
        }
    }

    /// The lease table that the guest asks to go on with in the segment `segment_id`, if any.
    pub fn lease_serial_in(&self, segment_id: u128) -> Option<Serial> {
        let [low, high] = self.segment_id.map(le::U64::get);
        let same = u128::from(high) << 64 | u128::from(low) == segment_id;
        Some(self.lease_serial.get()).filter(|&serial| same && serial != 0)
    }

    /// Reads and checks a record that a guest sent.
    // r[impl attach.hello_checked]
    pub fn parse(record: &[u8]) -> Result<(Hello, Role), Refusal> {
        let malformed = |field: u64, value: u64| Refusal::Malformed { field, value };
        let hello = Hello::try_read_from_bytes(record)
            .map_err(|_| malformed(hello_field::RECORD_SIZE, record.len() as u64))?;
        if hello.magic.get() != HANDSHAKE_MAGIC {
            return Err(malformed(0, hello.magic.get()));
        }
        if hello.version.get() != PROTOCOL_VERSION {
            return Err(Refusal::Version {
                host: PROTOCOL_VERSION.into(),
                guest: hello.version.get().into(),
            });
        }
        let role =
            Role::decode(hello.role.get().into()).ok_or(malformed(2, hello.role.get().into()))?;
        Ok((hello, role))
    }
}

impl Welcome {
    /// A record that refuses.
    pub fn refused(refusal: Refusal) -> Welcome {
        let (code, detail) = refusal.encode();
        let mut welcome = Welcome::blank();
        welcome.refusal = code.into();
        welcome.detail = detail.map(le::U64::new);
        welcome
    }

    /// A record with magic and version and nothing else.
    pub fn blank() -> Welcome {
        let mut welcome = Welcome::new_zeroed_record();
        welcome.magic = HANDSHAKE_MAGIC.into();
        welcome.version = PROTOCOL_VERSION.into();
        welcome
    }

    fn new_zeroed_record() -> Welcome {
        use zerocopy::FromZeros;
        Welcome::new_zeroed()
    }
}
