//! The pool's mapping, and its growth.

use super::scripted::{UNIT, attached, attached_with, options, soon};
use crate::format::Role;
use crate::guest::GuestOptions;
use crate::wire::kind;
use onecopy_shm::Access;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Told = Arc<Mutex<Vec<(u64, u64)>>>;

fn record(told: &Told) -> impl Fn(u64, u64) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |old, new| told.lock().unwrap().push((old, new))
}

fn quiet() -> GuestOptions {
    GuestOptions { watcher: false, ..options() }
}

// r[verify guest.pool-mapping]
#[test]
fn the_mapping_has_its_largest_size_from_the_start_and_the_access_of_the_role() {
    let (writer, host) = attached();
    let (reader, _reader_host) = attached_with(GuestOptions { role: Role::Reader, ..options() });
    assert_eq!((writer.pool().access, reader.pool().access), (Access::ReadWrite, Access::ReadOnly));
    assert_eq!(writer.pool_read_only().access, Access::ReadOnly);
    let before = writer.pool();
    assert_eq!((before.size_bytes_max, before.published_bytes), (64 * UNIT, 16 * UNIT));
    host.areas.control.set_pool_bytes(20 * UNIT);
    let after = writer.pool();
    assert_eq!((after.base_address, after.published_bytes), (before.base_address, 20 * UNIT));
}

// r[verify guest.growth.before-use]
#[test]
fn growth_is_told_before_a_slot_of_the_new_part_is_handed_out() {
    let (guest, mut host) = attached_with(quiet());
    let told = Told::default();
    assert_eq!(guest.on_growth(record(&told)), 16 * UNIT);
    let old = host.areas.grant(1, UNIT, 64);
    host.send_grants(kind::GRANTS, 0, 0, &[old]);
    let kept = guest.try_reserve(64).unwrap();
    host.areas.control.set_pool_bytes(20 * UNIT);
    let new = host.areas.grant(2, 19 * UNIT, 64);
    host.send_grants(kind::GRANTS, 0, 0, &[new]);
    assert_eq!(*told.lock().unwrap(), []);
    let reservation = guest.try_reserve(64).unwrap();
    assert_eq!((reservation.slot(), kept.slot()), (new, old));
    assert_eq!(*told.lock().unwrap(), [(16 * UNIT, 20 * UNIT)]);
    host.areas.control.set_pool_bytes(24 * UNIT);
    let published = host.areas.grant(3, 23 * UNIT, 64);
    host.areas.publish(published, 64);
    assert!(guest.lease(published).unwrap().is_some());
    assert_eq!(told.lock().unwrap()[1..], [(20 * UNIT, 24 * UNIT)]);
}

// r[verify guest.growth.callback]
#[test]
fn an_idle_guest_is_told_by_its_watcher_once_and_in_order() {
    let (guest, host) = attached();
    let (first, second) = (Told::default(), Told::default());
    guest.on_growth(record(&first));
    guest.on_growth(record(&second));
    let deadline = soon();
    for units in [17, 18] {
        host.areas.control.set_pool_bytes(units * UNIT);
        while second.lock().unwrap().len() < units as usize - 16 {
            assert!(Instant::now() < deadline, "nobody is told");
            thread::sleep(Duration::from_millis(2));
        }
    }
    let expected = [(16 * UNIT, 17 * UNIT), (17 * UNIT, 18 * UNIT)];
    assert_eq!(
        (&first.lock().unwrap()[..], &second.lock().unwrap()[..]),
        (&expected[..], &expected[..])
    );
}

#[test]
fn a_callback_may_use_the_guest_and_may_panic() {
    let (guest, mut host) = attached();
    let told = Told::default();
    let weak = Arc::downgrade(&guest.inner);
    guest.on_growth({
        let told = Arc::clone(&told);
        move |old, new| {
            if let Some(inner) = weak.upgrade() {
                assert!(inner.growth.covers(new), "a callback does not wait for itself");
            }
            let first = told.lock().unwrap().is_empty();
            told.lock().unwrap().push((old, new));
            assert!(!first, "the first time");
        }
    });
    host.areas.control.set_pool_bytes(17 * UNIT);
    let deadline = soon();
    while told.lock().unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the watcher gave up after a panic");
        thread::sleep(Duration::from_millis(2));
    }
    let beats = host.heartbeat();
    while host.heartbeat() == beats {
        assert!(Instant::now() < deadline, "no heartbeat after a panic");
        thread::sleep(Duration::from_millis(2));
    }
    let pending = guest.submit_with(40, 0, |_| {}, soon()).unwrap();
    host.echo();
    pending.wait(soon()).unwrap();
}
