//! A guest that dies before any of the shared stores of an operation.

use crate::PEER;
use onecopy::cache::{Block, Cache};
use onecopy_tests::harness::{Peer, Segment, TestHost, is_payload, key, payload, wait_for};
use onecopy_transport::format::Role;
use std::ops::Range;

const ATTACH: &str = "attach writer quiet";
/// A block that stays, and that the other guest reads all the time.
const KEPT: u64 = 1;
/// More than any operation stores.
const STORES_MAX: u64 = 4096;

/// One operation of a guest, and what stands around it.
struct Operation {
    /// What the guest did before.
    setup: &'static [&'static str],
    order: &'static str,
    /// Blocks that are there before.
    before: Range<u64>,
    /// Blocks that are there if the operation was answered, out of 0..100.
    after: Range<u64>,
}

const fn operation(
    setup: &'static [&'static str],
    order: &'static str,
    before: Range<u64>,
    after: Range<u64>,
) -> Operation {
    Operation { setup, order, before, after }
}

const NONE: Range<u64> = 0..0;
const ONE: Range<u64> = 7..8;
const MANY: Range<u64> = 10..22;

const OPERATIONS: &[Operation] = &[
    operation(&[], ATTACH, NONE, NONE),
    operation(&[ATTACH], "ping", NONE, NONE),
    operation(&[ATTACH], "reserve 4000 1", NONE, NONE),
    operation(&[ATTACH, "reserve 4000 1"], "reserve 4000 40", NONE, NONE),
    operation(&[ATTACH, "reserve 4000 70"], "unreserve", NONE, NONE),
    operation(&[ATTACH, "reserve 4000 1"], "publish 7", NONE, ONE),
    operation(&[ATTACH], "store 7 5000", NONE, ONE),
    operation(&[ATTACH, "store 8 5000", "delete 8"], "store 7 5000", NONE, ONE),
    operation(&[ATTACH], "get 7", ONE, ONE),
    operation(&[ATTACH], "find 7", ONE, ONE),
    operation(&[ATTACH], "hold 7", ONE, ONE),
    operation(&[ATTACH, "hold 7"], "let_go", ONE, ONE),
    operation(&[ATTACH], "exists 7", ONE, ONE),
    operation(&[ATTACH], "delete 7", ONE, NONE),
    operation(&[ATTACH, "hold 7"], "delete 7", ONE, NONE),
    operation(&[ATTACH], "pin 7", ONE, ONE),
    operation(&[ATTACH, "pin 7"], "unpin 7", ONE, ONE),
    operation(&[ATTACH], "batch_store 10 12 3000", NONE, MANY),
    operation(&[ATTACH], "batch_get 10 12", MANY, MANY),
    operation(&[ATTACH], "batch_prefix 10 12", MANY, MANY),
    operation(&[ATTACH], "batch_exists 10 12", MANY, MANY),
    operation(&[ATTACH], "batch_delete 10 12", MANY, NONE),
    operation(&[ATTACH], "batch_pin 10 12", MANY, MANY),
    operation(&[ATTACH, "batch_pin 10 12"], "batch_unpin 10 12", MANY, MANY),
    operation(&[ATTACH, "store 7 3000"], "detach", NONE, ONE),
    operation(&[ATTACH, "store 7 3000"], "drop_cache", NONE, ONE),
];

/// A host and a guest that notice nothing.
struct Rig {
    segment: Segment,
    host: TestHost,
    other: Cache,
    kept: Block,
}

impl Rig {
    fn new() -> Rig {
        let segment = Segment::new();
        let host = TestHost::start(&segment);
        let other = host.cache(Role::Writer);
        other.store(&key(KEPT), &payload(KEPT, 3000)).unwrap();
        let kept = other.lookup(&key(KEPT)).unwrap().unwrap();
        Rig { segment, host, other, kept }
    }

    /// Runs the operation and has the guest die before the `store`th store; whether it did.
    fn round(&mut self, operation: &Operation, store: u64) -> bool {
        for number in operation.before.clone() {
            self.other.store(&key(number), &payload(number, 3000)).unwrap();
        }
        let mut victim = Peer::start(PEER, self.segment.path());
        for order in operation.setup {
            victim.ok(order);
        }
        victim.ok(&format!("fault store {store} exit"));
        let answer = victim.try_tell(operation.order);
        let died = answer.is_none();
        match &answer {
            None => assert!(victim.died_of_a_fault()),
            Some(answer) => {
                assert!(answer.starts_with("ok"), "{:?}: {answer}", operation.order);
                victim.kill();
            }
        }
        self.check(operation, died);
        died
    }

    /// What has to be so once the guest is gone.
    fn check(&mut self, operation: &Operation, died: bool) {
        let own = self.other.guest().serial();
        wait_for("the recovery of the victim", || {
            self.host.stat("guests") == 1 && self.segment.files("rings") == [own]
        });
        self.host.assert_clean();
        for figure in ["slots_quarantined", "slots_retired", "pinned_blocks"] {
            assert_eq!(self.host.stat(figure), 0, "{figure}");
        }
        assert_eq!(self.segment.files("leases"), [own]);
        assert!(is_payload(KEPT, &self.kept));
        let mut there = 0;
        for number in 2..100 {
            let block = self.other.lookup(&key(number)).unwrap();
            if let Some(block) = &block {
                assert!(is_payload(number, block), "block {number} has a wrong byte");
                there += 1;
            }
            let may = operation.before.contains(&number) || operation.after.contains(&number);
            assert!(may || block.is_none(), "block {number} came from nowhere");
            if !died && number != 8 {
                assert_eq!(block.is_some(), operation.after.contains(&number), "block {number}");
            }
        }
        assert_eq!(self.host.stat("blocks"), 1 + there);
        for number in 2..100 {
            self.other.delete(&key(number)).unwrap();
        }
        assert_eq!(self.host.stat("blocks"), 1);
    }

    /// Nothing may be left when nobody is.
    fn end(self) {
        let Rig { segment, host, other, kept } = self;
        drop(kept);
        other.delete(&key(KEPT)).unwrap();
        drop(other);
        host.wait_stat("guests", 0);
        for figure in ["slots_granted", "slots_retired", "slots_quarantined", "blocks"] {
            assert_eq!(host.stat(figure), 0, "{figure}");
        }
        host.assert_clean();
        wait_for("no files", || segment.files("rings").is_empty());
        assert!(segment.files("leases").is_empty());
    }
}

// r[verify crash.counted]
// r[verify crash.guest]
#[test]
fn a_guest_may_die_before_any_of_its_stores() {
    let mut rounds = 0;
    for operation in OPERATIONS {
        let mut rig = Rig::new();
        let survived = (1..STORES_MAX).find(|&store| !rig.round(operation, store)).unwrap();
        println!("{:>5} stores: {}", survived - 1, operation.order);
        rounds += survived;
        rig.end();
    }
    println!("{rounds} rounds of {} operations", OPERATIONS.len());
}
