//! Uses that the host is not asked about.

use super::scripted::{attached, soon};
use crate::wire::kind;
use onecopy_shm::SlotRef;

fn slot(number: u32) -> SlotRef {
    SlotRef { slot: number, generation: 1 }
}

// r[verify touch.note]
#[test]
fn uses_stand_in_the_log_and_cost_no_word_to_the_host() {
    let (guest, mut host) = attached();
    for number in [3, 1, 3, 2] {
        guest.note_use(slot(number));
    }
    let clone = guest.clone();
    clone.note_use(slot(9));
    assert_eq!(host.noted(), [3, 1, 3, 2, 9].map(slot));
    // Whatever it is, it is the host that judges.
    guest.note_use(SlotRef { slot: u32::MAX, generation: 0 });
    assert_eq!(host.noted(), [SlotRef { slot: u32::MAX, generation: 0 }]);
    assert!(host.is_idle());
}

// r[verify touch.note]
#[test]
fn after_a_goodbye_nothing_is_noted() {
    let (guest, mut host) = attached();
    guest.note_use(slot(1));
    let clone = guest.clone();
    let asker = std::thread::spawn(move || guest.detach(soon()));
    let (header, bytes) = host.next();
    host.send(kind::GOODBYE, 0, header.request_id, &bytes);
    asker.join().unwrap().unwrap();
    clone.note_use(slot(2));
    assert_eq!(host.noted(), [slot(1)]);
}
