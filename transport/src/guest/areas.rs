//! The mapped areas of an attach, each checked before it is used.

use super::error::Torn;
use crate::Serial;
use crate::control::{ControlError, ControlReader, HeaderError, read_geometry};
use crate::error::Corrupt;
use crate::format::{
    CLASSES_MAX, POOL_MAGIC, PoolHeader, RingsHeader, Role, TOUCH_ENTRIES_MAX, TOUCH_ENTRIES_MIN,
};
use crate::layout::{ControlLayout, Geometry, RingsLayout};
use crate::touch::{TouchLog, is_touch_entries};
use crate::wire::Welcome;
use onecopy_shm::error::{GuardError, LeaseTableError, MapError, RegionError};
use onecopy_shm::{Access, Consumer, Mapping, Producer, Region, RingError, Word, sigbus};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why an area that the host handed out cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AreaError {
    /// More or fewer descriptors than this role gets.
    #[error("the host sent {found} descriptors, expected {expected}")]
    Descriptors {
        /// How many came.
        found: usize,
        /// How many this role gets.
        expected: usize,
    },
    /// The file could not be asked for its size and identity.
    #[error("cannot examine the {area} area: {source}")]
    Examine {
        /// Which area.
        area: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The file is smaller than what has to be real in it.
    #[error("the {area} area has {found_bytes} bytes, expected at least {expected_bytes}")]
    TooSmall {
        /// Which area.
        area: &'static str,
        /// Bytes the file has.
        found_bytes: u64,
        /// Bytes that have to be real.
        expected_bytes: u64,
    },
    /// The file could not be mapped.
    #[error("cannot map the {area} area: {source}")]
    Map {
        /// Which area.
        area: &'static str,
        /// Why not.
        source: MapError,
    },
    /// The mapping could not be guarded against the file being cut.
    #[error("cannot guard the {area} area: {source}")]
    Guard {
        /// Which area.
        area: &'static str,
        /// Why not.
        source: GuardError,
    },
    /// The control area is not one that this build can use.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The control area does not have the size that follows from its geometry.
    #[error("the host speaks of {found_bytes} bytes of control area, expected {expected_bytes}")]
    ControlSize {
        /// What the host said.
        found_bytes: u64,
        /// What follows from the geometry.
        expected_bytes: u64,
    },
    /// The tables of the control area could not be viewed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The pool is not this segment's.
    #[error(
        "the pool begins with {magic:#018x} and names segment {found:#034x}, expected {expected:#034x}"
    )]
    ForeignPool {
        /// First word of the pool.
        magic: u64,
        /// The segment it names.
        found: u128,
        /// The segment that the control area names.
        expected: u128,
    },
    /// The rings are not this attach's.
    #[error(
        "the rings are of attach {found_serial} with {found_capacity_bytes} bytes each, expected {serial} and {capacity_bytes}"
    )]
    ForeignRings {
        /// Serial in the rings' header.
        found_serial: u64,
        /// Capacity in the rings' header, in bytes.
        found_capacity_bytes: u64,
        /// Serial of this attach.
        serial: Serial,
        /// Capacity that the host said, in bytes.
        capacity_bytes: u32,
    },
    /// No touch log has so many entries.
    #[error(
        "the touch log has {entries} entries in each shard, expected a power of two from \
         {TOUCH_ENTRIES_MIN} to {TOUCH_ENTRIES_MAX}"
    )]
    TouchEntries {
        /// Entries that the rings' header says.
        entries: u64,
    },
    /// The rings could not be used.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A window lies outside of its area.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The lease table could not be used.
    #[error(transparent)]
    Leases(#[from] LeaseTableError),
    /// The lease table has more cells than can be numbered.
    #[error("the segment's lease tables have {leases_max} cells, at most {most}")]
    LeasesMax {
        /// Cells that the geometry says.
        leases_max: u64,
        /// Cells that can be numbered.
        most: u32,
    },
    /// The peer table does not have this attach where the host says.
    #[error("row {row} of the peer table is of attach {found:?}, expected {serial}")]
    PeerRow {
        /// The row.
        row: u32,
        /// The serial that is there, if the row is taken.
        found: Option<Serial>,
        /// Serial of this attach.
        serial: Serial,
    },
    /// The peer table holds what no host writes.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Tells files apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// A mapped area and the file it is of.
#[derive(Clone, Debug)]
pub(super) struct Area {
    mapping: Arc<Mapping>,
    file: FileId,
}

impl Area {
    /// Maps an area of which `real_bytes` must be there.
    pub(super) fn map(
        area: &'static str,
        descriptor: &OwnedFd,
        size_bytes: u64,
        real_bytes: u64,
        access: Access,
    ) -> Result<Area, AreaError> {
        let file = check_file(area, descriptor, real_bytes)?;
        let mapping = Mapping::map(descriptor, size_bytes, access)
            .map_err(|source| AreaError::Map { area, source })?;
        Ok(Area { mapping, file })
    }

    /// The area of an earlier attach, if it is of the same file: what is mapped stays where it is.
    // r[impl guest.reattach.mappings]
    fn keep(
        area: &'static str,
        earlier: Option<&Area>,
        descriptor: &OwnedFd,
        (size_bytes, access, guard): (u64, Access, bool),
    ) -> Result<Area, AreaError> {
        let file = check_file(area, descriptor, 0)?;
        let same = |area: &&Area| {
            area.file == file && area.mapping.size_bytes() == size_bytes && !area.mapping.is_torn()
        };
        if let Some(area) = earlier.filter(same) {
            return Ok(area.clone());
        }
        let mapped = Area::map(area, descriptor, size_bytes, 0, access)?;
        if guard {
            mapped.mapping.guard().map_err(|source| AreaError::Guard { area, source })?;
        }
        Ok(mapped)
    }

    pub(super) fn region(&self) -> Result<Region, AreaError> {
        Ok(self.mapping.region(0, self.mapping.size_bytes())?)
    }
}

fn check_file(
    area: &'static str,
    descriptor: &OwnedFd,
    real_bytes: u64,
) -> Result<FileId, AreaError> {
    let stat =
        rustix::fs::fstat(descriptor).map_err(|source| AreaError::Examine { area, source })?;
    let found_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    if found_bytes < real_bytes {
        return Err(AreaError::TooSmall { area, found_bytes, expected_bytes: real_bytes });
    }
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// The descriptors that came with a welcome, by what they are of.
pub(super) struct Descriptors {
    control: OwnedFd,
    pool: OwnedFd,
    rings: OwnedFd,
    pub(super) leases: OwnedFd,
    pool_writable: Option<OwnedFd>,
}

impl Descriptors {
    pub(super) fn new(received: Vec<OwnedFd>, role: Role) -> Result<Descriptors, AreaError> {
        let expected = if role == Role::Writer { 5 } else { 4 };
        let found = received.len();
        let mut received = received.into_iter();
        let mut next = || received.next().ok_or(AreaError::Descriptors { found, expected });
        let (control, pool, rings, leases) = (next()?, next()?, next()?, next()?);
        let pool_writable = if role == Role::Writer { Some(next()?) } else { None };
        if found != expected {
            return Err(AreaError::Descriptors { found, expected });
        }
        Ok(Descriptors { control, pool, rings, leases, pool_writable })
    }
}

/// The areas that outlive an attach: a later one to the same segment keeps them.
#[derive(Clone, Debug)]
pub(super) struct Areas {
    control: Area,
    pool: Area,
    pool_writable: Option<Area>,
}

/// The pool as this guest sees it.
#[derive(Clone, Debug)]
pub(super) struct PoolViews {
    /// For what it leases, and for answers in slots.
    pub(super) read: Region,
    /// For its own grants, if it is a writer.
    pub(super) write: Option<Region>,
}

impl Areas {
    /// Maps control and pool, or keeps the earlier attach's mappings of the same files.
    // r[impl guest.attach.checked]
    pub(super) fn open(
        descriptors: &Descriptors,
        welcome: &Welcome,
        earlier: Option<&Areas>,
        guard: bool,
    ) -> Result<(Areas, ControlReader, u128), AreaError> {
        let control_bytes = welcome.control_bytes.get();
        let head_bytes = ControlLayout::CLASSES_OFFSET + CLASSES_MAX as u64 * 8;
        check_file("control", &descriptors.control, head_bytes)?;
        let control = Area::keep(
            "control",
            earlier.map(|areas| &areas.control),
            &descriptors.control,
            (control_bytes, Access::ReadOnly, guard),
        )?;
        let (geometry, segment_id) = read_geometry(&control.mapping)?;
        let layout = ControlLayout::new(&geometry);
        if layout.size_bytes != control_bytes {
            let expected_bytes = layout.size_bytes;
            return Err(AreaError::ControlSize { found_bytes: control_bytes, expected_bytes });
        }
        check_file("control", &descriptors.control, layout.slots)?;
        let (pool, pool_writable) = open_pool(descriptors, &geometry, earlier, guard)?;
        check_pool(&pool, segment_id)?;
        let reader = ControlReader::new(Arc::clone(&control.mapping), geometry)?;
        check_published(&descriptors.pool, reader.pool_bytes())?;
        Ok((Areas { control, pool, pool_writable }, reader, segment_id))
    }

    /// That nothing of control and pool is known to have been lost. Asked after reading: then what was
    /// read was the files'.
    // r[impl guest.torn]
    #[inline]
    pub(super) fn check_intact(&self) -> Result<(), Torn> {
        if sigbus::tears() == 0 { Ok(()) } else { self.find_torn() }
    }

    #[cold]
    fn find_torn(&self) -> Result<(), Torn> {
        if self.control.mapping.is_torn() {
            return Err(Torn { area: "control" });
        }
        let writable = self.pool_writable.as_ref().is_some_and(|area| area.mapping.is_torn());
        if writable || self.pool.mapping.is_torn() {
            return Err(Torn { area: "pool" });
        }
        Ok(())
    }

    pub(super) fn pool_views(&self) -> Result<PoolViews, AreaError> {
        let write = self.pool_writable.as_ref().map(Area::region).transpose()?;
        Ok(PoolViews { read: self.pool.region()?, write })
    }
}

fn open_pool(
    descriptors: &Descriptors,
    geometry: &Geometry,
    earlier: Option<&Areas>,
    guard: bool,
) -> Result<(Area, Option<Area>), AreaError> {
    let size_bytes = geometry.pool_bytes_max;
    let pool = Area::keep(
        "pool",
        earlier.map(|areas| &areas.pool),
        &descriptors.pool,
        (size_bytes, Access::ReadOnly, guard),
    )?;
    let pool_writable = match &descriptors.pool_writable {
        Some(descriptor) => Some(Area::keep(
            "pool",
            earlier.and_then(|areas| areas.pool_writable.as_ref()),
            descriptor,
            (size_bytes, Access::ReadWrite, guard),
        )?),
        None => None,
    };
    Ok((pool, pool_writable))
}

/// A pool that somebody has cut has lost published blocks. A device tells no size.
fn check_published(pool: &OwnedFd, published_bytes: u64) -> Result<(), AreaError> {
    let stat =
        rustix::fs::fstat(pool).map_err(|source| AreaError::Examine { area: "pool", source })?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        check_file("pool", pool, published_bytes)?;
    }
    Ok(())
}

fn check_pool(pool: &Area, expected: u128) -> Result<(), AreaError> {
    let word = |offset: usize| {
        Ok::<_, RegionError>(
            pool.mapping.region(0, 64)?.read_word(offset as u64)?.load(Ordering::Relaxed),
        )
    };
    let magic = word(offset_of!(PoolHeader, magic))?;
    let low = word(offset_of!(PoolHeader, segment_id_low))?;
    let high = word(offset_of!(PoolHeader, segment_id_high))?;
    let found = u128::from(high) << 64 | u128::from(low);
    if magic == POOL_MAGIC && found == expected {
        Ok(())
    } else {
        Err(AreaError::ForeignPool { magic, found, expected })
    }
}

/// The rings of one attach, ready for use.
pub(super) struct Rings {
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    pub(super) asleep: Word,
    pub(super) heartbeat: Word,
    pub(super) touches: TouchLog,
}

impl Rings {
    pub(super) fn open(descriptors: &Descriptors, welcome: &Welcome) -> Result<Rings, AreaError> {
        let size_bytes = welcome.rings_bytes.get();
        let rings =
            Area::map("rings", &descriptors.rings, size_bytes, size_bytes, Access::ReadWrite)?;
        let region = rings.region()?;
        let (serial, capacity_bytes) = (welcome.serial.get(), welcome.ring_capacity_bytes.get());
        let word = |offset: usize| region.word(offset as u64);
        let found_serial = word(offset_of!(RingsHeader, serial))?.load(Ordering::Relaxed);
        let found_capacity_bytes =
            word(offset_of!(RingsHeader, capacity_bytes))?.load(Ordering::Relaxed);
        if found_serial != u64::from(serial) || found_capacity_bytes != u64::from(capacity_bytes) {
            return Err(AreaError::ForeignRings {
                found_serial,
                found_capacity_bytes,
                serial,
                capacity_bytes,
            });
        }
        let entries = word(offset_of!(RingsHeader, touch_entries))?.load(Ordering::Relaxed);
        if !is_touch_entries(entries) {
            return Err(AreaError::TouchEntries { entries });
        }
        // In range of a u32: it was checked just now.
        let touch_entries = entries as u32;
        let layout = RingsLayout::new(capacity_bytes, touch_entries)?;
        let ring = |offset| region.subregion(offset, layout.ring_bytes);
        Ok(Rings {
            producer: Producer::new(ring(layout.requests)?, capacity_bytes)?,
            consumer: Consumer::new(ring(layout.replies)?, capacity_bytes)?,
            asleep: word(offset_of!(RingsHeader, guest_asleep))?,
            heartbeat: word(offset_of!(RingsHeader, guest_heartbeat))?,
            touches: TouchLog::new(&region, layout.touches, touch_entries)?,
        })
    }
}
