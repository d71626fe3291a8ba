//! Rows of guests of an earlier host that do not tell what they should: the lease table is gone, or the
//! number of the process means somebody else.

use crate::PEER;
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, soon};
use onecopy_transport::format::{PeerRow, Role};
use onecopy_transport::host::{HandleError, PeerInfo, SettleError, Settlement};
use onecopy_transport::inspect::inspect;
use onecopy_transport::layout::ControlLayout;
use onecopy_transport::segment::SegmentPath;
use std::fs::{self, File, Permissions};
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

/// A killed host, and a living guest that reads block 1 of two and fills slots.
fn outlived(segment: &Segment) -> Peer {
    let mut host = Peer::start(PEER, segment.path());
    host.ok("host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("store 2 5000");
    guest.ok("hold 1");
    guest.ok("reserve 9000 2");
    host.kill();
    guest
}

fn table_of(segment: &Segment, guest: &Peer) -> PathBuf {
    segment.path().join(format!("leases/{}", guest.serial()))
}

fn info(host: &TestHost, serial: u32) -> Option<PeerInfo> {
    let peers = host.handle().peers(soon()).unwrap();
    peers.into_iter().find(|peer| peer.serial == serial)
}

// r[verify host.take_over.no-table]
#[test]
fn a_lease_table_that_is_gone_keeps_no_host_out_and_no_slot_is_reused_that_its_guest_may_read() {
    let segment = Segment::new();
    let mut guest = outlived(&segment);
    fs::remove_file(table_of(&segment, &guest)).unwrap();
    let mut host = TestHost::start(&segment);
    assert_eq!((host.stat("lease_tables_lost"), host.stat("guests_earlier")), (1, 1));
    let told = info(&host, guest.serial()).unwrap();
    assert_eq!(told.leases, 2, "either block");
    assert!(told.quarantined.slots >= 2);
    host.assert_clean();

    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("delete 1");
    other.ok("delete 2");
    other.ok("store 5 5000");
    other.ok("delete 5");
    other.ok("store_many 1000 600");
    host.wait_ticks(3);
    assert_eq!(guest.ok("check"), "1");
    assert_eq!(host.stat("slots_retired"), 2, "what came later is reused");
    host.assert_clean();

    // It comes back with a table of its own; what it had before stays as it is.
    let again: u32 = guest.ok("reattach").parse().unwrap();
    assert_eq!(segment.files("leases"), [other.serial(), again]);
    guest.ok("store 9 5000");
    guest.ok("hold 9");
    other.ok("store_many 3000 600");
    assert_eq!(guest.ok("check"), "2");
    assert_eq!(
        (host.stat("lease_tables_lost"), host.stat("slots_quarantined")),
        (1, told.quarantined.slots)
    );
    host.assert_clean();

    guest.kill();
    host.wait_recovered(guest.serial());
    host.wait_recovered(again);
    host.wait_stat("slots_retired", 0);
    assert_eq!((host.stat("lease_tables_lost"), host.stat("slots_quarantined")), (0, 0));
    host.assert_clean();
}

// r[verify host.take_over.no-table]
#[test]
fn what_stands_in_the_place_of_a_lease_table_and_is_none_is_not_believed() {
    for wrong in ["a directory", "a link", "readable by all"] {
        let segment = Segment::new();
        let mut guest = outlived(&segment);
        let table = table_of(&segment, &guest);
        match wrong {
            "readable by all" => {
                fs::set_permissions(&table, Permissions::from_mode(0o644)).unwrap()
            }
            _ => fs::remove_file(&table).unwrap(),
        }
        match wrong {
            "a directory" => fs::create_dir(&table).unwrap(),
            "a link" => std::os::unix::fs::symlink("/etc/passwd", &table).unwrap(),
            _ => {}
        }
        let mut host = TestHost::start(&segment);
        assert_eq!(host.stat("lease_tables_lost"), 1, "{wrong}");
        let mut other = Peer::attached(PEER, segment.path(), "writer");
        other.ok("delete 1");
        other.ok("store_many 1000 600");
        assert_eq!(guest.ok("check"), "1");
        guest.kill();
        host.wait_recovered(guest.serial());
        host.wait_stat("slots_retired", 0);
        host.assert_clean();
    }
}

// r[verify host.take_over.no-table]
// r[verify peer.write-off]
#[test]
fn who_is_written_off_without_a_lease_table_takes_all_with_it_that_it_may_read() {
    let segment = Segment::new();
    let mut guest = outlived(&segment);
    fs::remove_file(table_of(&segment, &guest)).unwrap();
    let host = TestHost::start(&segment);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("store 5 5000");
    other.ok("delete 2");
    let quarantined = host.stat("slots_quarantined");
    let settled = host.handle().settle(guest.serial(), Settlement::WriteOff, soon()).unwrap();
    assert_eq!((settled.proven, settled.leases), (false, 2));
    assert_eq!(settled.slots.slots, quarantined + 2);
    assert_eq!((other.ok("get 1"), host.stat("slots_retired")), ("miss".to_owned(), 0));
    assert_ne!(other.ok("get 5"), "miss", "it came later");
    other.ok("store_many 1000 600");
    assert_eq!(guest.ok("check"), "1");
    host.assert_clean();
}

/// Where the first row of the peer table is, and a way to read and write its words.
struct Row {
    control: File,
    offset: u64,
}

impl Row {
    /// Of the only guest of a segment without a host.
    fn only(segment: &Segment) -> Row {
        let path = SegmentPath::new(segment.path()).unwrap();
        let service = onecopy::service::CacheService::new(Default::default());
        let found = inspect(&path, service).unwrap();
        assert_eq!(found.peers.len(), 1);
        // Rows are given out from the first one on.
        let offset = ControlLayout::new(&found.geometry).peers;
        let control = segment.path().join("control");
        Row { control: File::options().read(true).write(true).open(control).unwrap(), offset }
    }

    fn get(&self, field: usize) -> u64 {
        let mut word = [0; 8];
        self.control.read_exact_at(&mut word, self.offset + field as u64).unwrap();
        u64::from_le_bytes(word)
    }

    fn set(&self, field: usize, value: u64) {
        self.control.write_all_at(&value.to_le_bytes(), self.offset + field as u64).unwrap();
    }
}

// r[verify process.inode]
#[test]
fn a_number_that_a_host_in_another_namespace_stored_names_nobody() {
    let segment = Segment::new();
    let mut guest = outlived(&segment);
    // As on a kernel without inodes: the number is all that is known, and in this namespace it is that
    // of another process, which now claims to be the guest.
    let row = Row::only(&segment);
    row.set(offset_of!(PeerRow, process_inode), 0);
    row.set(offset_of!(PeerRow, pid), std::process::id().into());
    let host = TestHost::start(&segment);
    assert_eq!(info(&host, guest.serial()).map(|told| (told.pid, told.leases)), Some((0, 1)));
    let mut thief = RawGuest::attach_again(segment.path(), guest.serial());
    assert_eq!(thief.welcome.lease_serial.get(), thief.serial(), "a table of its own");
    assert_eq!(thief.hand_over(1, &[]), None);
    assert!(info(&host, guest.serial()).is_some(), "and no attach of another is over");
    assert_eq!(guest.ok("check"), "1");
    host.assert_clean();
}

// r[verify process.inode]
#[test]
fn a_process_of_the_same_number_and_start_but_another_inode_is_not_the_guest() {
    let segment = Segment::new();
    let guest = outlived(&segment);
    let row = Row::only(&segment);
    let inode = row.get(offset_of!(PeerRow, process_inode));
    if inode == 0 {
        println!("skipped: this kernel gives processes no inodes");
        return;
    }
    row.set(offset_of!(PeerRow, process_inode), inode + 1);
    let host = TestHost::start(&segment);
    let serial = guest.serial();
    assert_eq!(info(&host, serial).map(|told| told.pid), Some(0));
    let refused = host.handle().settle(serial, Settlement::Kill, soon()).unwrap_err();
    let expected = SettleError::CannotKill { serial: serial.into(), errno: 0 };
    assert_eq!(refused, HandleError::Settle(expected));
    assert!(RawGuest::attach(segment.path(), Role::Reader).serial() > serial);
    host.assert_clean();
}
