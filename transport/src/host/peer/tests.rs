use super::*;

fn who(serial: Serial, uid: u32, process: ProcessName) -> Who {
    Who { serial, row: 0, role: Role::Writer, process, uid, lease_serial: 1 }
}

// r[verify process.same-user]
// r[verify process.inode]
#[test]
fn a_process_is_the_same_one_only_for_the_same_user() {
    let names = [(7, 70), (7, 0), (0, 70)].map(|(pid, inode)| ProcessName { pid, inode });
    for name in names {
        let earlier = who(1, 1000, name);
        assert!(earlier.is_of(&name, 1000) && earlier.is_earlier_of(&who(2, 1000, name)));
        assert!(!earlier.is_of(&name, 1001) && !earlier.is_earlier_of(&who(2, 1001, name)));
        assert!(!earlier.is_earlier_of(&who(1, 1000, name)), "it is no heir of its own");
    }
    let nobody = ProcessName { pid: 0, inode: 0 };
    assert!(!who(1, 1000, nobody).is_of(&nobody, 1000), "nothing is known of either");
    let [both, number, inode] = names;
    assert!(who(1, 0, both).is_of(&inode, 0) && who(1, 0, both).is_of(&number, 0));
    let other = ProcessName { inode: 71, ..both };
    assert!(!who(1, 0, both).is_of(&other, 0), "the number was used again");
}
