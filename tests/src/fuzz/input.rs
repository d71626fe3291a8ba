//! Bytes taken one after the other; what is missing at the end is zero.

/// The bytes of one run.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// From the first byte on.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { rest: bytes }
    }

    /// Whether all has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next eight bytes, little-endian.
    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Up to `count` of the next bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let mut array = [0; COUNT];
        let taken = self.bytes(COUNT);
        array[..taken.len()].copy_from_slice(taken);
        array
    }
}

/// A word to put in the place of `there`: like it, like a reference that was seen, or any other.
pub(super) fn lie(input: &mut Input<'_>, there: u64, seen: &[u64]) -> u64 {
    match input.byte() % 8 {
        0 => there,
        1 => there ^ 1 << (input.byte() % 64),
        2 => there.wrapping_add(input.byte().into()),
        3 => there.wrapping_sub(input.byte().into()),
        4 => seen.get(usize::from(input.byte()) % seen.len().max(1)).copied().unwrap_or(u64::MAX),
        5 => u64::from(input.short()) << (input.byte() % 64),
        6 => u64::MAX,
        _ => input.word(),
    }
}
