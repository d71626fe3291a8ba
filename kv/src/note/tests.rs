use super::*;

// r[verify kv.note]
#[test]
fn a_note_reads_back_as_it_was_written() {
    let note = Note { key: Key::from_text("a"), expiry_s: 0x1122_3344, flags: NOTE_CHECKSUM };
    assert_eq!(Note::from_words(note.to_words()), note);
    assert_eq!(note.to_words()[EXPIRY_WORD], 0x0000_0001_1122_3344);
    assert_eq!(note.to_words()[..4], key_words(&note.key));
    let cold = Cold::new(Some(Checksum::of(b"x")), 9, 3);
    assert_eq!(Cold::from_words(cold.to_words()), cold);
    assert_eq!(Cold::new(None, 9, 3).to_words(), [0, 9, 3, 0, 0, 0, 0]);
}

// r[verify kv.ttl_length]
#[test]
fn an_expiry_that_the_clock_cannot_say_is_its_last_second() {
    assert_eq!(expiry_s(100, 0), 0);
    assert_eq!(expiry_s(100, 1), 102);
    assert_eq!(expiry_s(100, u32::MAX), u32::MAX);
    assert_eq!(expiry_s(u64::MAX, 1), u32::MAX);
}

// r[verify kv.ttl]
#[test]
fn flags_are_no_part_of_an_expiry() {
    let word = |expiry_s| Note { key: Key::from_text("a"), expiry_s, flags: NOTE_CHECKSUM };
    let expired = |expiry_s, clock_s| is_expired(word(expiry_s).to_words()[EXPIRY_WORD], clock_s);
    assert!(!expired(0, u64::MAX));
    assert!(!expired(5, 4) && expired(5, 5));
    assert!(expired(u32::MAX, 1 << 40));
}
