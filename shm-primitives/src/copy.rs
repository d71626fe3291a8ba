//! Copying a payload into memory that others read. A large one goes past the processor's caches, which it
//! would only fill with what does not stay there: the figures are in `docs/copy-in.md`.
#![cfg_attr(
    all(target_arch = "x86_64", not(any(loom, miri))),
    expect(unsafe_code, reason = "stores past the caches are intrinsics on pointers")
)]

/// Bytes from which on a copy goes past the caches. What is smaller is read by others out of the caches
/// faster than its copy gains.
pub const LARGE_COPY_BYTES: usize = 16 << 20;

/// Copies all of `from` to `to`. What this thread stores afterwards is seen after the copied bytes, as with
/// any other copy.
///
/// # Panics
/// If their lengths differ, as `copy_from_slice` does.
// r[impl memory.copy_in]
pub fn copy_in(to: &mut [u8], from: &[u8]) {
    if from.len() < LARGE_COPY_BYTES || !copy_past_caches(to, from) {
        to.copy_from_slice(from);
    }
}

/// Whether it copied: not where the processor cannot, or the lengths differ.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
fn copy_past_caches(to: &mut [u8], from: &[u8]) -> bool {
    use core::arch::x86_64::_mm_sfence;

    if to.len() != from.len() || !std::arch::is_x86_feature_detected!("avx") {
        return false;
    }
    let head_bytes = to.as_ptr().align_offset(LINE_BYTES).min(to.len());
    let (to_head, to) = to.split_at_mut(head_bytes);
    let (from_head, from) = from.split_at(head_bytes);
    let (to_lines, to_tail) = to.as_chunks_mut();
    let (from_lines, from_tail) = from.as_chunks();
    // SAFETY: the processor has AVX, and `to` begins at a line now.
    unsafe { stream_lines(to_lines, from_lines) };
    // Stores past the caches are in no order with later ones; without this the header that asks for the
    // publish could be seen before them (`ring.commit`).
    // SAFETY: it touches no memory, and every x86-64 has it.
    unsafe { _mm_sfence() };
    to_head.copy_from_slice(from_head);
    to_tail.copy_from_slice(from_tail);
    true
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
fn copy_past_caches(_to: &mut [u8], _from: &[u8]) -> bool {
    false
}

#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
const LINE_BYTES: usize = 64;

/// Each line of `from` into that of `to`.
///
/// # Safety
/// The processor has AVX. `to` begins at a multiple of 64 bytes.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[target_feature(enable = "avx")]
unsafe fn stream_lines(to: &mut [[u8; LINE_BYTES]], from: &[[u8; LINE_BYTES]]) {
    use core::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_stream_si256};

    for (to, from) in to.iter_mut().zip(from) {
        let to: *mut __m256i = to.as_mut_ptr().cast();
        let from: *const __m256i = from.as_ptr().cast();
        for half in 0..LINE_BYTES / size_of::<__m256i>() {
            // SAFETY: half a line that is borrowed here; it need not be aligned.
            let value = unsafe { _mm256_loadu_si256(from.wrapping_add(half)) };
            // SAFETY: half a line that is borrowed here for writing; aligned to 32 bytes because lines
            // begin at multiples of 64.
            unsafe { _mm256_stream_si256(to.wrapping_add(half), value) };
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
