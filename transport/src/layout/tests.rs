use super::*;

fn geometry() -> Geometry {
    Geometry {
        granule_bytes: 4096,
        unit_bytes: Geometry::unit_bytes_for(4096),
        pool_bytes_max: 64 << 20,
        slots_max: 16384,
        peers_max: 64,
        service_bytes: 4096,
        service_id: 1,
        classes: vec![4096, 8192, 16384],
        leases_max: 64,
    }
}

// r[verify segment.geometry]
#[test]
fn a_geometry_out_of_range_is_refused_with_the_number() {
    geometry().check().unwrap();
    let refused = |change: fn(&mut Geometry)| {
        let mut wrong = geometry();
        change(&mut wrong);
        wrong.check().unwrap_err()
    };
    assert_eq!(
        refused(|g| g.granule_bytes = 32),
        GeometryError::OutOfRange { what: "granule_bytes", value: 32, min: 64, max: 2 << 20 }
    );
    assert_eq!(
        refused(|g| g.granule_bytes = 96),
        GeometryError::NotAPowerOfTwo { what: "granule_bytes", value: 96 }
    );
    assert!(matches!(refused(|g| g.unit_bytes += 64), GeometryError::NotAMultiple { .. }));
    assert!(matches!(refused(|g| g.pool_bytes_max += 1), GeometryError::NotAMultiple { .. }));
    assert!(matches!(refused(|g| g.slots_max = 1 << 33), GeometryError::OutOfRange { .. }));
    assert!(matches!(refused(|g| g.peers_max = 0), GeometryError::OutOfRange { .. }));
    assert!(matches!(refused(|g| g.classes.clear()), GeometryError::OutOfRange { .. }));
    assert!(matches!(refused(|g| g.classes.swap(0, 1)), GeometryError::ClassesNotAscending { .. }));
    assert!(matches!(refused(|g| g.classes.push(20001)), GeometryError::NotAMultiple { .. }));
    assert!(matches!(
        refused(|g| g.classes.push(1 << 40)),
        GeometryError::SlotLargerThanPool { .. }
    ));
}

// r[verify segment.layout]
#[test]
fn tables_are_aligned_and_do_not_overlap() {
    let geometry = geometry();
    let layout = ControlLayout::new(&geometry);
    let starts = [
        layout.classes,
        layout.peers,
        layout.extents,
        layout.service,
        layout.slots,
        layout.slots_cold,
    ];
    assert!(starts.iter().all(|start| start.is_multiple_of(TABLE_ALIGNMENT_BYTES)));
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(layout.peers - layout.classes >= CLASSES_MAX as u64 * 8);
    assert!(layout.extents - layout.peers >= geometry.peers_max * 128);
    assert!(layout.service - layout.extents >= geometry.units_max() * 32);
    assert!(layout.slots_cold - layout.slots >= geometry.slots_max * 64);
    assert!(layout.size_bytes - layout.slots_cold >= geometry.slots_max * 64);
    let mut other = geometry;
    other.peers_max += 64;
    assert_ne!(layout.fingerprint(), ControlLayout::new(&other).fingerprint());
}
