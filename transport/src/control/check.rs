//! Reading the header of a control area that somebody else made.

use super::places::header;
use crate::edges::MAGIC_LOAD;
use crate::error::GeometryError;
use crate::format::{CLASSES_MAX, CONTROL_MAGIC, FORMAT_VERSION, SegmentHeader};
use crate::layout::{ControlLayout, Geometry};
use onecopy_shm::Mapping;
use onecopy_shm::error::RegionError;
use std::mem::{offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why the header is not that of a segment this build can use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not a control area, or one that was never finished.
    #[error("the control area begins with {found:#018x}, expected {CONTROL_MAGIC:#018x}")]
    WrongMagic {
        /// What is there.
        found: u64,
    },
    /// Made by a build with another format.
    #[error("the control area has format version {found}, expected {expected}")]
    WrongVersion {
        /// The version that is there.
        found: u64,
        /// The version this build reads.
        expected: u64,
    },
    /// The same version, but the tables lie elsewhere.
    #[error("the control area has layout {found:#018x}, expected {expected:#018x}")]
    WrongFingerprint {
        /// The fingerprint that is there.
        found: u64,
        /// The fingerprint that follows from the geometry.
        expected: u64,
    },
    /// The geometry is none that a segment can have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The mapping does not hold the header and the class table.
    #[error("the control area is too small for its header: {0}")]
    TooSmall(#[from] RegionError),
}

/// Reads the geometry and the segment's id: each word once, checked, to be trusted as this copy
/// only. The mapping needs to hold the header and the class table, no more.
///
/// # Errors
/// [`HeaderError`] says what was found and what was expected.
// r[impl control.checked-copy]
pub fn read_geometry(mapping: &Arc<Mapping>) -> Result<(Geometry, u128), HeaderError> {
    let count = size_of::<SegmentHeader>() as u64 / 8;
    let words = mapping.region(0, count * 8)?.read_words(0, count)?;
    // Every index below is one of the header's; there is no other word to take instead.
    let load = |offset, ordering| words.load(header(offset), ordering).unwrap_or(0);
    let field = |offset| load(offset, Ordering::Relaxed);
    // edge: control.magic
    let found = load(offset_of!(SegmentHeader, magic), MAGIC_LOAD);
    if found != CONTROL_MAGIC {
        return Err(HeaderError::WrongMagic { found });
    }
    let found = field(offset_of!(SegmentHeader, format_version));
    if found != FORMAT_VERSION {
        return Err(HeaderError::WrongVersion { found, expected: FORMAT_VERSION });
    }
    let geometry = Geometry {
        granule_bytes: field(offset_of!(SegmentHeader, granule_bytes)),
        unit_bytes: field(offset_of!(SegmentHeader, unit_bytes)),
        pool_bytes_max: field(offset_of!(SegmentHeader, pool_bytes_max)),
        slots_max: field(offset_of!(SegmentHeader, slots_max)),
        peers_max: field(offset_of!(SegmentHeader, peers_max)),
        service_bytes: field(offset_of!(SegmentHeader, service_bytes)),
        service_id: field(offset_of!(SegmentHeader, service_id)),
        leases_max: field(offset_of!(SegmentHeader, leases_max)),
        classes: read_classes(mapping, field(offset_of!(SegmentHeader, class_count)))?,
    };
    geometry.check()?;
    let found = field(offset_of!(SegmentHeader, layout_fingerprint));
    let expected = ControlLayout::new(&geometry).fingerprint();
    if found != expected {
        return Err(HeaderError::WrongFingerprint { found, expected });
    }
    let low = field(offset_of!(SegmentHeader, segment_id_low));
    let high = field(offset_of!(SegmentHeader, segment_id_high));
    Ok((geometry, u128::from(high) << 64 | u128::from(low)))
}

fn read_classes(mapping: &Arc<Mapping>, count: u64) -> Result<Vec<u64>, HeaderError> {
    let max = CLASSES_MAX as u64;
    if !(1..=max).contains(&count) {
        let what = "class_count";
        return Err(GeometryError::OutOfRange { what, value: count, min: 1, max }.into());
    }
    let classes = mapping.region(ControlLayout::CLASSES_OFFSET, count * 8)?.read_words(0, count)?;
    Ok((0..count).map(|class| classes.load(class, Ordering::Relaxed).unwrap_or(0)).collect())
}
