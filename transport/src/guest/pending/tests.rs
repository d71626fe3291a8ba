use super::*;
use onecopy_shm::SlotRef;
use std::collections::HashSet;

fn inline(text: &[u8]) -> Answer {
    Answer::Inline(AnswerBytes::filled(text.len(), |target| target.copy_from_slice(text)))
}

fn granted(slot: u32) -> GrantedSlot {
    GrantedSlot { slot: SlotRef { slot, generation: 1 }, offset: 4096, slot_bytes: 64, class: 0 }
}

fn answer(table: &mut PendingTable, request_id: u32, kind: u8, text: &[u8]) {
    let matched = table.match_answer(request_id, kind).unwrap();
    assert!(!matched.abandoned);
    table.answer(matched.index, inline(text));
}

// r[verify guest.request-id]
#[test]
fn no_request_in_flight_shares_its_id_and_no_id_is_zero() {
    let mut table = PendingTable::new(3);
    let mut ids = HashSet::new();
    for _ in 0..10_000 {
        let held: Vec<u32> = (0..3).map(|_| table.open(40, None).unwrap()).collect();
        assert_eq!(held.iter().collect::<HashSet<_>>().len(), 3);
        assert!(held.iter().all(|&id| id != 0 && id <= onecopy_shm::REQUEST_ID_MAX));
        assert_eq!(table.open(40, None), None, "as many as there may be");
        ids.extend(held.iter().copied());
        for id in held {
            answer(&mut table, id, 40, b"x");
            assert!(table.take(id).is_some());
        }
    }
    assert_eq!(ids.len(), 3 * GENERATION_MAX as usize, "every generation of three elements");
    assert_eq!((table.awaited(), table.in_flight()), (0, 0));
}

// r[verify guest.answer.checked]
#[test]
fn an_answer_to_nothing_or_of_another_kind_is_an_error() {
    let mut table = PendingTable::new(8);
    let unknown = |request_id| Err(LinkError::UnknownRequest { request_id, kind: 40 });
    assert_eq!(table.match_answer(1 << INDEX_BITS, 40), unknown(1 << INDEX_BITS), "never asked");
    let id = table.open(40, None).unwrap();
    assert_eq!(table.match_answer(id + 1, 40), unknown(id + 1), "another element");
    let later = id + (1 << INDEX_BITS);
    assert_eq!(table.match_answer(later, 40), unknown(later), "another generation");
    let wrong = LinkError::WrongKind { request_id: id, found: 41, expected: 40 };
    assert_eq!(table.match_answer(id, 41), Err(wrong));
    answer(&mut table, id, 40, b"x");
    let twice = LinkError::AnsweredTwice { request_id: id, kind: 40 };
    assert_eq!(table.match_answer(id, 40), Err(twice));
    assert!(table.take(id).is_some());
    assert_eq!(table.match_answer(id, 40), unknown(id), "taken");
    assert!(table.take(id).is_none());
}

#[test]
fn short_and_long_answers_come_back_as_they_came() {
    for length in [0, 1, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 5000] {
        let text: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let bytes = AnswerBytes::filled(length, |target| target.copy_from_slice(&text));
        assert_eq!(bytes.as_slice(), text);
    }
}

#[test]
fn an_abandoned_request_keeps_its_place_until_it_is_answered() {
    let mut table = PendingTable::new(1);
    let id = table.open(40, Some(granted(7))).unwrap();
    assert!(table.abandon(id).is_none());
    assert!(!table.has_room());
    assert_eq!(table.awaited(), 0);
    let matched = table.match_answer(id, 40).unwrap();
    assert_eq!((matched.abandoned, matched.request_slot), (true, Some(granted(7))));
    table.close_index(matched.index);
    assert!(table.has_room());
    let id = table.open(40, None).unwrap();
    answer(&mut table, id, 40, b"late");
    assert!(table.abandon(id).is_some(), "an answer that is here comes back");
    assert!(table.has_room());
}

#[test]
fn only_a_waiting_request_of_the_kind_is_answered_directly() {
    let mut table = PendingTable::new(4);
    let id = table.open(40, None).unwrap();
    assert!(!table.answered_directly(id, 41));
    assert!(!table.answered_directly(id + (1 << INDEX_BITS), 40));
    assert!(table.answered_directly(id, 40));
    assert!(!table.answered_directly(id, 40));
    let id = table.open(40, Some(granted(7))).unwrap();
    assert!(!table.answered_directly(id, 40), "its slot would be lost");
    let id = table.open(40, None).unwrap();
    assert!(table.abandon(id).is_none());
    assert!(!table.answered_directly(id, 40));
}
