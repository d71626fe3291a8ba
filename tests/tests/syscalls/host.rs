//! The calls of a host.

use crate::PEER;
use crate::sweep::{Met, Operation, sweep};
use onecopy::cache::{Cache, CacheOptions, Fill};
use onecopy_tests::harness::{PATIENCE, Peer, Segment, Trap, is_payload, key, payload, wait_for};
use onecopy_transport::guest::GuestOptions;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A host process whose calls are watched, and its segment.
pub struct Rig {
    pub segment: Segment,
    pub host: Peer,
    pub trap: Trap,
    /// Descriptors that it has without a host.
    pub idle: usize,
}

/// The heartbeat is slow: what is counted is what the operation does.
pub const SERVE_SMALL: &str = "host 8 8 8 2000";
const SERVE_GROWING: &str = "host 8 64 8 2000";

impl Rig {
    pub fn new() -> Option<Rig> {
        let segment = Segment::new();
        let mut host = Peer::start(PEER, segment.path());
        let trap = Trap::of(&mut host)?;
        // Threads and namespaces are looked up once in the life of a process.
        host.ok(SERVE_SMALL);
        host.ok("host_leave");
        std::fs::remove_dir_all(segment.path()).unwrap();
        let idle = host.descriptors();
        Some(Rig { segment, host, trap, idle })
    }

    /// Starts a host; how many descriptors it has without guests.
    fn serve(&mut self) -> usize {
        self.host.ok(SERVE_SMALL);
        // Answered by its thread, which has opened by then what threads open once.
        self.host.ok("host_audit");
        self.host.descriptors()
    }

    fn begin(&mut self, order: &str) -> Result<(), String> {
        let answer = self.host.tell(order);
        if answer.starts_with("ok") { Ok(()) } else { Err(answer) }
    }

    /// Ends the host and the segment.
    fn end(&mut self) {
        self.host.ok("host_audit");
        self.host.ok("host_leave");
        assert_eq!(self.host.descriptors(), self.idle, "descriptors are left");
        std::fs::remove_dir_all(self.segment.path()).unwrap();
    }

    fn assert_no_guest_is_left(&mut self, running: usize) {
        let segment = &self.segment;
        wait_for("the files of guests to go", || {
            segment.files("rings").is_empty() && segment.files("leases").is_empty()
        });
        wait_for("the descriptors of guests to go", || self.host.descriptors() == running);
        self.host.ok("host_audit");
    }
}

/// A guest of this process.
pub fn attach(segment: &Path) -> Result<Cache, String> {
    let guest = GuestOptions { attach_deadline: PATIENCE, ..GuestOptions::at(segment) };
    let options = CacheOptions { deadline: PATIENCE, ..CacheOptions::new(guest) };
    Cache::attach(options).map_err(|error| error.to_string())
}

pub fn store_blocks(cache: &Cache) {
    for number in 0..20 {
        cache.store(&key(number), &payload(number, 5000)).unwrap();
    }
}

pub fn check_blocks(cache: &Cache) {
    for number in 0..20 {
        let block = cache.lookup(&key(number)).unwrap().unwrap();
        assert!(is_payload(number, &block), "block {number}");
    }
}

struct Start(Rig);

impl Operation for Start {
    fn trap(&self) -> &Trap {
        &self.0.trap
    }

    fn prepare(&mut self) {}

    fn attempt(&mut self) -> Result<(), String> {
        self.0.begin(SERVE_SMALL)
    }

    fn after_failure(&mut self, met: &Met) {
        // The peer's own thread comes after a start that has succeeded: that segment stays.
        let has_started = met.call.name == "clone3";
        let left = self.0.segment.path().exists();
        assert!(!left || has_started || met.is_removal(), "something is left");
        assert_eq!(self.0.host.descriptors(), self.0.idle, "descriptors are left");
    }

    fn finish(&mut self) {
        self.0.end();
    }
}

// r[verify resources.calls]
// r[verify segment.start_undone]
#[test]
fn a_start_on_an_empty_place() {
    let Some(rig) = Rig::new() else { return };
    sweep("start", &mut Start(rig));
}

struct Restart {
    rig: Rig,
    /// A guest of the first host, who lives on.
    bystander: Option<Peer>,
}

impl Operation for Restart {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {
        if self.bystander.is_some() {
            return;
        }
        self.rig.host.ok(SERVE_SMALL);
        let cache = attach(self.rig.segment.path()).unwrap();
        store_blocks(&cache);
        let mut bystander = Peer::attached(PEER, self.rig.segment.path(), "writer");
        bystander.ok("hold 3");
        bystander.ok("reserve 5000 2");
        self.bystander = Some(bystander);
        drop(cache);
        self.rig.host.ok("host_leave");
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.rig.begin(SERVE_SMALL)
    }

    fn after_failure(&mut self, _: &Met) {
        assert_eq!(self.rig.host.descriptors(), self.rig.idle, "descriptors are left");
    }

    fn finish(&mut self) {
        let cache = attach(self.rig.segment.path()).unwrap();
        check_blocks(&cache);
        drop(cache);
        self.rig.host.ok("host_audit");
        self.bystander.as_mut().unwrap().ok("check");
        self.rig.host.ok("host_leave");
        assert_eq!(self.rig.host.descriptors(), self.rig.idle, "descriptors are left");
    }
}

// r[verify resources.calls]
#[test]
fn a_start_on_the_segment_of_an_earlier_host() {
    let Some(rig) = Rig::new() else { return };
    sweep("restart", &mut Restart { rig, bystander: None });
}

struct Accept {
    rig: Rig,
    running: usize,
    guest: Option<Cache>,
}

impl Operation for Accept {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {}

    fn attempt(&mut self) -> Result<(), String> {
        self.guest = Some(attach(self.rig.segment.path())?);
        Ok(())
    }

    fn after_failure(&mut self, _: &Met) {
        self.rig.assert_no_guest_is_left(self.running);
    }

    fn finish(&mut self) {
        let guest = self.guest.take().unwrap();
        store_blocks(&guest);
        check_blocks(&guest);
        drop(guest);
        self.rig.assert_no_guest_is_left(self.running);
    }
}

// r[verify resources.calls]
#[test]
fn letting_a_guest_in() {
    let Some(mut rig) = Rig::new() else { return };
    let running = rig.serve();
    let mut accept = Accept { rig, running, guest: None };
    sweep("accept", &mut accept);
    accept.rig.end();
}

struct Grow {
    rig: Rig,
    guest: Option<(Cache, Vec<Fill>)>,
}

impl Grow {
    fn serve(&mut self) {
        self.rig.host.ok(SERVE_GROWING);
        self.guest = Some((attach(self.rig.segment.path()).unwrap(), Vec::new()));
    }
}

impl Operation for Grow {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {
        self.serve();
    }

    fn attempt(&mut self) -> Result<(), String> {
        let (guest, fills) = self.guest.as_mut().unwrap();
        for _ in 0..40 {
            fills.push(guest.reserve(256 << 10).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    fn after_failure(&mut self, _: &Met) {
        self.rig.host.ok("host_audit");
        let published: u64 = self.rig.host.ok("host_stat pool_bytes").parse().unwrap();
        let pool = std::fs::metadata(self.rig.segment.path().join("pool")).unwrap();
        assert_eq!(pool.blocks() * 512, published, "what was reserved is given back");
        // The same host pauses before its next try; another one need not.
        self.guest = None;
        self.rig.host.ok("host_leave");
        assert_eq!(self.rig.host.descriptors(), self.rig.idle, "descriptors are left");
        self.serve();
    }

    fn finish(&mut self) {
        self.guest = None;
        self.rig.end();
    }
}

// r[verify resources.calls]
// r[verify resources.ring-owed]
#[test]
fn growing() {
    let Some(rig) = Rig::new() else { return };
    sweep("growth", &mut Grow { rig, guest: None });
}

struct Recover {
    rig: Rig,
    running: usize,
    victim: Option<Peer>,
}

impl Operation for Recover {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {
        let mut victim = Peer::attached(PEER, self.rig.segment.path(), "writer");
        victim.ok("store 1 5000");
        victim.ok("hold 1");
        victim.ok("pin 1");
        victim.ok("reserve 5000 3");
        self.victim = Some(victim);
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.victim.take().unwrap().kill();
        let host = &mut self.rig.host;
        wait_for("the end of a dead guest", || host.ok("host_stat guests") == "0");
        Ok(())
    }

    fn after_failure(&mut self, _: &Met) {}

    fn finish(&mut self) {
        self.rig.assert_no_guest_is_left(self.running);
    }
}

// r[verify resources.calls]
// r[verify resources.removed-later]
#[test]
fn taking_back_what_a_dead_guest_held() {
    let Some(mut rig) = Rig::new() else { return };
    let running = rig.serve();
    let mut recover = Recover { rig, running, victim: None };
    sweep("recovery", &mut recover);
    recover.rig.end();
}

struct Leave {
    rig: Rig,
    guest: Option<Peer>,
}

impl Operation for Leave {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {
        self.rig.host.ok(SERVE_SMALL);
        self.guest = Some(Peer::attached(PEER, self.rig.segment.path(), "writer"));
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.rig.begin("host_leave")
    }

    fn after_failure(&mut self, _: &Met) {
        assert_eq!(self.rig.host.descriptors(), self.rig.idle, "descriptors are left");
        self.rig.host.ok(SERVE_SMALL);
    }

    fn finish(&mut self) {
        assert_eq!(self.rig.host.descriptors(), self.rig.idle, "descriptors are left");
        let guest = self.guest.as_mut().unwrap();
        wait_for("the goodbye", || guest.tell("end").contains("Host"));
        self.guest = None;
        std::fs::remove_dir_all(self.rig.segment.path()).unwrap();
    }
}

// r[verify resources.calls]
#[test]
fn leaving() {
    let Some(rig) = Rig::new() else { return };
    sweep("goodbye of a host", &mut Leave { rig, guest: None });
}
