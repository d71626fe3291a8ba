use super::{Host, HostOptions, StartError};
use crate::Serial;
use crate::audit::AuditReport;
use crate::guest::{Guest, GuestOptions};
use crate::layout::Geometry;
use crate::pool::{ClassIndex, VarSlotPool};
use crate::service::{Answer, Found, Request, Service, ServiceContext, ServiceError, ServiceStart};
use crate::wire::RequestError;
use onecopy_shm::SlotRef;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A service that does nothing, and finds fault with itself if it is told to.
pub(super) struct Idle {
    pub is_damaged: bool,
    /// How often it was audited.
    pub audits: Cell<u64>,
    /// How long an audit of it takes, in time of the thread.
    pub audit_takes: Duration,
    /// What it was told of by guests, in order.
    pub told: Vec<Told>,
    /// Published slots, one of which it gives up whenever it is to make room.
    pub published: Vec<SlotRef>,
}

/// One thing that a service is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Used(SlotRef),
    Asked(Serial),
    Gone(Serial),
}

impl Service for Idle {
    fn id(&self) -> u64 {
        1
    }

    fn region_bytes(&self, _geometry: &Geometry) -> u64 {
        0
    }

    fn start(&mut self, _start: ServiceStart<'_>) -> Result<(), ServiceError> {
        Ok(())
    }

    fn slot_found(&mut self, _slot: SlotRef, _context: &mut ServiceContext<'_>) -> Found {
        Found::Keep
    }

    fn reply_bytes_max(&self, _request: &Request<'_>) -> u32 {
        0
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        _context: &mut ServiceContext<'_>,
        _reply: &mut [u8],
    ) -> Result<Answer, RequestError> {
        self.told.push(Told::Asked(request.serial));
        Err(request.malformed(0))
    }

    fn used(&mut self, slot: SlotRef, _context: &mut ServiceContext<'_>) {
        self.told.push(Told::Used(slot));
    }

    fn peer_gone(&mut self, serial: Serial, _context: &mut ServiceContext<'_>) {
        self.told.push(Told::Gone(serial));
    }

    fn make_room(&mut self, _class: ClassIndex, context: &mut ServiceContext<'_>) -> u32 {
        let given_up = self.published.pop().map(|slot| context.pool.retire(slot).unwrap());
        u32::from(given_up.is_some())
    }

    fn audit(&self, _pool: &VarSlotPool, report: &mut AuditReport) {
        self.audits.set(self.audits.get() + 1);
        let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let until = now() + self.audit_takes;
        while now() < until {}
        if self.is_damaged {
            report.find("idle", format_args!("damaged"));
        }
    }

    fn stats(&self, _pool: &VarSlotPool) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

pub(super) fn idle() -> Idle {
    let (is_damaged, audits, audit_takes) = (false, Cell::new(0), Duration::ZERO);
    Idle { is_damaged, audits, audit_takes, told: Vec::new(), published: Vec::new() }
}

pub(super) fn options_at(base: &tempfile::TempDir) -> HostOptions {
    HostOptions {
        pool_bytes: 4 << 20,
        pool_bytes_max: 4 << 20,
        ..HostOptions::new(base.path().join("segment"))
    }
}

pub(super) fn host_at(base: &tempfile::TempDir, heartbeat_interval: Duration) -> Host<Idle> {
    Host::start(HostOptions { heartbeat_interval, ..options_at(base) }, idle()).unwrap()
}

// r[verify doorbell.host_sleeps]
#[test]
fn a_request_that_came_before_the_host_lay_down_does_not_wait_for_its_tick() {
    const LONG: Duration = Duration::from_secs(60);
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, LONG);
    let segment = host.segment().to_owned();
    let guest = std::thread::spawn(move || {
        let guest = Guest::attach(GuestOptions::at(segment)).unwrap();
        guest.ping(Instant::now() + 4 * LONG).unwrap();
    });
    while !host.has_requests() {
        host.look(Duration::ZERO).unwrap();
    }
    // The guest saw a host that was awake and rang at nobody's door.
    let started = Instant::now();
    host.look(LONG).unwrap();
    assert!(started.elapsed() < LONG / 2, "it slept on a request");
    while !guest.is_finished() {
        host.turn();
    }
    guest.join().unwrap();
}

// r[verify segment.pool-named]
#[test]
fn a_segment_is_not_served_where_another_pool_is_named() {
    let base = tempfile::tempdir().unwrap();
    let start = |pool: Option<&str>| {
        let pool = pool.map(|name| base.path().join(name));
        let options = HostOptions { pool, ..options_at(&base) };
        Host::start(options, idle())
    };
    drop(start(Some("pool")).unwrap());
    let refused = start(Some("other")).map(drop).unwrap_err();
    let StartError::PoolElsewhere { found, named } = &refused else { panic!("{refused}") };
    assert_eq!((found, named), (&base.path().join("pool"), &base.path().join("other")));
    assert!(!base.path().join("other").exists());
    drop(start(None).unwrap());
    drop(start(Some("segment/../pool")).unwrap());
}

// r[verify audit.host]
#[test]
fn an_audit_looks_at_slots_at_the_service_and_at_owners() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(100));
    assert!(host.audit().is_clean());

    let areas = |host: &Host<Idle>| -> Vec<&'static str> {
        host.audit().findings().iter().map(|finding| finding.area).collect()
    };
    host.core.service.is_damaged = true;
    assert_eq!(areas(&host), ["idle"]);
    host.core.service.is_damaged = false;

    // Granted to nobody, and quarantined for nobody.
    let slot = host.core.pool.grant(77, 0).unwrap();
    assert_eq!(areas(&host), ["host.owner"]);
    assert!(host.audit().to_string().contains("77"));
    host.core.pool.quarantine(77);
    assert_eq!(areas(&host), ["host.owner"]);
    host.core.pool.release_quarantined(77);
    assert!(host.audit().is_clean());

    // A shared word that is not what the host knows.
    let word = host.core.control.slot_word(slot.slot);
    host.core.control.set_slot_word(slot.slot, onecopy_shm::SlotWord::published(9));
    assert!(areas(&host).iter().any(|area| area.starts_with("pool.")), "{:?}", areas(&host));
    let before = onecopy_shm::SlotWord::decode(word).unwrap();
    host.core.control.set_slot_word(slot.slot, before);
    assert!(host.audit().is_clean());
}

/// Attaches so many guests to a host that this test turns.
pub(super) fn guests(host: &mut Host<Idle>, count: usize) -> Vec<Guest> {
    let segment = host.segment().to_owned();
    let attach = move || {
        let options = || GuestOptions { watcher: false, ..GuestOptions::at(&segment) };
        (0..count).map(|_| Guest::attach(options()).unwrap()).collect()
    };
    let thread = std::thread::spawn(attach);
    while !thread.is_finished() {
        host.look(Duration::from_millis(1)).unwrap();
        host.turn();
    }
    thread.join().unwrap()
}

fn ask(guest: &Guest) -> crate::guest::Pending {
    let deadline = Instant::now() + Duration::from_secs(60);
    guest.submit_with(crate::wire::SERVICE_KIND_MIN, 0, |_| {}, deadline).unwrap()
}

// r[verify host.sweep]
// r[verify link.bounded_work]
#[test]
fn a_guest_that_was_idle_is_served_within_so_many_turns_of_others() {
    use super::roster::{REQUESTS_PER_SWEEP, TURNS_PER_SWEEP};
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_secs(3600));
    let guests = guests(&mut host, 12);
    let (honest, others) = guests.split_last().unwrap();
    for _ in 0..300 {
        host.next_turn();
    }
    assert!(host.peers.eager_mut().is_empty(), "nobody has asked for anything");

    // Others ask a little: the idle guest is looked at with the next sweep.
    let mut busy = Vec::new();
    for round in 0..40 {
        busy.push(ask(&others[0]));
        let before = host.core.counters.requests;
        let pending = (round % 4 == 0).then(|| ask(honest));
        let mut pending = pending.into_iter();
        for one in pending.by_ref() {
            let mut one = one;
            let mut turns = 0;
            while matches!(one.try_wait(), Ok(None)) {
                host.next_turn();
                turns += 1;
            }
            assert!(turns <= TURNS_PER_SWEEP, "{turns}");
        }
        host.next_turn();
        assert!(host.core.counters.requests > before);
    }
    drop(busy);

    // One floods: in each turn it gets its share, and the turn after that looks at all.
    for _ in 0..300 {
        host.next_turn();
    }
    let flood: Vec<_> = (0..1000).map(|_| ask(&others[1])).collect();
    host.turn();
    assert_eq!(host.peers.eager_mut().len(), 1, "it alone has asked lately");
    host.next_turn();
    let before = host.core.counters.requests;
    let mut one = ask(honest);
    host.next_turn();
    let by_now = host.core.counters.requests - before;
    assert_eq!(by_now, u64::from(REQUESTS_PER_SWEEP) + 1, "64 of one and 1 of the other");
    assert!(one.try_wait().is_err_and(|refused| refused.request_sent()), "it was answered");
    drop(flood);
}
