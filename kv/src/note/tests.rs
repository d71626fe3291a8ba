use super::*;

// r[verify kv.note]
#[test]
fn a_note_reads_back_as_it_was_written() {
    let note = Note { key: Key::from_text("a"), expiry_s: 0x1122_3344, flags: NOTE_CHECKSUM };
    assert_eq!(Note::from_words(note.to_words()), note);
    assert_eq!(note.to_words()[4], 0x0000_0001_1122_3344);
    let cold = Cold::new(Some(Checksum::of(b"x")), 9);
    assert_eq!(Cold::from_words(cold.to_words()), cold);
    assert_eq!(Cold::new(None, 9).to_words(), [0, 9, 0, 0, 0, 0, 0]);
}

// r[verify kv.ttl_length]
#[test]
fn an_expiry_that_the_clock_cannot_say_is_its_last_second() {
    assert_eq!(expiry_s(100, 0), 0);
    assert_eq!(expiry_s(100, 1), 102);
    assert_eq!(expiry_s(100, u32::MAX), u32::MAX);
    assert_eq!(expiry_s(u64::MAX, 1), u32::MAX);
}
