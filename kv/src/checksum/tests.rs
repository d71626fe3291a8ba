use proptest::prelude::*;

use super::Checksum;

// r[verify checksum.word]
#[test]
fn the_word_zero_is_no_checksum() {
    assert_eq!(Checksum::from_word(0), None);
    // The published xxh3 digest of no bytes.
    assert_eq!(Checksum::of(&[]).to_word(), 0x2d06_8005_38d3_94c2);
}

proptest! {
    // r[verify checksum.verify]
    #[test]
    fn one_changed_bit_is_found(mut bytes in prop::collection::vec(any::<u8>(), 1..400), at: prop::sample::Index, bit in 0u32..8) {
        let checksum = Checksum::of(&bytes);
        prop_assert_eq!(Checksum::from_word(checksum.to_word()), Some(checksum));
        prop_assert_eq!(checksum.verify(&bytes), Ok(()));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mismatch = checksum.verify(&bytes).unwrap_err();
        prop_assert_eq!(mismatch.expected, checksum.to_word());
        prop_assert_ne!(mismatch.found, mismatch.expected);
        prop_assert_eq!(mismatch.size_bytes, bytes.len());
    }
}
