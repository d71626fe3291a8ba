//! How long a host takes until it serves again on the segment of one that was killed, apart from the
//! start of its process: beside the same on a segment without blocks.

use crate::Options;
use crate::blocks::{self, key, word};
use crate::cache_host::{CacheHost, Size};
use crate::error::BenchError;
use crate::payload::check;
use crate::pin::Cores;
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Blocks that are there when the host is killed.
const BLOCKS: [(u64, &str); 4] = [
    (1_000, "restart_1k"),
    (10_000, "restart_10k"),
    (100_000, "restart_100k"),
    (1_000_000, "restart_1m"),
];
/// Bytes of a block, and of its slot.
const BLOCK_BYTES: usize = 64;
/// Blocks that are looked up after each restart.
const LOOKED_UP: u64 = 50;

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    for (blocks, name) in BLOCKS {
        let blocks = options.trips.map_or(blocks, |trips| blocks.min(trips));
        let text = format!("serving again with {blocks} published blocks, after a kill");
        let label = Label {
            name,
            text: &text,
            baseline: "serving again on such a segment without blocks",
            ..Label::default()
        };
        let mut empty = Killed::with_blocks(cores, blocks, 0)?;
        let mut full = Killed::with_blocks(cores, blocks, blocks)?;
        let compared = interleave(options.rounds, || empty.restart(), || full.restart())?;
        report.figure(&label, &compared);
    }
    Ok(())
}

/// A host that is killed and started again.
struct Killed {
    host: CacheHost,
    blocks: u64,
    looked_up: u64,
}

impl Killed {
    /// On a segment made for so many slots, with so many blocks in it.
    fn with_blocks(cores: &Cores, slots: u64, blocks: u64) -> Result<Killed, BenchError> {
        let host = CacheHost::start_sized(cores, Size::of_blocks(slots, BLOCK_BYTES as u64))?;
        blocks::publish(&blocks::attach(host.segment())?, blocks, BLOCK_BYTES)?;
        Ok(Killed { host, blocks, looked_up: 0 })
    }

    /// Nanoseconds from the call that starts the host to its return, as the host measured them; then
    /// some blocks are looked up and checked.
    fn restart(&mut self) -> Result<f64, BenchError> {
        let nanoseconds = self.host.kill_and_restart()?;
        let cache = blocks::attach(self.host.segment())?;
        for _ in 0..LOOKED_UP.min(self.blocks) {
            // Far from one another, and all in their turn.
            let number = self.looked_up.wrapping_mul(7_919) % self.blocks;
            let block = cache.lookup(&key(number))?.ok_or(BenchError::Missing { number })?;
            check(&block, BLOCK_BYTES, number, |index| word(number, index))?;
            self.looked_up += 1;
        }
        Ok(nanoseconds)
    }
}
