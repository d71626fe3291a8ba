use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::{Key, ParseKeyError};

// r[verify key.text]
#[test]
fn a_text_names_a_block_by_its_blake3_digest() {
    // The published BLAKE3 test vector of the empty input.
    let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(Key::from_text("").to_string(), empty);
    assert_ne!(Key::from_text("a"), Key::from_text("b"));
    assert_eq!(Key::from_text("a"), Key::from_text("a"));
}

#[test]
fn wrong_text_says_what_is_wrong() {
    assert_eq!("abc".parse::<Key>(), Err(ParseKeyError::Length { found: 3 }));
    assert_eq!("0".repeat(65).parse::<Key>(), Err(ParseKeyError::Length { found: 65 }));
    let mut text = "0".repeat(63);
    text.insert(5, 'g');
    assert_eq!(text.parse::<Key>(), Err(ParseKeyError::Digit { index: 5, found: 'g' }));
    // 64 characters and more bytes than that: counted as characters, refused as a digit.
    assert_eq!("é".repeat(64).parse::<Key>(), Err(ParseKeyError::Digit { index: 0, found: 'é' }));
}

#[test]
fn a_key_is_its_bytes_in_a_wire_struct() {
    let key = Key::from_text("x");
    assert_eq!(key.as_bytes().as_slice(), IntoBytes::as_bytes(&key));
    assert_eq!(Key::read_from_bytes(key.as_bytes().as_slice()).unwrap(), key);
    assert_eq!(size_of::<Key>(), 32);
    assert_eq!(align_of::<Key>(), 1);
}

proptest! {
    // r[verify key.hex]
    #[test]
    fn hexadecimal_text_comes_back(bytes: [u8; 32]) {
        let key = Key::from_bytes(bytes);
        prop_assert_eq!(key.to_string().parse::<Key>(), Ok(key));
        prop_assert_eq!(key.to_string().to_uppercase().parse::<Key>(), Ok(key));
    }
}
