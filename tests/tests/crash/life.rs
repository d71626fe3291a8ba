//! A host, a guest that lives through everything, and one that something happens to, each a process
//! of its own.

use crate::PEER;
use onecopy::cache::Cache;
use onecopy_tests::harness::{Peer, Segment, TestHost, is_payload, key, wait_for};
use onecopy_transport::format::Role;

/// What a host is told to become: 4 MiB that do not grow, and nothing stored by itself.
pub const HOST: &str = "quiet_host 4 4";
/// Attaches without a watcher, so that nothing is stored but by what is asked for.
pub const ATTACH: &str = "attach writer quiet";

/// Names the lease table of the guest that lives on, which comes first: a table stays over attaches.
const LEASES_OF_OTHER: u32 = 1;

/// In a setup: the host is killed, and another one starts in its place.
pub const HOST_AGAIN: &str = "host again";

/// In a setup: the guest is cut off.
pub const CUT_OFF: &str = "cut off";

/// What is done to bring something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The guest is given this order, which has to succeed.
    Order(&'static str),
    /// The same, and it has to fail.
    Refused(&'static str),
    /// The guest is killed.
    Kill,
    /// The guest is cut off.
    CutOff,
    /// What the guest holds is written off.
    WriteOff,
    /// The host leaves.
    Leave,
}

/// An operation and what stands around it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What the host is told to become.
    pub host: &'static str,
    /// What the guest did before. Empty: it is not attached.
    pub setup: &'static [&'static str],
    pub deed: Deed,
    /// Blocks, out of 2..100, that are there afterwards, done or not.
    pub stay: Blocks,
    /// Those that are there once it is done.
    pub after: Blocks,
}

/// First number, and the one behind the last.
pub type Blocks = (u64, u64);
pub const NONE: Blocks = (0, 0);
pub const ONE: Blocks = (7, 8);
/// Any that there may be.
pub const ANY: Blocks = (2, 100);
/// Blocks 10 to 21.
pub const MANY: Blocks = (10, 22);

/// The processes. Block 1 is there and held by the guest that lives on.
pub struct Life {
    pub segment: Segment,
    pub host: Peer,
    pub other: Peer,
    pub guest: Peer,
    scenario: Scenario,
    /// Whether the guest was told that it is done.
    done: bool,
}

impl Life {
    pub fn start(scenario: &Scenario) -> Life {
        let segment = Segment::new();
        let mut host = Peer::start(PEER, segment.path());
        host.ok(scenario.host);
        let mut other = Peer::attached(PEER, segment.path(), "writer quiet");
        other.ok("store 1 3000");
        other.ok("hold 1");
        let mut guest = Peer::start(PEER, segment.path());
        for order in scenario.setup {
            match *order {
                ATTACH => drop(guest.attach(order)),
                CUT_OFF => {
                    let serial = guest.serial();
                    assert_eq!(host.ok(&format!("host_cut_off {serial}")), "true");
                }
                HOST_AGAIN => {
                    host.kill();
                    host = Peer::start(PEER, segment.path());
                    host.ok(scenario.host);
                    other.attach("reattach");
                }
                order => drop(guest.ok(order)),
            }
        }
        // So that it is not the one that was used the longest time ago.
        other.ok("get 1");
        Life { segment, host, other, guest, scenario: *scenario, done: false }
    }

    /// Begins what is to be done; [`Life::finish_deed`] waits for it.
    pub fn begin_deed(&mut self) {
        match self.scenario.deed {
            Deed::Order(order) | Deed::Refused(order) => self.guest.order(order),
            Deed::Kill => drop(self.guest.kill()),
            Deed::CutOff => {
                let serial = self.guest.serial();
                self.host.try_order(&format!("host_cut_off {serial}"));
            }
            Deed::WriteOff => {
                let serial = self.guest.serial();
                self.host.try_order(&format!("host_write_off {serial}"));
            }
            Deed::Leave => self.host.try_order("host_leave"),
        }
    }

    /// Waits until it is done, or the host is dead.
    pub fn finish_deed(&mut self) {
        let deed = self.scenario.deed;
        match deed {
            Deed::Order(_) | Deed::Refused(_) => {
                let answer = self.guest.answer();
                self.done = answer.starts_with("ok") == matches!(deed, Deed::Order(_));
                assert!(self.done || self.host_ends(), "{deed:?}: {answer}");
                match deed {
                    Deed::Order("drop_cache") => self.wait_recovered(),
                    // Slots are given back without waiting for anything.
                    Deed::Order("unreserve") => drop(self.guest.tell("ping")),
                    _ => {}
                }
            }
            Deed::Kill => self.wait_recovered(),
            Deed::CutOff | Deed::WriteOff => drop(self.host.answer_or_end()),
            Deed::Leave => {
                if self.host.answer_or_end().is_some() {
                    wait_for("the goodbye or the end of the host", || {
                        self.other.ok("end").contains("Host")
                    });
                }
            }
        }
    }

    fn wait_recovered(&mut self) {
        let own = self.other.serial();
        wait_for("recovery or the end of the host", || {
            self.segment.files("rings") == [own] || self.host.has_ended()
        });
    }

    /// Whether the host ends now: asked when a guest says that it is gone.
    fn host_ends(&mut self) -> bool {
        wait_for("the end of the host", || self.host.has_ended());
        true
    }

    /// Whether the host, which was told to die, is alive. It dies of nothing else. Returns how many
    /// stores it counted.
    pub fn host_lives(&mut self) -> Option<u64> {
        match self.host.try_tell("fault off") {
            Some(answer) => {
                let counted = answer.strip_prefix("ok").unwrap_or_else(|| panic!("{answer}"));
                Some(counted.trim().parse().unwrap())
            }
            None => {
                assert!(self.host.died_of_a_fault());
                None
            }
        }
    }

    /// What the guest that lives on sees while there is no host, or none that answers.
    pub fn check_outage(&mut self) {
        assert_eq!(self.other.ok("check"), "1");
    }

    /// The host is dead: a new one starts here and finds everything, and in the end nothing is left.
    pub fn check_on_new_host(mut self) {
        self.check_outage();
        let host = TestHost::with(&self.segment, |options| {
            options.pool_bytes = 4 << 20;
            options.pool_bytes_max = 4 << 20;
        });
        host.assert_clean();
        self.check_blocks(&host.cache(Role::Reader), host.stat("blocks"));
        self.other.ok("reattach");
        go_on(&mut self.other);
        self.scribble();
        self.check_blocks(&host.cache(Role::Reader), host.stat("blocks"));
        self.come_back();
        host.assert_clean();
        self.guest.end();
        host.wait_stat("guests", 1);
        host.assert_clean();
        go_on(&mut self.other);
        self.other.kill();
        host.wait_stat("guests", 0);
        // What is written off stays away from everybody until the segment is made anew.
        if self.scenario.deed != Deed::WriteOff {
            assert_eq!(host.stat("slots_quarantined"), 0);
        }
        for figure in ["slots_granted", "slots_retired", "pinned_blocks"] {
            assert_eq!(host.stat(figure), 0, "{figure}");
        }
        host.assert_clean();
        wait_for("no files", || self.segment.files("rings").is_empty());
        assert!(self.segment.files("leases").is_empty());
    }

    /// Every block has its bytes, none is missing and none came from nowhere.
    fn check_blocks(&self, reader: &Cache, blocks: u64) {
        let within = |(first, end): Blocks, number: u64| (first..end).contains(&number);
        let mut there = 0;
        for number in 1..100 {
            let block = reader.lookup(&key(number)).unwrap();
            if let Some(block) = &block {
                assert!(is_payload(number, block), "block {number} has a wrong byte");
                there += 1;
            }
            let wanted = number == 1 || within(self.scenario.stay, number);
            assert!(block.is_some() || !wanted, "block {number} is lost");
            if self.done && number > 1 && self.scenario.after != ANY {
                assert_eq!(block.is_some(), within(self.scenario.after, number), "block {number}");
            }
        }
        assert_eq!(blocks, there);
    }

    /// A guest that lives attaches to the new host: it still reads what it leased, and what it had
    /// reserved can be published.
    fn come_back(&mut self) {
        let has_left = matches!(self.scenario.deed, Deed::Order("drop_cache" | "detach"));
        if self.guest.has_ended() || self.guest.serial() == 0 || has_left {
            return;
        }
        self.guest.ok("reattach");
        self.guest.ok("check");
        self.guest.ok("batch_get 1 99");
        // What was written off is nobody's to publish.
        if self.guest.ok("scribble 85") != "0" && self.scenario.deed != Deed::WriteOff {
            assert!(self.guest.ok("publish 60").contains("First"));
            assert_ne!(self.other.ok("get 60"), "miss");
            assert_eq!(self.other.ok("delete 60"), "true");
        }
        self.guest.ok("store 61 3000");
        self.guest.ok("delete 61");
    }

    /// A guest that still lives reads what it leased and writes into all that it reserved, while others
    /// store: nobody sees that.
    pub fn scribble(&mut self) {
        self.other.ok("batch_store 30 6 3000");
        // There may be no room for that while the guest has what it has.
        self.other.tell("batch_store 36 6 9000");
        if !self.guest.has_ended() {
            self.guest.ok("check");
            self.guest.ok("scribble 171");
        }
        assert!(self.other.ok("batch_get 30 12").parse::<u64>().unwrap() >= 6);
        self.other.ok("batch_delete 30 12");
    }

    /// The guest is dead, or is killed now: the host takes back all that was its.
    pub fn check_on_same_host(mut self) {
        self.guest.end();
        let own = self.other.serial();
        wait_for("the recovery of the guest", || {
            self.segment.files("rings") == [own] && self.stat("guests") == 1
        });
        self.check_host(&[("slots_quarantined", 0), ("pinned_blocks", 0)]);
        assert_eq!(self.segment.files("leases"), [LEASES_OF_OTHER]);
        go_on(&mut self.other);
        self.other.kill();
        wait_for("the recovery of the other guest", || self.stat("guests") == 0);
        self.check_host(&[("slots_granted", 0), ("slots_retired", 0), ("slots_quarantined", 0)]);
        wait_for("no files", || self.segment.files("leases").is_empty());
    }

    /// The host's audit is clean, and these figures are right.
    pub fn check_host(&mut self, figures: &[(&str, u64)]) {
        self.host.ok("host_audit");
        for (figure, value) in figures {
            assert_eq!(self.stat(figure), *value, "{figure}");
        }
    }

    pub fn stat(&mut self, figure: &str) -> u64 {
        self.host.ok(&format!("host_stat {figure}")).parse().unwrap()
    }
}

/// A guest that goes on: every block has the right bytes, and new ones come and go.
pub fn go_on(guest: &mut Peer) {
    assert_eq!(guest.ok("check"), "1");
    guest.ok("batch_get 1 99");
    guest.ok("batch_store 100 4 3000");
    assert_eq!(guest.ok("batch_get 100 4"), "4");
    guest.ok("batch_delete 100 4");
    assert!(guest.ok("get 1").starts_with("3000 "));
}
