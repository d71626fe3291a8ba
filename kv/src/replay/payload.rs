//! What a replayed block holds: every 8-byte word derived from the run, the block and its offset.
//!
//! So a reader can check every byte without having seen the writer, and a word of another run, of
//! another block or of another place in the same block does not pass for the right one.

#[cfg(test)]
mod tests;

const WORD_BYTES: usize = 8;

/// Words that are compared before a look at the outcome: enough for the compiler to use vector
/// instructions, few enough that a wrong block is told early.
const STRIDE_WORDS: usize = 128;

/// What one word adds to the next. Odd, so that no two words of a payload start alike.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first word that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the word at offset {offset} is {found:#018x}, expected {expected:#018x}")]
pub struct Mismatch {
    /// Offset of the word in the payload, in bytes. A multiple of 8.
    pub offset: u64,
    /// The word that should be there. Bytes behind the payload's end are 0.
    pub expected: u64,
    /// The word that is there. Bytes behind the payload's end are 0.
    pub found: u64,
}

/// Writes the payload of a block of a run. Words are little-endian; the last may be cut short.
// r[impl replay.payload.words]
pub fn fill(payload: &mut [u8], run: u64, block: u64) {
    let base = base(run, block);
    let mut start = base;
    let (words, tail) = payload.as_chunks_mut::<WORD_BYTES>();
    for word in words {
        *word = finish(start).to_le_bytes();
        start = start.wrapping_add(STEP);
    }
    tail.copy_from_slice(&finish(start).to_le_bytes()[..tail.len()]);
}

/// Checks every byte of the payload of a block of a run.
///
/// # Errors
/// The first [`Mismatch`].
// r[impl replay.payload.verify]
pub fn verify(payload: &[u8], run: u64, block: u64) -> Result<(), Mismatch> {
    let base = base(run, block);
    let (words, tail) = payload.as_chunks::<WORD_BYTES>();
    for (stride, words) in words.chunks(STRIDE_WORDS).enumerate() {
        let first = stride * STRIDE_WORDS;
        if difference(words, start_of(base, first)) != 0 {
            return locate(words, base, first);
        }
    }
    verify_tail(tail, base, words.len())
}

/// All bits in which any of these words is wrong. Has no exit, so that it can be vectorised.
fn difference(words: &[[u8; WORD_BYTES]], start: u64) -> u64 {
    let mut start = start;
    let mut difference = 0;
    for word in words {
        difference |= u64::from_le_bytes(*word) ^ finish(start);
        start = start.wrapping_add(STEP);
    }
    difference
}

fn locate(words: &[[u8; WORD_BYTES]], base: u64, first: usize) -> Result<(), Mismatch> {
    for (index, word) in (first..).zip(words) {
        compare(u64::from_le_bytes(*word), finish(start_of(base, index)), index)?;
    }
    Ok(())
}

fn verify_tail(tail: &[u8], base: u64, index: usize) -> Result<(), Mismatch> {
    let mut found = [0; WORD_BYTES];
    let mut expected = [0; WORD_BYTES];
    let word = finish(start_of(base, index)).to_le_bytes();
    for (place, byte) in tail.iter().enumerate() {
        found[place] = *byte;
        expected[place] = word[place];
    }
    compare(u64::from_le_bytes(found), u64::from_le_bytes(expected), index)
}

fn compare(found: u64, expected: u64, index: usize) -> Result<(), Mismatch> {
    if found == expected {
        return Ok(());
    }
    Err(Mismatch { offset: (index * WORD_BYTES) as u64, expected, found })
}

/// Where the words of a block of a run start from.
fn base(run: u64, block: u64) -> u64 {
    mix(mix(run).wrapping_add(block))
}

/// What the word of this index starts from.
fn start_of(base: u64, index: usize) -> u64 {
    base.wrapping_add(STEP.wrapping_mul(index as u64))
}

/// The last step of each word: no multiplication, which the vector units of older processors lack
/// for 64 bits.
fn finish(start: u64) -> u64 {
    start ^ (start >> 29)
}

/// A bijection that spreads every bit over the word (the finalizer of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
