//! Bytes that tell which trip they belong to, so that every answer can be checked.

use crate::error::BenchError;

/// An odd number whose products look like noise.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// Word `index` of the request of a trip.
#[inline]
pub(crate) fn request_word(trip: u64, index: usize) -> u64 {
    trip.wrapping_mul(MIX).wrapping_add(index as u64)
}

/// Word `index` of the reply: what the partner makes of the request.
#[inline]
pub(crate) fn reply_word(trip: u64, index: usize) -> u64 {
    !request_word(trip, index)
}

/// Fills whole words of a payload.
#[inline]
pub(crate) fn fill(bytes: &mut [u8], word: impl Fn(usize) -> u64) {
    for (index, part) in bytes.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&word(index).to_ne_bytes());
    }
}

/// Whether a payload is `expected_bytes` long and every word of it what it should be.
#[inline]
pub(crate) fn check(
    bytes: &[u8],
    expected_bytes: usize,
    trip: u64,
    word: impl Fn(usize) -> u64,
) -> Result<(), BenchError> {
    if bytes.len() != expected_bytes {
        let found = bytes.len();
        return Err(BenchError::WrongLength { trip, found, expected: expected_bytes });
    }
    let words = bytes.as_chunks::<8>().0;
    for (index, found) in words.iter().enumerate() {
        check_word(trip, index, u64::from_ne_bytes(*found), word(index))?;
    }
    Ok(())
}

/// Whether one word is what it should be.
#[inline]
pub(crate) fn check_word(
    trip: u64,
    word: usize,
    found: u64,
    expected: u64,
) -> Result<(), BenchError> {
    if found == expected {
        return Ok(());
    }
    Err(BenchError::WrongWord { trip, word, found, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is() {
        let mut bytes = [0; 24];
        fill(&mut bytes, |index| request_word(7, index));
        assert!(check(&bytes, 24, 7, |index| request_word(7, index)).is_ok());
        assert!(check(&bytes, 24, 8, |index| request_word(8, index)).is_err());
        assert!(check(&bytes, 32, 7, |index| request_word(7, index)).is_err());
        for offset in 0..bytes.len() {
            bytes[offset] ^= 1;
            assert!(check(&bytes, 24, 7, |index| request_word(7, index)).is_err(), "{offset}");
            bytes[offset] ^= 1;
        }
    }
}
