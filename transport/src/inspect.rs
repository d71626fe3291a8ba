//! Looking at a segment without being its host: what it is, who is in its peer table, how its
//! memory is divided; and, for a segment without a host, the audit that a new host would make.
//!
//! Nothing is changed. A dead segment is audited on a private copy of its control area.

use crate::Serial;
use crate::audit::AuditReport;
use crate::control::{
    ControlError, ControlReader, ControlWriter, ExtentFields, HeaderError, PeerFields,
    read_geometry,
};
use crate::error::Corrupt;
use crate::format::HostState;
use crate::host::scan_of;
use crate::layout::{ControlLayout, Geometry, TablesReady};
use crate::memory::MemoryOptions;
use crate::pool::{Holding, NOBODY, PoolCounts, RecoverError, VarSlotPool};
use crate::segment::{
    AreaFile, Backing, BackingError, DirError, FileError, Foreign, LockError, SegmentDir,
    SegmentLock, SegmentPath, SegmentStatus, SystemError,
};
use crate::service::{Service, ServiceContext, ServiceError, ServiceStart, tables_ready};
use onecopy_shm::error::{MapError, RegionError};
use onecopy_shm::{Access, Mapping, SlotState, SlotWord};
use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Looks at a peer row that makes no sense before it is called corrupt.
const ROW_LOOKS: u32 = 64;

/// Why a segment could not be looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The directory cannot be opened.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The lock cannot be looked at.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Nothing but an empty directory is there.
    #[error("{path} holds no segment")]
    Empty {
        /// The directory.
        path: String,
    },
    /// Something else is there.
    #[error("this is no segment: {0}")]
    Foreign(Foreign),
    /// A file cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// Memory could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The header is not that of a segment this build can read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The control area cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A row makes no sense.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A table lies outside of the control area.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Another service made the segment.
    #[error("this segment was made for service {found:#x}, expected {expected:#x}")]
    WrongService {
        /// The service that made it.
        found: u64,
        /// The service that was to audit it.
        expected: u64,
    },
    /// The service refuses its region.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The control area has holes where its tables should be: to read them would take memory.
    #[error(
        "the control area has {real_bytes} bytes of memory, expected at least {expected_bytes}"
    )]
    Holes {
        /// Bytes of it that have memory.
        real_bytes: u64,
        /// What its header asks for, in bytes.
        expected_bytes: u64,
    },
    /// The service's region is not as large as the service lays it out.
    #[error("the service's region has {found_bytes} bytes, expected {expected_bytes}")]
    WrongRegion {
        /// What the control area says, in bytes.
        found_bytes: u64,
        /// What the service asks for, in bytes.
        expected_bytes: u64,
    },
    /// The system refused to tell about a file.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The kind of a file cannot be told.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// The control area is shorter than it says.
    #[error("the control area has {found_bytes} bytes, expected {expected_bytes}")]
    TooSmall {
        /// Its size, in bytes.
        found_bytes: u64,
        /// What its header asks for, in bytes.
        expected_bytes: u64,
    },
}

/// Extents and slots of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassUse {
    /// Extents of the class.
    pub extents: u64,
    /// Their size, in bytes.
    pub extent_bytes: u64,
    /// Slots in them.
    pub slots: u64,
}

/// What stands in a segment.
#[derive(Debug)]
pub struct Inspection {
    /// Whether a host is there.
    pub status: SegmentStatus,
    /// What never changes.
    pub geometry: Geometry,
    /// The segment's random id.
    pub segment_id: u128,
    /// Which life of the host it saw last.
    pub boot_epoch: u64,
    /// What that life was doing.
    pub host_state: Option<HostState>,
    /// Bytes of pool that are real.
    pub pool_bytes: u64,
    /// How that life takes memory.
    pub memory: MemoryOptions,
    /// Bytes of pool and control area that it found in huge pages; 0 where it asked for none.
    pub huge_bytes: u64,
    /// Last serial given to an attach.
    pub serial_last: u64,
    /// Rows of the peer table in use, with what they hold.
    pub peers: Vec<InspectedPeer>,
    /// Seconds since the segment was made, as its last host knew them.
    pub clock_s: u64,
    /// What nobody may ever use again.
    pub written_off: Holding,
    /// Use of memory by slot size, in bytes.
    pub classes: BTreeMap<u64, ClassUse>,
    /// For a segment without a host: what the next host would find.
    pub audit: Option<DeadAudit>,
}

/// One row of the peer table, and what the tables say that it holds.
#[derive(Clone, Debug)]
pub struct InspectedPeer {
    /// The row.
    pub fields: PeerFields,
    /// Slots granted to it.
    pub granted: Holding,
    /// Slots of it that wait for the proof of its death.
    pub quarantined: Holding,
    /// Leases in the lease table of its process; `None` where that cannot be read.
    pub leases: Option<u64>,
}

/// The audit of a segment without a host.
#[derive(Debug)]
pub struct DeadAudit {
    /// What is wrong, if anything.
    pub report: AuditReport,
    /// Slots and bytes by what they are used for.
    pub counts: PoolCounts,
}

/// Looks at the segment.
///
/// # Errors
/// [`InspectError`] when there is none, or it cannot be read.
// r[impl inspect.changes_nothing]
pub fn inspect<S: Service>(path: &SegmentPath, service: S) -> Result<Inspection, InspectError> {
    let dir = SegmentDir::open(path)?;
    let status = dir.classify()?;
    match &status {
        SegmentStatus::Foreign(foreign) => return Err(InspectError::Foreign(foreign.clone())),
        SegmentStatus::Fresh | SegmentStatus::Unfinished => {
            return Err(InspectError::Empty { path: path.as_path().display().to_string() });
        }
        SegmentStatus::Live { .. } | SegmentStatus::Dead => {}
    }
    // While it is looked at, a dead segment stays without a host.
    let lock = match status {
        SegmentStatus::Dead => Some(SegmentLock::try_lock(&dir)?),
        _ => None,
    };
    let (control, segment_id) = map_control(&dir, &service)?;
    let held = held(&control);
    let audit = match lock {
        Some(_) => Some(audit_copy(&control, segment_id, service)?),
        None => None,
    };
    Ok(Inspection {
        status,
        geometry: control.geometry().clone(),
        segment_id,
        boot_epoch: control.boot_epoch(),
        host_state: control.host_state()?,
        pool_bytes: control.pool_bytes(),
        memory: control.memory()?,
        huge_bytes: control.huge_bytes(),
        serial_last: control.serial_last(),
        peers: peers(&dir, &control, &held)?,
        clock_s: control.coarse_clock_s(),
        written_off: held.get(&NOBODY).map_or(Holding::default(), |held| held.quarantined),
        classes: classes(&control),
        audit,
    })
}

fn map_control(
    dir: &SegmentDir,
    service: &dyn Service,
) -> Result<(ControlReader, u128), InspectError> {
    let file = dir.open_file(AreaFile::Control, Access::ReadOnly)?;
    let stat = rustix::fs::fstat(&file).map_err(|_| FileError::NotFound {
        path: dir.path().as_path().join(AreaFile::Control.to_string()),
    })?;
    let found_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    let check = |expected_bytes| match found_bytes >= expected_bytes {
        true => Ok(()),
        false => Err(InspectError::TooSmall { found_bytes, expected_bytes }),
    };
    check(ControlLayout::HEADER_BYTES)?;
    let header = Mapping::map(&file, ControlLayout::HEADER_BYTES, Access::ReadOnly)?;
    let (geometry, segment_id) = read_geometry(&header)?;
    let size_bytes = ControlLayout::new(&geometry).size_bytes;
    check(size_bytes)?;
    let mapping = Mapping::map(&file, size_bytes, Access::ReadOnly)?;
    let control = ControlReader::new(mapping, geometry)?;
    let path = dir.path().as_path().join(AreaFile::Control.to_string());
    let expected_bytes = control.layout().real_bytes(ready(&control, service));
    match Backing::detect(&file, &path)?.real_bytes(&file)? {
        Some(real_bytes) if real_bytes < expected_bytes => {
            Err(InspectError::Holes { real_bytes, expected_bytes })
        }
        _ => Ok((control, segment_id)),
    }
}

// r[impl inspect.peers]
fn peers(
    dir: &SegmentDir,
    control: &ControlReader,
    held: &BTreeMap<Serial, Held>,
) -> Result<Vec<InspectedPeer>, Corrupt> {
    let mut peers = Vec::new();
    for row in 0..control.geometry().peers_max {
        let Some(fields) = settled_peer(control, row)? else { continue };
        let Held { granted, quarantined } = held.get(&fields.serial).copied().unwrap_or_default();
        let leases = leases(dir, control.geometry(), fields.lease_serial);
        peers.push(InspectedPeer { fields, granted, quarantined, leases });
    }
    Ok(peers)
}

/// What one owner holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    granted: Holding,
    quarantined: Holding,
}

/// What the slot table says of each owner. A word that makes no sense is for the audit to find.
// r[impl inspect.damaged]
fn held(control: &ControlReader) -> BTreeMap<Serial, Held> {
    let mut held: BTreeMap<Serial, Held> = BTreeMap::new();
    let slots = control.slots_ready().min(control.geometry().slots_max);
    for slot in 1..=u32::try_from(slots).unwrap_or(0) {
        let Ok(word) = SlotWord::decode(control.slot_word(slot)) else { continue };
        let holding = match word.state() {
            SlotState::Granted => &mut held.entry(word.owner()).or_default().granted,
            SlotState::Quarantined => &mut held.entry(word.owner()).or_default().quarantined,
            _ => continue,
        };
        // Nobody has checked the size yet.
        holding.slots += 1;
        holding.bytes = holding.bytes.saturating_add(control.slot_bytes(slot));
    }
    held
}

/// How many leases a lease table has; whoever writes it may be at it.
fn leases(dir: &SegmentDir, geometry: &Geometry, lease_serial: Serial) -> Option<u64> {
    let file = dir.open_file(AreaFile::Leases(lease_serial), Access::ReadOnly).ok()?;
    Some(scan_of(&file, geometry.leases_max, true).ok()?.count())
}

/// A row that a host may be changing at this moment is looked at again; what stays wrong is wrong.
fn settled_peer(control: &ControlReader, row: u64) -> Result<Option<PeerFields>, Corrupt> {
    let again = (0..ROW_LOOKS).map(|_| control.peer(row)).find(Result::is_ok);
    again.unwrap_or_else(|| control.peer(row))
}

// r[impl inspect.damaged]
fn classes(control: &ControlReader) -> BTreeMap<u64, ClassUse> {
    let geometry = control.geometry();
    let mut classes: BTreeMap<u64, ClassUse> = BTreeMap::new();
    for unit in 0..geometry.units_max() {
        let ExtentFields { slot_bytes, unit_count, slot_count, .. } = control.extent(unit);
        if slot_bytes != 0 {
            let class = classes.entry(slot_bytes).or_default();
            // Nobody has checked these numbers yet: the audit of a dead segment says which are wrong.
            class.extents += 1;
            let extent_bytes = unit_count.saturating_mul(geometry.unit_bytes);
            class.extent_bytes = class.extent_bytes.saturating_add(extent_bytes);
            class.slots = class.slots.saturating_add(slot_count);
        }
    }
    classes
}

/// Takes the segment over on a private copy, as a new host would, and audits what comes out.
fn audit_copy<S: Service>(
    control: &ControlReader,
    segment_id: u128,
    mut service: S,
) -> Result<DeadAudit, InspectError> {
    let geometry = control.geometry().clone();
    let (found, expected) = (geometry.service_id, service.id());
    if found != expected {
        return Err(InspectError::WrongService { found, expected });
    }
    let (found_bytes, expected_bytes) = (geometry.service_bytes, service.region_bytes(&geometry));
    if found_bytes != expected_bytes {
        return Err(InspectError::WrongRegion { found_bytes, expected_bytes });
    }
    let mapping = copy_control(control, ready(control, &service))?;
    let copy = ControlWriter::new(mapping, geometry.clone())?;
    let (mut pool, found) = match VarSlotPool::recover(copy.clone()) {
        Ok(recovered) => recovered,
        Err(error) => {
            return Ok(DeadAudit { report: unrecoverable(error), counts: PoolCounts::default() });
        }
    };
    let counts = pool.counts();
    service.start(ServiceStart {
        region: copy.service_region(),
        geometry: &geometry,
        slots_ready: copy.slots_ready(),
        slots_published: counts.published.slots,
        segment_id,
        fresh: false,
    })?;
    let mut context = ServiceContext { pool: &mut pool, clock_s: copy.coarse_clock_s() };
    for slot in found.iter().filter(|slot| slot.state == SlotState::Published) {
        service.slot_found(slot.slot, &mut context);
    }
    let mut report = AuditReport::new();
    pool.audit(&mut report);
    service.audit(&pool, &mut report);
    Ok(DeadAudit { report, counts })
}

fn unrecoverable(error: RecoverError) -> AuditReport {
    match error {
        RecoverError::Inconsistent(report) => report,
        other => {
            let mut report = AuditReport::new();
            report.find("pool.recover", format_args!("{other}"));
            report
        }
    }
}

/// What the header publishes of the tables. Of the region of another service nothing is known.
fn ready(control: &ControlReader, service: &dyn Service) -> TablesReady {
    let geometry = control.geometry();
    let slots = control.slots_ready().min(geometry.slots_max);
    match geometry.service_id == service.id() {
        true => tables_ready(service, geometry, slots),
        false => TablesReady { slots, service_bytes: 0 },
    }
}

/// Copies what the header publishes; the rest of the copy is zero.
fn copy_control(control: &ControlReader, ready: TablesReady) -> Result<Arc<Mapping>, InspectError> {
    let layout = *control.layout();
    let copy = Mapping::heap(layout.size_bytes)?;
    let target = copy.region(0, layout.size_bytes)?.words(0, layout.size_bytes / 8)?;
    let fixed = (0, layout.fixed_bytes());
    for (start, size_bytes) in iter::once(fixed).chain(layout.growing(ready)) {
        for word in start / 8..(start + size_bytes) / 8 {
            // Both have as many words as the layout says.
            let value = control.words().load(word, Ordering::Relaxed).unwrap_or(0);
            let _ = target.store(word, value, Ordering::Relaxed);
        }
    }
    Ok(copy)
}
