//! Hosts and guests in processes of their own: what the contract says of attaching, dying, being
//! cut off, growing and coming back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail their test")]

mod attach;
mod comeback;
mod cut_off;
mod damaged;
mod death;
mod embedded;
mod fences;
mod full;
mod goodbye;
mod growth;
mod hostile;
mod leases;
mod leave;
mod limbo;
mod links;
mod lost;
mod meddlers;
mod memory;
mod namespaces;
mod pool_memory;
mod quotas;
mod reach;
mod refusals;
mod reserve;
mod restart;
mod scribblers;
mod settle;
mod stopped;
mod suspect;
mod takeover;
mod torn;
mod touches;
mod unmapped;
mod wakes;

use onecopy_tests::harness::{Peer, Segment};

/// The program of the peers.
const PEER: &str = env!("CARGO_BIN_EXE_onecopy-test-peer");

/// A writer that has published block 1, reads it in place, and has so many slots to fill.
fn busy_writer(segment: &Segment, slots: u32) -> Peer {
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    guest.ok(&format!("reserve 9000 {slots}"));
    guest
}
