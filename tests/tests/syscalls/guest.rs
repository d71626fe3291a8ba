//! The calls of a guest, and of who destroys a segment.

use crate::PEER;
use crate::host::{attach, store_blocks};
use crate::sweep::{Met, Operation, sweep};
use onecopy_tests::harness::{Peer, Segment, TestHost, Trap, wait_for};
use std::time::Duration;

/// Longer than a host looks before it sleeps.
const HOST_FALLS_ASLEEP: Duration = Duration::from_millis(3);

/// A guest process whose calls are watched, and its host.
struct Rig {
    host: Option<TestHost>,
    guest: Peer,
    trap: Trap,
    /// Descriptors that it has without an attach.
    idle: usize,
    // After its host.
    segment: Segment,
}

impl Rig {
    fn new() -> Option<Rig> {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        let mut guest = Peer::start(PEER, segment.path());
        let trap = Trap::of(&mut guest)?;
        guest.ok("attach writer");
        guest.ok("drop_cache");
        let idle = guest.descriptors();
        Some(Rig { host: Some(host), guest, trap, idle, segment })
    }

    fn tell(&mut self, order: &str) -> Result<(), String> {
        let answer = self.guest.tell(order);
        if answer.starts_with("ok") { Ok(()) } else { Err(answer) }
    }

    fn assert_nothing_is_left(&mut self) {
        let segment = &self.segment;
        wait_for("the files of a guest to go", || {
            segment.files("rings").is_empty() && segment.files("leases").is_empty()
        });
        assert_eq!(self.guest.descriptors(), self.idle, "descriptors are left");
        self.host.as_ref().unwrap().assert_clean();
    }

    fn use_and_part(&mut self) {
        self.guest.ok("store 1 5000");
        assert_ne!(self.guest.ok("get 1"), "miss");
        self.guest.ok("drop_cache");
        self.assert_nothing_is_left();
    }
}

struct Attach(Rig);

impl Operation for Attach {
    fn trap(&self) -> &Trap {
        &self.0.trap
    }

    fn prepare(&mut self) {}

    fn attempt(&mut self) -> Result<(), String> {
        self.0.tell("attach writer")
    }

    fn after_failure(&mut self, _: &Met) {
        self.0.assert_nothing_is_left();
    }

    fn finish(&mut self) {
        self.0.use_and_part();
    }
}

// r[verify resources.calls]
// r[verify attach.given_up]
#[test]
fn attaching() {
    let Some(rig) = Rig::new() else { return };
    sweep("attach", &mut Attach(rig));
}

struct Use {
    rig: Rig,
    number: u64,
}

impl Operation for Use {
    fn trap(&self) -> &Trap {
        &self.rig.trap
    }

    fn prepare(&mut self) {
        self.rig.guest.ok("attach writer");
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.number += 1;
        let number = self.number;
        self.rig.tell("reserve 5000 1")?;
        for order in ["publish", "hold", "pin", "unpin", "delete"] {
            // A host that is awake is asked without a call; one that sleeps has to be woken.
            std::thread::sleep(HOST_FALLS_ASLEEP);
            self.rig.tell(&format!("{order} {number}"))?;
        }
        Ok(())
    }

    fn after_failure(&mut self, _: &Met) {
        self.rig.guest.ok("unreserve");
        self.rig.guest.ok("check");
        self.rig.guest.ok("let_go");
        assert_eq!(self.rig.guest.ok("end"), "None", "an error of one call ends no link");
    }

    fn finish(&mut self) {
        self.rig.guest.ok("unreserve");
        self.rig.guest.ok("check");
        self.rig.guest.ok("let_go");
        self.rig.use_and_part();
    }
}

// r[verify resources.calls]
// r[verify resources.guest-goes-on]
#[test]
fn reserving_publishing_and_looking_up() {
    let Some(rig) = Rig::new() else { return };
    sweep("use", &mut Use { rig, number: 1000 });
}

struct Reattach(Rig);

impl Operation for Reattach {
    fn trap(&self) -> &Trap {
        &self.0.trap
    }

    fn prepare(&mut self) {
        let rig = &mut self.0;
        rig.guest.ok("attach writer");
        rig.guest.ok("store 1 5000");
        rig.guest.ok("hold 1");
        rig.host.take().unwrap().leave().unwrap();
        rig.host = Some(TestHost::start(&rig.segment));
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.0.tell("reattach")
    }

    fn after_failure(&mut self, _: &Met) {
        self.0.guest.ok("check");
    }

    fn finish(&mut self) {
        let rig = &mut self.0;
        rig.guest.ok("check");
        rig.guest.ok("let_go");
        rig.guest.ok("store 2 5000");
        rig.guest.ok("drop_cache");
        assert_eq!(rig.guest.descriptors(), rig.idle, "descriptors are left");
        rig.host.as_ref().unwrap().assert_clean();
    }
}

// r[verify resources.calls]
#[test]
fn attaching_anew() {
    let Some(rig) = Rig::new() else { return };
    sweep("re-attach", &mut Reattach(rig));
}

struct Detach(Rig);

impl Operation for Detach {
    fn trap(&self) -> &Trap {
        &self.0.trap
    }

    fn prepare(&mut self) {
        self.0.guest.ok("attach writer");
    }

    fn attempt(&mut self) -> Result<(), String> {
        std::thread::sleep(HOST_FALLS_ASLEEP);
        self.0.tell("detach")
    }

    fn after_failure(&mut self, _: &Met) {}

    fn finish(&mut self) {
        self.0.guest.ok("drop_cache");
        self.0.assert_nothing_is_left();
    }
}

// r[verify resources.calls]
#[test]
fn saying_goodbye() {
    let Some(rig) = Rig::new() else { return };
    sweep("goodbye of a guest", &mut Detach(rig));
}

struct Destroy(Rig);

impl Operation for Destroy {
    fn trap(&self) -> &Trap {
        &self.0.trap
    }

    fn prepare(&mut self) {
        let host = TestHost::start(&self.0.segment);
        let cache = attach(self.0.segment.path()).unwrap();
        store_blocks(&cache);
        // Its files stay until somebody looks.
        std::mem::forget(cache);
        host.leave().unwrap();
    }

    fn attempt(&mut self) -> Result<(), String> {
        self.0.tell("destroy")
    }

    fn after_failure(&mut self, _: &Met) {
        assert!(self.0.segment.path().exists(), "it says that it failed");
    }

    fn finish(&mut self) {
        assert!(!self.0.segment.path().exists(), "something is left");
        assert_eq!(self.0.guest.descriptors(), self.0.idle, "descriptors are left");
    }
}

// r[verify resources.calls]
#[test]
fn destroying() {
    let Some(mut rig) = Rig::new() else { return };
    rig.host.take().unwrap().leave().unwrap();
    std::fs::remove_dir_all(rig.segment.path()).unwrap();
    sweep("destroy", &mut Destroy(rig));
}
