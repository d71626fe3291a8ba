mod basics;
mod damage;
mod model;
mod stores;

use super::*;
use crate::audit::AuditReport;
use crate::layout::{ControlLayout, Geometry};
use onecopy_shm::Mapping;

/// A pool small enough to fill: 15 units of 512 bytes behind the first one.
pub(super) fn geometry() -> Geometry {
    Geometry {
        granule_bytes: 64,
        unit_bytes: 512,
        pool_bytes_max: 512 * 16,
        slots_max: 96,
        peers_max: 3,
        service_bytes: 0,
        service_id: 7,
        classes: vec![64, 192, 1024],
        leases_max: 64,
    }
}

/// The control area of a segment whose pool has `units` units, on the heap.
pub(super) fn control(units: u64) -> ControlWriter {
    let geometry = geometry();
    let mapping = Mapping::heap(ControlLayout::new(&geometry).size_bytes).unwrap();
    let control = ControlWriter::initialise(mapping, &geometry, 5).unwrap();
    control.set_serial_last(9);
    control.set_slots_ready(geometry.slots_max);
    control.set_pool_bytes(units * geometry.unit_bytes);
    control
}

pub(super) fn pool(units: u64) -> VarSlotPool {
    VarSlotPool::create(control(units))
}

pub(super) fn audit(pool: &VarSlotPool) -> AuditReport {
    let mut report = AuditReport::new();
    pool.audit(&mut report);
    report
}

#[track_caller]
pub(super) fn assert_clean(pool: &VarSlotPool) {
    let report = audit(pool);
    assert!(report.is_clean(), "{report}");
}

pub(super) fn publish(pool: &mut VarSlotPool, owner: Serial, slot: SlotRef) {
    pool.publish(owner, slot, 10, &[1; NOTE_WORDS], &[2; COLD_WORDS]).unwrap();
}

/// A look through these leases.
pub(super) fn reclaim(pool: &mut VarSlotPool, leases: &[SlotRef]) -> u32 {
    pool.reclaim(&mut |visit| leases.iter().for_each(|&leased| visit(leased)))
}
