//! Attaching, and what the lease table of a guest costs that holds nothing and of one that holds as many
//! leases as a long context takes: time, and memory that is real.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use onecopy_transport::guest::{Guest, GuestOptions, SlotGuard};

use crate::Options;
use crate::blocks::{Filled, key};
use crate::cache_host::{CacheHost, Size};
use crate::error::{BenchError, Step};
use crate::pin::Cores;
use crate::report::{Memory, Report, Span};

/// Leases that one guest takes.
const LEASES: u64 = 500_000;
/// Attaches in a round.
const ATTACHES: u64 = 20;
const BLOCK_BYTES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
/// `st_blocks` counts these, whatever the file system.
const BLOCK_OF_FILE_BYTES: u64 = 512;

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let attaches = options.trips.unwrap_or(ATTACHES);
    let leases = options.trips.map_or(LEASES, |trips| trips.min(LEASES));
    let host = CacheHost::start_sized(cores, Size::of_blocks(1, BLOCK_BYTES as u64))?;
    let mut filled = Filled::publish(host, 1, BLOCK_BYTES)?;
    let mut times = Times::default();
    for _ in 0..options.rounds {
        times.round(&mut filled, attaches, leases)?;
    }
    times.tell(report, leases);
    Ok(())
}

#[derive(Default)]
struct Times {
    attach: Vec<Duration>,
    attach_beside: Vec<Duration>,
    lease: Vec<Duration>,
    reattach_idle: Vec<Duration>,
    reattach_holding: Vec<Duration>,
    idle: Memory,
    holding: Memory,
}

impl Times {
    fn round(&mut self, filled: &mut Filled, attaches: u64, leases: u64) -> Result<(), BenchError> {
        let segment = filled.host.segment().to_owned();
        for _ in 0..attaches {
            let (guest, took) = attach(&segment)?;
            self.attach.push(took);
            self.idle = table_of(&segment, &guest)?;
        }
        let (holder, _) = attach(&segment)?;
        let block = filled.cache.lookup_ref(&key(0))?;
        let slot = block.ok_or(BenchError::Missing { number: 0 })?.slot();
        let start = Instant::now();
        let guards = (0..leases)
            .map(|_| holder.lease(slot)?.ok_or(BenchError::Missing { number: 0 }))
            .collect::<Result<Vec<SlotGuard>, BenchError>>()?;
        self.lease.push(start.elapsed());
        self.holding = table_of(&segment, &holder)?;
        for _ in 0..attaches {
            self.attach_beside.push(attach(&segment)?.1);
        }
        let (idle, _) = attach(&segment)?;
        filled.host.kill_and_restart()?;
        let (_again, took) = reattach(&idle)?;
        self.reattach_idle.push(took);
        let (_again, took) = reattach(&holder)?;
        self.reattach_holding.push(took);
        match guards.iter().find(|guard| guard.len() != BLOCK_BYTES) {
            None => filled.verify(),
            Some(guard) => {
                let (found, expected) = (guard.len(), BLOCK_BYTES);
                Err(BenchError::WrongLength { trip: 0, found, expected })
            }
        }
    }

    fn tell(self, report: &mut Report, leases: u64) {
        let holding = Some(self.holding);
        for (name, text, slots, memory, times) in [
            ("attach", "attaching", 0, Some(self.idle), self.attach),
            (
                "attach_beside",
                "attaching beside a guest with leases",
                leases,
                None,
                self.attach_beside,
            ),
            ("lease_all", "taking all leases", leases, holding, self.lease),
            (
                "reattach_idle",
                "attaching to the next host, without leases",
                0,
                None,
                self.reattach_idle,
            ),
            ("reattach_holding", "attaching to the next host", leases, None, self.reattach_holding),
        ] {
            report.span(Span { name, text, slots, memory, times });
        }
    }
}

fn attach(segment: &Path) -> Result<(Guest, Duration), BenchError> {
    let mut options = GuestOptions::at(segment);
    options.watcher = false;
    let start = Instant::now();
    let guest = Guest::attach(options)?;
    Ok((guest, start.elapsed()))
}

fn reattach(guest: &Guest) -> Result<(Guest, Duration), BenchError> {
    let start = Instant::now();
    let again = guest.reattach(start + PATIENCE)?;
    Ok((again, start.elapsed()))
}

/// What of a guest's lease table is mapped, and what is real.
fn table_of(segment: &Path, guest: &Guest) -> Result<Memory, BenchError> {
    let path = segment.join("leases").join(guest.serial().to_string());
    let file = fs::metadata(path).step("look at a lease table")?;
    Ok(Memory { mapped_bytes: file.len(), touched_bytes: file.blocks() * BLOCK_OF_FILE_BYTES })
}
