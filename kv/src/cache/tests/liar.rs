//! A host whose cache answers what it should not.

use super::rig::{TestHost, key};
use crate::cache::LookupPath;
use crate::error::{AskError, DeleteError, LookupError, PublishError};
use crate::protocol::{KeyOutcome, kind};
use crate::service::{CacheService, CacheServiceOptions};
use onecopy_shm::SlotRef;
use onecopy_transport::Serial;
use onecopy_transport::audit::AuditReport;
use onecopy_transport::guest::CallError;
use onecopy_transport::layout::Geometry;
use onecopy_transport::pool::{ClassIndex, VarSlotPool};
use onecopy_transport::service::{
    Answer, Found, Request, Service, ServiceContext, ServiceError, ServiceStart,
};
use onecopy_transport::wire::RequestError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zerocopy::IntoBytes;

/// What is said instead of the next answers to one kind of request.
type Lies = Arc<Mutex<VecDeque<(u8, Vec<u8>)>>>;

struct Liar {
    cache: CacheService,
    lies: Lies,
}

impl Service for Liar {
    fn id(&self) -> u64 {
        self.cache.id()
    }
    fn region_bytes(&self, geometry: &Geometry) -> u64 {
        self.cache.region_bytes(geometry)
    }
    fn start(&mut self, start: ServiceStart<'_>) -> Result<(), ServiceError> {
        self.cache.start(start)
    }
    fn slot_found(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) -> Found {
        self.cache.slot_found(slot, context)
    }
    fn reply_bytes_max(&self, request: &Request<'_>) -> u32 {
        self.cache.reply_bytes_max(request).max(64)
    }
    fn request(
        &mut self,
        request: &Request<'_>,
        context: &mut ServiceContext<'_>,
        reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        let answer = self.cache.request(request, context, reply)?;
        let mut lies = self.lies.lock().unwrap();
        if lies.front().is_none_or(|(kind, _)| *kind != request.kind) {
            return Ok(answer);
        }
        let (_, lie) = lies.pop_front().unwrap();
        reply[..lie.len()].copy_from_slice(&lie);
        Ok(Answer::Inline { length_bytes: lie.len() as u32 })
    }
    fn peer_gone(&mut self, serial: Serial, context: &mut ServiceContext<'_>) {
        self.cache.peer_gone(serial, context);
    }
    fn make_room(&mut self, class: ClassIndex, context: &mut ServiceContext<'_>) -> u32 {
        self.cache.make_room(class, context)
    }
    fn audit(&self, pool: &VarSlotPool, report: &mut AuditReport) {
        self.cache.audit(pool, report);
    }
    fn stats(&self, pool: &VarSlotPool) -> Vec<(&'static str, u64)> {
        self.cache.stats(pool)
    }
}

fn liar() -> (TestHost, impl Fn(u8, &[u8])) {
    let lies = Lies::default();
    let cache = CacheService::new(CacheServiceOptions::default());
    let host = TestHost::serving(Liar { cache, lies: Arc::clone(&lies) });
    (host, move |kind, lie: &[u8]| lies.lock().unwrap().push_back((kind, lie.to_vec())))
}

fn word(slot: SlotRef) -> [u8; 8] {
    slot.to_u64().to_le_bytes()
}

#[test]
fn a_call_whose_time_is_over_says_so() {
    let lies = Lies::default();
    let cache = CacheService::new(CacheServiceOptions::default());
    let host = TestHost::serving(Liar { cache, lies: Arc::clone(&lies) });
    let cache = host.attach().with_lookup(LookupPath::Ring);
    let late = cache.with_deadline(Duration::ZERO);
    // The host cannot answer before it has looked for a lie.
    let held = lies.lock().unwrap();
    let error = late.lookup(&key(1)).unwrap_err();
    let LookupError::Ask(AskError::Call(error)) = error else { panic!("{error:?}") };
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    drop(held);
    assert!(cache.with_deadline(Duration::MAX).lookup(&key(1)).unwrap().is_none());
    host.assert_clean();
}

// r[verify kv.lookup_retry]
#[test]
fn a_block_that_went_before_the_lease_is_asked_for_again() {
    let (host, lie) = liar();
    let cache = host.attach().with_lookup(LookupPath::Ring);
    cache.store(&key(1), b"one").unwrap();
    let slot = cache.lookup(&key(1)).unwrap().unwrap().slot();
    let gone = word(SlotRef { generation: slot.generation + 7, ..slot });
    lie(kind::LOOKUP, &gone);
    assert_eq!(cache.lookup(&key(1)).unwrap().as_deref(), Some(&b"one"[..]));
    lie(kind::LOOKUP, &[gone, word(slot)].concat());
    let found = cache.lookup_many(&[key(1), key(1)]).unwrap();
    assert!(found.iter().all(|block| block.as_deref() == Some(b"one")));
    lie(kind::LOOKUP, &[gone, [0; 8]].concat());
    assert_eq!(cache.lookup_prefix(&[key(1), key(2)]).unwrap().len(), 1);
    for _ in 0..100 {
        lie(kind::LOOKUP, &gone);
    }
    assert!(cache.lookup(&key(1)).unwrap().is_none(), "not for ever");
}

// r[verify kv.wrong_key]
#[test]
fn a_slot_that_holds_another_key_is_never_handed_out() {
    let (host, lie) = liar();
    let cache = host.attach().with_lookup(LookupPath::Ring);
    cache.store(&key(1), b"one").unwrap();
    cache.store(&key(2), b"two").unwrap();
    let slot = cache.lookup(&key(2)).unwrap().unwrap().slot();
    lie(kind::LOOKUP, &word(slot));
    let error = cache.lookup(&key(1)).unwrap_err();
    let LookupError::WrongKey { slot: named, wanted, found } = error else { panic!("{error}") };
    assert_eq!((named, wanted, found), (slot, key(1), key(2)));
    cache.guest().detach(super::rig::soon()).unwrap();
}

// r[verify kv.outcomes]
#[test]
fn answers_of_another_form_are_errors() {
    let (host, lie) = liar();
    let cache = host.attach().with_lookup(LookupPath::Ring);
    for length in [0, 4, 7] {
        lie(kind::LOOKUP, &[0; 7][..length]);
        let error = cache.lookup(&key(1)).unwrap_err();
        let LookupError::Ask(AskError::AnswerLength { found_bytes, expected_bytes, .. }) = error
        else {
            panic!("{error}");
        };
        assert_eq!((found_bytes, expected_bytes), (length, 8));
    }
    lie(kind::EXISTS, &[9, 0, 0, 0, 0, 0, 0, 0]);
    let error = cache.exists(&key(1)).unwrap_err();
    assert!(
        matches!(error, LookupError::Ask(AskError::AnswerCode { kind: kind::EXISTS, code: 9 })),
        "{error}"
    );
    lie(kind::DELETE, KeyOutcome::NotPinned.encode().as_bytes());
    let error = cache.delete(&key(1)).unwrap_err();
    assert!(matches!(error, DeleteError::Ask(AskError::AnswerCode { code: 3, .. })), "{error}");
    lie(kind::PUBLISH, &[[77u8; 8], [0; 8], [0; 8]].concat());
    let error = cache.store(&key(1), b"x").unwrap_err();
    assert!(matches!(error, PublishError::Ask(AskError::AnswerCode { .. })), "{error}");
    lie(kind::PIN, &[0; 16]);
    let outcomes = cache.pin_many(&[key(1), key(2), key(3)]);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 3);
    assert!(cache.exists(&key(1)).unwrap(), "the lie was about the answer");
    host.assert_clean();
}
