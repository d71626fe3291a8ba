//! What process tests are made of: a segment of their own, a host, guests in processes of their
//! own that do what they are told, and waiting that always ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod batch;
mod cgroup;
mod echo;
mod faults;
mod host;
mod load;
mod peer;
mod raw;
mod reach;
mod scribbler;
mod script;
mod sys;
mod syscalls;

pub use cgroup::MemoryGroup;
pub use echo::{ANSWER_IN, ECHO, ECHO_SERVICE_ID, Echo, WIDEN};
pub use host::{HostLife, Segment, TestHost, small_host};
pub use load::{Load, LoadFigures};
pub use peer::Peer;
pub use raw::{RawAnswer, RawGuest, hello_descriptors, say_hello};
pub use reach::reach;
pub use scribbler::{Harm, scribble};
pub use script::run_script;
pub use sys::{
    end_main_thread, exit_at_once, forbid_membarrier, forbid_system_calls, in_forked_child,
    resident_bytes,
};
pub use syscalls::{Blow, Call, Seen, Trap};

use onecopy::key::Key;
use std::time::{Duration, Instant};

/// The longest that anything in a test may take that is not expected to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline for what is expected to happen.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until something is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The key of a block of the tests.
pub fn key(number: u64) -> Key {
    Key::from_text(&format!("block {number}"))
}

/// The byte at `offset` of the block of this number: bytes of another block, or of another place,
/// differ.
fn byte_at(number: u64, offset: usize) -> u8 {
    let word = (number ^ 0x9e37_79b9_7f4a_7c15)
        .wrapping_add(offset as u64 / 8)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((word ^ (word >> 29)) >> (8 * (offset % 8))) as u8
}

/// Writes the payload of the block of this number.
pub fn fill_payload(number: u64, target: &mut [u8]) {
    for (offset, byte) in target.iter_mut().enumerate() {
        *byte = byte_at(number, offset);
    }
}

/// The payload of the block of this number.
pub fn payload(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill_payload(number, &mut bytes);
    bytes
}

/// Whether these are the bytes of the block of this number, every one of them.
pub fn is_payload(number: u64, bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(offset, byte)| *byte == byte_at(number, offset))
}

/// A small generator of numbers: the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}
