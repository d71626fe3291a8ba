//! Bytes that processes share through the control area and the pool's first granule.
//!
//! Every field is a little-endian `u64`, so that each one is a single atomic word; who writes it is
//! said beside it. `spec/segment.md` draws the same layout. Ring and lease formats belong to
//! `onecopy-shm`.

use std::mem::{offset_of, size_of};

/// First word of every control area: the bytes `onecopy\0`.
pub const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"onecopy\0");
/// First word of every pool: the bytes `onepool\0`.
pub const POOL_MAGIC: u64 = u64::from_le_bytes(*b"onepool\0");
/// Version of everything in this file; a different one is refused.
pub const FORMAT_VERSION: u64 = 2;
/// Alignment of every table in the control area, in bytes.
pub const TABLE_ALIGNMENT_BYTES: u64 = 4096;
/// Most size classes a segment can have.
pub const CLASSES_MAX: usize = 256;
/// Bytes of a service's note in a slot's hot entry.
pub const NOTE_BYTES: usize = 40;
/// Bytes of a service's part of a slot's cold entry.
pub const COLD_BYTES: usize = 56;

/// The first page of the control area. Written by the host alone.
#[repr(C)]
pub struct SegmentHeader {
    /// [`CONTROL_MAGIC`], stored last when the segment is made.
    pub magic: u64,
    /// [`FORMAT_VERSION`].
    pub format_version: u64,
    /// Hash of the table offsets and entry sizes that this build uses.
    pub layout_fingerprint: u64,
    /// Low half of the segment's random id.
    pub segment_id_low: u64,
    /// High half of the segment's random id.
    pub segment_id_high: u64,
    /// Smallest slot in bytes; a power of two.
    pub granule_bytes: u64,
    /// Unit in which extents are carved, in bytes.
    pub unit_bytes: u64,
    /// Largest size the pool can ever have, in bytes.
    pub pool_bytes_max: u64,
    /// Entries of the slot table.
    pub slots_max: u64,
    /// Rows of the peer table.
    pub peers_max: u64,
    /// Bytes of the service's region.
    pub service_bytes: u64,
    /// Number of size classes in the class table.
    pub class_count: u64,
    /// Names the service that lays out the region and the notes.
    pub service_id: u64,
    /// Cells in each lease table of this segment.
    pub leases_max: u64,
    /// 1 once a host has every look through leases begin with a fence in all threads that read (see
    /// `onecopy_shm::barrier`): readers need none of their own. 0 again only when no guest lives.
    pub fences_readers: u64,
    reserved_geometry: u64,

    /// Which life of the host this is, from 1.
    pub boot_epoch: u64,
    /// A [`HostState`] value.
    pub host_state: u64,
    /// The host's process id in its own PID namespace; a hint for people.
    pub host_pid: u64,
    /// The last serial given to an attach, over all lives of the host.
    pub serial_last: u64,
    /// How this life takes memory: flags, as `memory.rs` reads them.
    pub memory_flags: u64,
    /// What it does with the memory nodes below; 0: nothing.
    pub numa_mode: u64,
    /// The memory nodes, a bit for each.
    pub numa_nodes: u64,
    /// Bytes of pool and control area that were found in huge pages when they were taken.
    pub huge_bytes: u64,

    /// Bytes of the pool that are real. Grows only.
    pub pool_bytes: u64,
    /// Slot-table entries that are real. Grows only.
    pub slots_ready: u64,
    reserved_sizes: [u64; 6],

    /// Changes at least once per heartbeat interval while the host's loop turns.
    pub host_heartbeat: u64,
    /// Seconds since the segment was made.
    pub coarse_clock_s: u64,
    /// Unix time of the segment's making, in seconds.
    pub created_unix_s: u64,
    reserved_clock: [u64; 5],

    /// Odd while the host sleeps, a new odd value for each sleep.
    pub host_asleep: u64,
    reserved_asleep: [u64; 7],
}

/// One row per peer. Written by the host alone; the only evidence about old guests that a
/// restarted host trusts.
#[repr(C)]
pub struct PeerRow {
    /// Serial of this attach; 0 means the row is free.
    pub serial: u64,
    /// A [`PeerState`] value.
    pub state: u64,
    /// The serial again while leases of this peer protect what they name; 0 once it is cut off. It
    /// names the attach, because a thread of an earlier attach may still hold this word when the row
    /// has another peer.
    pub attached: u64,
    /// A [`Role`] value.
    pub role: u64,
    /// Process id in the host's PID namespace; 0 where it has none there.
    pub pid: u64,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
    pub start_time_ticks: u64,
    /// Low half of the machine's boot id.
    pub boot_id_low: u64,
    /// High half of the machine's boot id.
    pub boot_id_high: u64,
    /// User id of the guest.
    pub uid: u64,
    /// Serial that names the lease table of this guest process.
    pub lease_serial: u64,
    /// While the peer is suspect: a [`SuspectReason`] value, or 0 where none was stored.
    pub suspect_reason: u64,
    /// While the peer is suspect: the coarse clock when it became so, in seconds.
    pub suspect_since_s: u64,
    /// Inode of the process's pidfd, or 0 where the kernel has none.
    pub process_inode: u64,
    reserved: [u64; 3],
}

/// What an extent is used for, indexed by the number of its first unit.
#[repr(C)]
pub struct ExtentEntry {
    /// Size of its slots in bytes; 0 means that no extent starts at this unit.
    pub slot_bytes: u64,
    /// Number of units it covers.
    pub unit_count: u64,
    /// Its first slot id.
    pub slot_first: u64,
    /// Number of its slots.
    pub slot_count: u64,
}

/// Hot entry of the slot table: one cache line, all that a lookup reads.
#[repr(C)]
pub struct SlotEntry {
    /// A `SlotWord`.
    pub word: u64,
    /// Offset of the slot in the pool, in bytes.
    pub offset: u64,
    /// Bytes published, at most the slot's size.
    pub length_bytes: u64,
    /// The service's note, stored before the word says `Published`.
    pub note: [u64; NOTE_BYTES / 8],
}

/// Cold entry of the slot table: what the read path does not need.
#[repr(C)]
pub struct SlotCold {
    /// Size of the slot in bytes.
    pub slot_bytes: u64,
    /// The service's part.
    pub service: [u64; COLD_BYTES / 8],
}

/// First granule of the pool: names the segment it belongs to.
#[repr(C)]
pub struct PoolHeader {
    /// [`POOL_MAGIC`].
    pub magic: u64,
    /// Low half of the segment's id.
    pub segment_id_low: u64,
    /// High half of the segment's id.
    pub segment_id_high: u64,
}

/// Control lines of `rings/<serial>`; the two rings follow at [`RINGS_REQUEST_OFFSET`], and behind
/// them the touch log.
#[repr(C)]
pub struct RingsHeader {
    /// Serial of the attach these rings belong to. Host.
    pub serial: u64,
    /// Capacity of each ring's data, in bytes. Host.
    pub capacity_bytes: u64,
    /// Entries of each shard of the touch log; a power of two. Host.
    pub touch_entries: u64,
    reserved_host: [u64; 5],
    /// Odd while the guest sleeps. Guest.
    pub guest_asleep: u64,
    reserved_asleep: [u64; 7],
    /// Changes at least once per heartbeat interval while the guest process runs. Guest.
    pub guest_heartbeat: u64,
    reserved_heartbeat: [u64; 7],
    /// Bit n: shard n of the touch log has been used. Guest.
    pub touch_shards: u64,
    reserved_touch: [u64; 7],
}

/// Head of one shard of the touch log; its entries follow. Written by the guest alone.
///
/// An entry is a `SlotRef` as one word; the one at position p is entry p modulo their number.
#[repr(C)]
pub struct TouchShard {
    /// Uses noted so far; grows, and wraps around.
    pub position: u64,
    reserved: [u64; 7],
}

/// Shards of a touch log, so that threads do not write the same cache line.
pub const TOUCH_SHARDS: usize = 8;
/// Fewest entries of a shard of the touch log: a cache line of them.
pub const TOUCH_ENTRIES_MIN: u32 = 8;
/// Most entries of a shard of the touch log.
pub const TOUCH_ENTRIES_MAX: u32 = 1 << 16;

/// Offset of the first ring (guest to host) in `rings/<serial>`.
pub const RINGS_REQUEST_OFFSET: u64 = 4096;

const _: () = {
    assert!(size_of::<SegmentHeader>() == 48 * 8);
    assert!(offset_of!(SegmentHeader, boot_epoch) == 16 * 8);
    assert!(offset_of!(SegmentHeader, pool_bytes) == 24 * 8);
    assert!(offset_of!(SegmentHeader, host_heartbeat) == 32 * 8);
    assert!(offset_of!(SegmentHeader, host_asleep) == 40 * 8);
    assert!(size_of::<PeerRow>() == 128);
    assert!(offset_of!(PeerRow, attached) == 16);
    assert!(offset_of!(PeerRow, lease_serial) == 72);
    assert!(offset_of!(PeerRow, suspect_since_s) == 88);
    assert!(size_of::<ExtentEntry>() == 32);
    assert!(size_of::<SlotEntry>() == 64);
    assert!(offset_of!(SlotEntry, note) == 24);
    assert!(size_of::<SlotCold>() == 64);
    assert!(offset_of!(SlotCold, service) == 8);
    assert!(size_of::<PoolHeader>() == 24);
    assert!(size_of::<RingsHeader>() == 4 * 64);
    assert!(offset_of!(RingsHeader, touch_entries) == 16);
    assert!(offset_of!(RingsHeader, guest_asleep) == 64);
    assert!(offset_of!(RingsHeader, guest_heartbeat) == 128);
    assert!(offset_of!(RingsHeader, touch_shards) == 192);
    assert!(size_of::<TouchShard>() == 64);
    assert!(TOUCH_SHARDS <= 64);
    assert!(TOUCH_ENTRIES_MIN as usize * 8 == size_of::<TouchShard>());
    assert!(TOUCH_ENTRIES_MIN.is_power_of_two() && TOUCH_ENTRIES_MAX.is_power_of_two());
    assert!(size_of::<RingsHeader>() as u64 <= RINGS_REQUEST_OFFSET);
};

/// Declares an enum that travels as a `u64` and refuses unknown values.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum $name { $($(#[$variant_meta])* $variant = $value,)+ }

        impl $name {
            /// The value as it is stored.
            pub const fn bits(self) -> u64 { self as u64 }

            /// The variant stored as `bits`, or `None` where no variant is.
            pub const fn decode(bits: u64) -> Option<Self> {
                match bits { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

wire_enum! {
    /// What a life of the host is doing.
    HostState {
        /// Making or recovering the segment; guests may not attach yet.
        Starting = 1,
        /// Serving.
        Serving = 2,
        /// It said goodbye; the segment is whole and has no host.
        Left = 3,
    }
}

wire_enum! {
    /// Where a peer stands.
    PeerState {
        /// The row is free.
        Vacant = 0,
        /// Descriptors are (about to be) handed out; in service.
        Attached = 1,
        /// Its heartbeat is late or its link is closed; it gets no new work.
        Suspect = 2,
        /// Proven dead, or gone with a goodbye; being recovered.
        Dead = 3,
    }
}

wire_enum! {
    /// Why a peer is suspect.
    SuspectReason {
        /// Its heartbeat word has not changed in time.
        HeartbeatLate = 1,
        /// Its end of the attach socket is closed.
        SocketClosed = 2,
        /// The host has ended its link.
        CutOff = 3,
        /// The host that it attached to is gone, and this attach is not one of the present host.
        HostReplaced = 4,
    }
}

impl std::fmt::Display for SuspectReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            SuspectReason::HeartbeatLate => "its heartbeat is late",
            SuspectReason::SocketClosed => "its socket is closed",
            SuspectReason::CutOff => "it was cut off",
            SuspectReason::HostReplaced => "it attached to an earlier host",
        })
    }
}

wire_enum! {
    /// What a guest may do.
    Role {
        /// Maps the pool read-only and never holds a grant to fill.
        Reader = 1,
        /// May reserve slots and write their bytes.
        Writer = 2,
    }
}
