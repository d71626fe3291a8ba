//! One key at a time.

use super::rig::{SLOT_BYTES_MAX, TestHost, key, payload, wait_for};
use crate::cache::{Cache, CacheOptions, LookupPath, PublishOptions};
use crate::error::{
    AskError, AttachCacheError, DeleteError, LookupError, PinError, PublishError, UnpinError,
    VerifyError,
};
use crate::protocol::SERVICE_ID;
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_shm::copy::LARGE_COPY_BYTES;
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::format::Role;
use onecopy_transport::guest::{CallError, GuestOptions, ReserveError};
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::RequestError;
use std::os::unix::fs::FileExt;
use std::time::Duration;

#[test]
fn every_size_from_nothing_to_the_largest_slot_reads_back_in_place() {
    let host = TestHost::start();
    let (writer, reader) = (host.attach(), host.attach_as(Role::Reader));
    let pool = reader.guest().pool();
    for (number, length) in
        [0, 1, 4096, 4097, 100_000, SLOT_BYTES_MAX as usize].into_iter().enumerate()
    {
        let number = number as u64;
        let bytes = payload(number, length);
        assert!(writer.store(&key(number), &bytes).unwrap().is_first());
        let block = reader.lookup(&key(number)).unwrap().unwrap();
        assert_eq!((&*block, block.key()), (&*bytes, key(number)));
        let offset = block.as_ptr().addr() - pool.base_address;
        assert!(length == 0 || (offset as u64) < pool.published_bytes);
    }
    let too_large = vec![0; SLOT_BYTES_MAX as usize + 1];
    let error = writer.store(&key(9), &too_large).unwrap_err();
    assert!(matches!(error, PublishError::Reserve(ReserveError::TooLarge { .. })), "{error}");
    assert_eq!(reader.lookup(&key(9)).unwrap().map(|block| block.len()), None);
    host.assert_clean();
}

// r[verify kv.copy_in]
#[test]
fn a_payload_is_copied_in_whole_or_not_at_all() {
    let service = CacheService::new(CacheServiceOptions::default());
    let host = TestHost::serving_with(service, |options| {
        options.pool_bytes = 128 << 20;
        options.pool_bytes_max = options.pool_bytes;
        options.slot_bytes_max = Some(20 << 20);
    });
    let cache = host.attach();
    for (number, length) in (0..).zip([0, 1, 4097, LARGE_COPY_BYTES, LARGE_COPY_BYTES + 4097]) {
        let bytes = payload(number, length);
        let mut fill = cache.reserve(length as u64).unwrap();
        fill.copy_from(&bytes).unwrap();
        fill.publish(&key(number), length as u64, PublishOptions::default()).unwrap();
        assert!(*cache.lookup(&key(number)).unwrap().unwrap() == *bytes, "{length} bytes");
    }
    let mut fill = cache.reserve(100).unwrap();
    let slot_bytes = fill.slot_bytes();
    fill.fill(7);
    let error = fill.copy_from(&vec![8; slot_bytes as usize + 1]).unwrap_err();
    let length_bytes = slot_bytes + 1;
    assert!(
        matches!(error, PublishError::TooLong { length_bytes: l, slot_bytes: s }
            if (l, s) == (length_bytes, slot_bytes)),
        "{error}"
    );
    assert!(fill.iter().all(|byte| *byte == 7));
    drop(fill);
    host.assert_clean();
}

// r[verify kv.first_writer]
#[test]
fn of_two_writers_the_first_wins_and_the_second_learns_of_it() {
    let host = TestHost::start();
    let (first, second) = (host.attach(), host.attach());
    let mut late = second.reserve(10).unwrap();
    late[..2].copy_from_slice(b"no");
    let mut early = first.reserve(10).unwrap();
    early[..3].copy_from_slice(b"yes");
    let won = early.publish(&key(1), 3, PublishOptions::default()).unwrap();
    let lost = late.publish(&key(1), 2, PublishOptions::default()).unwrap();
    assert!(won.is_first() && !lost.is_first());
    assert_eq!(won.slot(), lost.slot());
    assert_eq!(&*second.lookup(&key(1)).unwrap().unwrap(), b"yes");
    assert_eq!(second.stats().unwrap().duplicates, 1);
    second.guest().detach(super::rig::soon()).unwrap();
    host.assert_clean();
}

#[test]
fn a_fill_that_is_dropped_or_too_short_goes_back() {
    let host = TestHost::start();
    let cache = host.attach();
    drop(cache.reserve(100).unwrap());
    let fill = cache.reserve(100).unwrap();
    let slot_bytes = fill.slot_bytes();
    let error = fill.publish(&key(1), slot_bytes + 1, PublishOptions::default()).unwrap_err();
    assert!(
        matches!(error, PublishError::TooLong { length_bytes, .. } if length_bytes == slot_bytes + 1)
    );
    assert!(!cache.exists(&key(1)).unwrap());
    cache.guest().detach(super::rig::soon()).unwrap();
    host.assert_clean();
}

#[test]
fn a_deleted_block_stays_readable_for_who_holds_it() {
    let host = TestHost::start();
    let (cache, other) = (host.attach(), host.attach());
    let bytes = payload(1, 5000);
    cache.store(&key(1), &bytes).unwrap();
    let block = cache.lookup(&key(1)).unwrap().unwrap();
    let twin = block.clone();
    assert!(other.delete(&key(1)).unwrap());
    assert!(!other.delete(&key(1)).unwrap());
    assert!(cache.lookup(&key(1)).unwrap().is_none());
    for number in 2..100 {
        other.store(&key(number), &payload(number, 5000)).unwrap();
    }
    drop(block);
    assert_eq!(&*twin, &*bytes);
    assert_eq!(twin.key(), key(1));
    host.assert_clean();
}

#[test]
fn pins_keep_a_block_and_end_with_their_guest() {
    let host = TestHost::start();
    let (cache, other) = (host.attach(), host.attach_as(Role::Reader));
    cache.store(&key(1), b"one").unwrap();
    assert_eq!(other.pin(&key(1)).unwrap(), 1);
    assert_eq!(other.pin(&key(1)).unwrap(), 2);
    let busy = cache.delete(&key(1)).unwrap_err();
    assert!(matches!(busy, DeleteError::Busy { pins: 2, .. }), "{busy}");
    let error = cache.unpin(&key(1)).unwrap_err();
    assert!(matches!(error, UnpinError::NotPinned { .. }), "{error}");
    assert_eq!(other.unpin(&key(1)).unwrap(), 1);
    assert!(matches!(other.pin(&key(2)), Err(PinError::NotFound { .. })));
    assert!(matches!(other.unpin(&key(2)), Err(UnpinError::NotFound { .. })));
    drop(other);
    wait_for("the pin is gone", || cache.stats().unwrap().pins == 0);
    assert!(cache.delete(&key(1)).unwrap());
    host.assert_clean();
}

// r[verify kv.verify]
#[test]
fn a_damaged_block_is_found_by_its_checksum_and_retired() {
    let host = TestHost::start();
    let cache = host.attach();
    let options = PublishOptions { checksum: true, ..Default::default() };
    for number in [1, 2] {
        cache.store_with(&key(number), &payload(number, 1000), options).unwrap();
    }
    cache.store(&key(3), &payload(3, 1000)).unwrap();
    let blocks = [1, 2, 3].map(|number| cache.lookup(&key(number)).unwrap().unwrap());
    for block in &blocks {
        cache.verify(block).unwrap();
    }
    assert!(blocks[0].checksum().is_some() && blocks[2].checksum().is_none());
    let pool = std::fs::OpenOptions::new().write(true).open(host.segment().join("pool")).unwrap();
    for block in &blocks {
        let offset = cache.guest().control().slot_offset(block.slot().slot);
        pool.write_all_at(&[!block[7]], offset + 7).unwrap();
    }
    let error = cache.verify(&blocks[0]).unwrap_err();
    assert!(matches!(error, VerifyError::Corrupt(corrupt) if corrupt.key == key(1)), "{error}");
    assert!(cache.lookup(&key(1)).unwrap().is_none());
    assert!(cache.lookup(&key(2)).unwrap().is_some(), "unchecked unless asked for");
    let checked = cache.with_verify(true);
    let error = checked.lookup(&key(2)).unwrap_err();
    assert!(matches!(error, LookupError::Corrupt(corrupt) if corrupt.key == key(2)), "{error}");
    assert!(checked.lookup(&key(2)).unwrap().is_none());
    assert!(checked.lookup(&key(3)).unwrap().is_some(), "without a checksum");
    assert_eq!(cache.stats().unwrap().corrupt, 2);
    host.assert_clean();
}

#[test]
fn a_block_with_a_time_to_live_goes() {
    let host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Ring);
    let ttl = Some(Duration::from_millis(10));
    cache.store_with(&key(1), b"short", PublishOptions { ttl, checksum: false }).unwrap();
    cache.store(&key(2), b"long").unwrap();
    assert!(cache.exists(&key(1)).unwrap());
    wait_for("the block expires", || !cache.exists(&key(1)).unwrap());
    assert!(cache.lookup(&key(1)).unwrap().is_none());
    assert!(cache.exists(&key(2)).unwrap());
    assert_eq!(cache.stats().unwrap().expired, 1);
    host.assert_clean();
}

#[test]
fn a_reader_cannot_change_what_others_find() {
    let host = TestHost::start();
    let reader = host.attach_as(Role::Reader);
    let error = reader.store(&key(1), b"x").unwrap_err();
    assert!(matches!(error, PublishError::Reserve(ReserveError::WrongRole)), "{error}");
    let error = reader.delete(&key(1)).unwrap_err();
    let DeleteError::Ask(AskError::Call(CallError::Refused(refused))) = error else {
        panic!("{error}");
    };
    assert_eq!(refused, RequestError::WrongRole);
}

#[test]
fn what_is_larger_than_the_capacity_says_so() {
    let host = TestHost::with(CacheServiceOptions {
        capacity: Capacity::Bytes(8192),
        ..Default::default()
    });
    let cache = host.attach();
    let error = cache.store(&key(1), &payload(1, 10_000)).unwrap_err();
    let PublishError::LargerThanCapacity { slot_bytes, capacity_bytes } = error else {
        panic!("{error}");
    };
    assert_eq!((slot_bytes, capacity_bytes), (12288, 8192));
    assert!(cache.store(&key(1), &payload(1, 8192)).unwrap().is_first());
    cache.pin(&key(1)).unwrap();
    let error = cache.store(&key(2), b"").unwrap_err();
    assert!(matches!(error, PublishError::AllPinned { pinned_blocks: 1, .. }), "{error}");
    host.assert_clean();
}

// r[verify kv.wrong_class]
#[test]
fn a_full_pool_whose_room_is_in_another_class_says_so() {
    let service = CacheService::new(CacheServiceOptions::default());
    let host = TestHost::serving_with(service, |options| options.pool_bytes_max = 4 << 20);
    let cache = host.attach();
    let blocks = (4 << 20) / 4096;
    for number in 0..2 * blocks {
        cache.store(&key(number), &payload(number, 4096)).unwrap();
    }
    let stats = cache.stats().unwrap();
    assert!(stats.evictions_for_room > blocks / 2, "{stats:?}");
    let no_room = |cache: &Cache| match cache.store(&key(1), &payload(1, 100_000)).unwrap_err() {
        PublishError::Reserve(ReserveError::Refused(RequestError::NoRoom {
            slot_bytes,
            free_elsewhere_bytes,
            growable_bytes,
            ..
        })) => (slot_bytes, free_elsewhere_bytes, growable_bytes),
        error => panic!("{error}"),
    };
    let (slot_bytes, _, growable_bytes) = no_room(&cache);
    assert_eq!((slot_bytes, growable_bytes), (106_496, 0));
    for number in (0..2 * blocks).filter(|number| number % 4 != 0) {
        cache.delete(&key(number)).unwrap();
    }
    let (_, free_elsewhere_bytes, _) = no_room(&cache);
    assert!(free_elsewhere_bytes > 1 << 20, "{free_elsewhere_bytes}");
    host.assert_clean();
}

/// A service that is no cache.
struct Other;

impl Service for Other {
    fn id(&self) -> u64 {
        7
    }
    fn region_bytes(&self, _: &Geometry) -> u64 {
        0
    }
    fn start(&mut self, _: ServiceStart<'_>) -> Result<(), ServiceError> {
        Ok(())
    }
    fn slot_found(&mut self, _: onecopy_shm::SlotRef, _: &mut ServiceContext<'_>) -> Found {
        Found::Retire
    }
    fn reply_bytes_max(&self, _: &Request<'_>) -> u32 {
        0
    }
    fn request(
        &mut self,
        request: &Request<'_>,
        _: &mut ServiceContext<'_>,
        _: &mut [u8],
    ) -> Result<Answer, RequestError> {
        Err(RequestError::UnknownKind { kind: request.kind.into() })
    }
    fn peer_gone(&mut self, _: Serial, _: &mut ServiceContext<'_>) {}
    fn make_room(&mut self, _: ClassIndex, _: &mut ServiceContext<'_>) -> u32 {
        0
    }
    fn audit(&self, _: &VarSlotPool, _: &mut AuditReport) {}
    fn stats(&self, _: &VarSlotPool) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

// r[verify kv.service_id]
#[test]
fn a_host_that_serves_something_else_is_no_cache() {
    let host = TestHost::serving(Other);
    let attached = Cache::attach(CacheOptions::new(GuestOptions::at(host.segment())));
    let error = attached.map(|_| ()).unwrap_err();
    let AttachCacheError::WrongService { found, expected } = error else { panic!("{error}") };
    assert_eq!((found, expected), (7, SERVICE_ID));
}
