//! What stands in a block: words that tell which block it is, so that every answer can be checked,
//! in part, by their sum, or whole.

use serde::{Deserialize, Serialize};

/// Odd numbers whose products look like noise.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
const STEP: u64 = 0xD1B5_4A32_D192_ED03;

/// The name of a block: 32 hexadecimal digits, which every system here takes as a key.
pub(crate) type Name = [u8; 32];

/// Which block of which size; the size is a multiple of eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) number: u64,
    /// Whether a word in the middle is wrong: for the test that such a block ends the run.
    pub(crate) is_spoilt: bool,
}

/// How much of a block a get looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    /// No byte: only how many there are.
    Length,
    /// The first word and the last.
    Ends,
    /// Every word goes into a sum.
    Sum,
    /// Every word is compared.
    Whole,
}

/// A block that is not what was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongContent {
    #[error("block {number} has {found} bytes, not {expected}")]
    Length { number: u64, found: usize, expected: u64 },
    #[error("word {word} of block {number} is {found:#x}, not {expected:#x}")]
    Word { number: u64, word: u64, found: u64, expected: u64 },
    #[error("the words of block {number} sum up to {found:#x}, not {expected:#x}")]
    Sum { number: u64, found: u64, expected: u64 },
}

impl Content {
    pub(crate) fn new(size_bytes: u64, number: u64) -> Content {
        Content { size_bytes, number, is_spoilt: false }
    }

    /// The key that it stands under.
    pub(crate) fn name(self) -> Name {
        let digest = [mixed(self.first_word()), mixed(self.number ^ MIX)];
        let mut name = Name::default();
        for (index, digit) in name.iter_mut().enumerate() {
            let nibble = (digest[index / 16] >> (4 * (index % 16))) & 15;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        name
    }

    pub(crate) fn word_count(self) -> u64 {
        self.size_bytes / 8
    }

    fn first_word(self) -> u64 {
        mixed(self.number.wrapping_mul(MIX) ^ self.size_bytes)
    }

    /// What word `index` is to be.
    #[inline]
    fn expected(self, index: u64) -> u64 {
        self.first_word().wrapping_add(index.wrapping_mul(STEP))
    }

    /// What word `index` is written as.
    #[inline]
    pub(crate) fn word(self, index: u64) -> u64 {
        let is_wrong = self.is_spoilt && index == self.word_count() / 2;
        self.expected(index) ^ u64::from(is_wrong)
    }

    /// Writes the whole block.
    pub(crate) fn write(self, bytes: &mut [u8]) {
        self.write_part(0, bytes);
    }

    /// Writes the words from `first` on, as many as there is room for.
    pub(crate) fn write_part(self, first: u64, bytes: &mut [u8]) {
        for (index, word) in (first..).zip(bytes.as_chunks_mut::<8>().0) {
            *word = self.word(index).to_ne_bytes();
        }
    }

    /// First word and last in one, as whoever reads both says it.
    pub(crate) fn ends(self) -> u64 {
        self.expected(0) ^ self.expected(self.word_count() - 1).rotate_left(1)
    }

    /// Looks at a block that was got.
    #[inline]
    pub(crate) fn check(self, bytes: &[u8], look: Look) -> Result<(), WrongContent> {
        if bytes.len() as u64 != self.size_bytes {
            let (found, expected) = (bytes.len(), self.size_bytes);
            return Err(WrongContent::Length { number: self.number, found, expected });
        }
        let words = bytes.as_chunks::<8>().0;
        match look {
            Look::Length => Ok(()),
            Look::Ends => self.check_ends(words),
            Look::Sum => self.check_sum(words),
            Look::Whole => {
                (0..).zip(words).try_for_each(|(index, word)| self.check_word(index, *word))
            }
        }
    }

    #[inline]
    fn check_ends(self, words: &[[u8; 8]]) -> Result<(), WrongContent> {
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return Ok(()) };
        self.check_word(0, *first)?;
        self.check_word(self.word_count() - 1, *last)
    }

    #[inline]
    fn check_word(self, index: u64, word: [u8; 8]) -> Result<(), WrongContent> {
        let (found, expected) = (u64::from_ne_bytes(word), self.expected(index));
        if found == expected {
            return Ok(());
        }
        Err(WrongContent::Word { number: self.number, word: index, found, expected })
    }

    fn check_sum(self, words: &[[u8; 8]]) -> Result<(), WrongContent> {
        let found =
            words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
        let expected = self.expected_sum();
        if found == expected {
            return Ok(());
        }
        Err(WrongContent::Sum { number: self.number, found, expected })
    }

    fn expected_sum(self) -> u64 {
        let count = self.word_count();
        let steps = if count.is_multiple_of(2) {
            (count / 2).wrapping_mul(count.wrapping_sub(1))
        } else {
            (count.wrapping_sub(1) / 2).wrapping_mul(count)
        };
        count.wrapping_mul(self.first_word()).wrapping_add(steps.wrapping_mul(STEP))
    }
}

/// Bits that depend on all bits.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 32)).wrapping_mul(MIX);
    let value = (value ^ (value >> 29)).wrapping_mul(STEP);
    value ^ (value >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is() {
        let content = Content::new(72, 5);
        let mut bytes = vec![0; 72];
        content.write(&mut bytes);
        for look in [Look::Length, Look::Ends, Look::Sum, Look::Whole] {
            assert_eq!(content.check(&bytes, look), Ok(()));
            assert!(content.check(&bytes[..64], look).is_err());
        }
        for look in [Look::Ends, Look::Sum, Look::Whole] {
            assert!(Content::new(72, 6).check(&bytes, look).is_err());
        }
        for offset in 0..bytes.len() {
            bytes[offset] ^= 1;
            assert!(content.check(&bytes, Look::Sum).is_err(), "{offset}");
            assert!(content.check(&bytes, Look::Whole).is_err(), "{offset}");
            let is_end = !(8..64).contains(&offset);
            assert_eq!(content.check(&bytes, Look::Ends).is_err(), is_end, "{offset}");
            bytes[offset] ^= 1;
        }
    }

    #[test]
    fn a_spoilt_block_has_its_wrong_word_in_the_middle() {
        let content = Content { is_spoilt: true, ..Content::new(64, 1) };
        let mut bytes = vec![0; 64];
        content.write(&mut bytes);
        assert_eq!(content.check(&bytes, Look::Ends), Ok(()));
        assert!(content.check(&bytes, Look::Sum).is_err());
        let found = content.check(&bytes, Look::Whole);
        assert!(matches!(found, Err(WrongContent::Word { word: 4, .. })), "{found:?}");
    }

    #[test]
    fn names_differ_by_size_and_number() {
        let mut names: Vec<Name> = (0..1000)
            .flat_map(|number| [64, 4096].map(|size| Content::new(size, number).name()))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 2000);
    }
}
