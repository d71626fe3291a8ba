//! Blocks that go while somebody reads them.

use crate::PEER;
use onecopy_tests::harness::{Peer, Segment, TestHost};

fn place(answer: &str) -> (u32, u32) {
    let words: Vec<u32> = answer.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    (words[0], words[1])
}

// r[verify pool.reclaim]
#[test]
fn a_deleted_block_stays_as_it_is_for_who_reads_it_and_its_slot_comes_back_as_another() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.pool_bytes = 2 << 20);
    let mut writer = Peer::attached(PEER, segment.path(), "writer");
    let mut reader = Peer::attached(PEER, segment.path(), "reader");
    let (slot, generation) = place(&writer.ok("store 1 60000"));
    reader.ok("hold 1");
    assert_eq!(writer.ok("delete 1"), "true");
    assert_eq!(reader.ok("get 1"), "miss");
    // More than the pool holds, so that every slot that may be reused is.
    for number in 100..300 {
        let (taken, _) = place(&writer.ok(&format!("store {number} 60000")));
        assert_ne!(taken, slot, "a slot that is read was given away");
    }
    assert_eq!(reader.ok("check"), "1");
    assert_eq!(host.stat("slots_retired"), 1);
    host.assert_clean();

    reader.ok("let_go");
    host.wait_stat("slots_retired", 0);
    let again = (300..900).find_map(|number| {
        let (taken, next) = place(&writer.ok(&format!("store {number} 60000")));
        (taken == slot).then_some(next)
    });
    // More than one further if a guest had it and gave it back unused.
    assert!(again.is_some_and(|next| next > generation), "{again:?} after {generation}");
    host.assert_clean();
}
