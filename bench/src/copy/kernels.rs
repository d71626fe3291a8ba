//! Copies of whole lines with vector instructions: past the caches or not, from one place or from several
//! in turns.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "loads and stores of whole vectors are intrinsics on pointers")
)]

use crate::error::BenchError;

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;

/// Which vectors a copy is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vector {
    /// 16 bytes.
    Sse2,
    /// 32 bytes.
    Avx,
    /// 64 bytes.
    Avx512,
}

/// In how many places at once, and whether past the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Past the caches, from the first line to the last.
    NonTemporal1,
    /// A line of each half in turns.
    Streams2,
    /// A line of each quarter in turns.
    Streams4,
    /// The halves in turns, past the caches.
    NonTemporal2,
    /// The quarters in turns, past the caches.
    NonTemporal4,
}

impl Vector {
    /// Those that this processor has, the widest last.
    pub(super) fn available() -> Vec<Vector> {
        #[cfg(target_arch = "x86_64")]
        {
            let avx = std::arch::is_x86_feature_detected!("avx").then_some(Vector::Avx);
            let avx512 = std::arch::is_x86_feature_detected!("avx512f").then_some(Vector::Avx512);
            [Some(Vector::Sse2), avx, avx512].into_iter().flatten().collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        Vec::new()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Vector::Sse2 => "sse2",
            Vector::Avx => "avx",
            Vector::Avx512 => "avx512",
        }
    }
}

impl Shape {
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::NonTemporal1 => "nt",
            Shape::Streams2 => "streams_2",
            Shape::Streams4 => "streams_4",
            Shape::NonTemporal2 => "nt_streams_2",
            Shape::NonTemporal4 => "nt_streams_4",
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Shape::NonTemporal1 => "non-temporal stores",
            Shape::Streams2 => "two streams in turns",
            Shape::Streams4 => "four streams in turns",
            Shape::NonTemporal2 => "two streams in turns, non-temporal stores",
            Shape::NonTemporal4 => "four streams in turns, non-temporal stores",
        }
    }
}

/// Copies all of `from` to `to`, as long, where `to` begins at a line. Before it returns everything is
/// where a thread that is told of it finds it.
///
/// # Errors
/// [`BenchError::Uncopied`]: these are no lines, or this processor has no such vectors.
pub(super) fn copy_lines(
    vector: Vector,
    shape: Shape,
    to: &mut [u8],
    from: &[u8],
) -> Result<(), BenchError> {
    let uncopied = BenchError::Uncopied { to_bytes: to.len(), from_bytes: from.len() };
    let is_aligned = to.as_ptr().addr().is_multiple_of(LINE_BYTES);
    let ((to, []), (from, [])) = (to.as_chunks_mut(), from.as_chunks()) else {
        return Err(uncopied);
    };
    if !is_aligned || to.len() != from.len() || !Vector::available().contains(&vector) {
        return Err(uncopied);
    }
    #[cfg(target_arch = "x86_64")]
    x86_64::copy(vector, shape, to, from);
    Ok(())
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use core::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_sfence, _mm_store_si128, _mm_stream_si128,
        _mm256_loadu_si256, _mm256_store_si256, _mm256_stream_si256, _mm512_loadu_si512,
        _mm512_store_si512, _mm512_stream_si512,
    };

    use super::{LINE_BYTES, Shape, Vector};

    type Line = [u8; LINE_BYTES];

    /// The caller has checked that the processor has the vectors, that `to` begins at a line and that
    /// both are as long.
    pub(super) fn copy(vector: Vector, shape: Shape, to: &mut [Line], from: &[Line]) {
        match shape {
            Shape::NonTemporal1 => in_streams::<1, true>(vector, to, from),
            Shape::Streams2 => in_streams::<2, false>(vector, to, from),
            Shape::Streams4 => in_streams::<4, false>(vector, to, from),
            Shape::NonTemporal2 => in_streams::<2, true>(vector, to, from),
            Shape::NonTemporal4 => in_streams::<4, true>(vector, to, from),
        }
    }

    fn in_streams<const STREAMS: usize, const NON_TEMPORAL: bool>(
        vector: Vector,
        to: &mut [Line],
        from: &[Line],
    ) {
        match vector {
            // SAFETY: the caller has checked that the processor has these instructions.
            Vector::Sse2 => unsafe { sse2::<STREAMS, NON_TEMPORAL>(to, from) },
            // SAFETY: as above.
            Vector::Avx => unsafe { avx::<STREAMS, NON_TEMPORAL>(to, from) },
            // SAFETY: as above.
            Vector::Avx512 => unsafe { avx512::<STREAMS, NON_TEMPORAL>(to, from) },
        }
        if NON_TEMPORAL {
            // Stores past the caches are in no order with later ones, such as that of a frame's header.
            // SAFETY: it touches nothing.
            unsafe { _mm_sfence() };
        }
    }

    macro_rules! copier {
        ($name:ident, $feature:literal, $vector:ty, $load:ident, $store:ident, $stream:ident) => {
            #[target_feature(enable = $feature)]
            fn $name<const STREAMS: usize, const NON_TEMPORAL: bool>(
                to: &mut [Line],
                from: &[Line],
            ) {
                let part = to.len() / STREAMS;
                let copy = |to: &mut Line, from: &Line| {
                    let to: *mut $vector = to.as_mut_ptr().cast();
                    let from: *const $vector = from.as_ptr().cast();
                    for index in 0..LINE_BYTES / size_of::<$vector>() {
                        // SAFETY: inside of the line, and it need not be aligned.
                        let value = unsafe { $load(from.wrapping_add(index)) };
                        let to = to.wrapping_add(index);
                        match NON_TEMPORAL {
                            // SAFETY: inside of the line, which is aligned as `to` begins at one.
                            true => unsafe { $stream(to, value) },
                            // SAFETY: as above.
                            false => unsafe { $store(to, value) },
                        }
                    }
                };
                for line in 0..part {
                    for stream in 0..STREAMS {
                        let place = stream * part + line;
                        copy(&mut to[place], &from[place]);
                    }
                }
                let rest = part * STREAMS..;
                to[rest.clone()].copy_from_slice(&from[rest]);
            }
        };
    }

    copier!(sse2, "sse2", __m128i, _mm_loadu_si128, _mm_store_si128, _mm_stream_si128);
    copier!(avx, "avx", __m256i, _mm256_loadu_si256, _mm256_store_si256, _mm256_stream_si256);
    copier!(
        avx512,
        "avx512f",
        __m512i,
        _mm512_loadu_si512,
        _mm512_store_si512,
        _mm512_stream_si512
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 5] = [
        Shape::NonTemporal1,
        Shape::Streams2,
        Shape::Streams4,
        Shape::NonTemporal2,
        Shape::NonTemporal4,
    ];

    #[derive(Clone, Copy)]
    #[repr(align(64))]
    struct Aligned([u8; LINE_BYTES * 9]);

    #[test]
    fn every_way_copies_every_byte_and_no_more() {
        let from: Vec<u8> = (0..LINE_BYTES * 9).map(|index| index as u8 ^ 0x5a).collect();
        for vector in Vector::available() {
            for shape in ALL {
                for lines in 0..8 {
                    let mut to = Aligned([0xee; LINE_BYTES * 9]);
                    let bytes = lines * LINE_BYTES;
                    copy_lines(vector, shape, &mut to.0[..bytes], &from[1..=bytes]).unwrap();
                    assert_eq!(to.0[..bytes], from[1..=bytes], "{vector:?} {shape:?} {lines}");
                    assert!(to.0[bytes..].iter().all(|byte| *byte == 0xee), "{shape:?} {lines}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_line_is_not_copied() {
        let mut to = Aligned([0; LINE_BYTES * 9]);
        let from = [1; LINE_BYTES * 9];
        for vector in Vector::available() {
            let mut copy = |first: usize, bytes: usize, from: &[u8]| {
                copy_lines(vector, Shape::Streams2, &mut to.0[first..first + bytes], from)
            };
            assert!(copy(8, LINE_BYTES, &from[..LINE_BYTES]).is_err());
            assert!(copy(0, LINE_BYTES + 8, &from[..LINE_BYTES + 8]).is_err());
            assert!(copy(0, LINE_BYTES, &from[..2 * LINE_BYTES]).is_err());
        }
    }
}
