//! How the cost of a lookup grows with the blocks there are and with the guests that look them up.

mod chase;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::content::Look;
use crate::contest::{SHARED_SLICES, host, rate_of_all, rate_of_one, worker};
use crate::cores::{Cores, Side};
use crate::error::CompareError;
use crate::figures::Figures;
use crate::host::Size;
use crate::keeper::Home;
use crate::machine::Setting;
use crate::orders::{Gets, Order, Span};
use crate::process::Process;
use crate::run::bar;
use crate::system::{Placement, System};
use chase::Chase;
use report::Report;

/// Bytes of a block, and of its slot.
const BLOCK_BYTES: u64 = 64;
/// Room in a pool beyond its blocks, so that whoever fills it is supplied.
const SPARE_BYTES: u64 = 8 << 20;
/// Blocks found under one fence, and names of a prefix.
const BATCH: usize = 64;
const PREFIX: usize = 1000;
/// Blocks whose every word is compared in each round.
const VERIFIED: u64 = 10_000;
/// How long guests work before it counts.
const WARM_UP: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Numbers of blocks; multiples of 1000.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000, 10_000_000])]
    blocks: Vec<u64>,
    /// Numbers of guests.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    guests: Vec<usize>,
    /// With which numbers of blocks guests become more.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    among: Vec<u64>,
    /// Rounds, after one that warms up.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of one measurement.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    slice_ms: u64,
    /// A directory for `scale.json` and the plots.
    #[arg(long)]
    out: Option<PathBuf>,
    /// One JSON object per line in place of tables.
    #[arg(long)]
    json: bool,
}

/// How a block is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// No lookup: as many cache lines as there are blocks in private memory, each of which says which is
    /// next. What one miss costs.
    Chase,
    /// Found and leased, one at a time.
    One,
    /// Found, leased and read, one at a time.
    Read,
    /// Found and leased, 64 under one fence.
    Batch,
    /// The longest prefix of 1000 names.
    Prefix,
    /// Found by the host and leased, one at a time.
    Ring,
}

/// What was looked up how: without guests it is one, and the number is that of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Subject {
    /// How many blocks there are, where the number is that of the guests.
    among: Option<u64>,
    way: Way,
}

impl Way {
    const ALL: [Way; 6] = [Way::Chase, Way::One, Way::Read, Way::Batch, Way::Prefix, Way::Ring];
    /// Those that are done by several guests at the same time.
    const SHARED: [Way; 3] = [Way::One, Way::Batch, Way::Ring];

    fn gets(self, blocks: u64, until: Span, yields: bool) -> Gets {
        let batch = match self {
            Way::Batch => BATCH,
            Way::Prefix => PREFIX,
            Way::Chase | Way::One | Way::Read | Way::Ring => 1,
        };
        let look = if self == Way::Read { Look::Ends } else { Look::Length };
        let is_prefix = self == Way::Prefix;
        Gets { size_bytes: BLOCK_BYTES, blocks, batch, is_prefix, look, until, yields }
    }
}

/// A cache with so many blocks and those that look them up.
struct Field {
    blocks: u64,
    chase: Chase,
    direct: Vec<Process>,
    ring: Vec<Process>,
    host: Process,
}

/// Measures and tells.
pub(crate) fn run(options: &Scale) -> Result<(), CompareError> {
    let cores = Cores::allowed()?;
    let setting = Setting::this(&cores);
    let home = Home::new()?;
    let guests_max = options.guests.iter().copied().max().unwrap_or(1).max(1);
    let mut fields = Vec::new();
    for blocks in options.blocks.iter().copied() {
        let guests = if options.among.contains(&blocks) { guests_max } else { 1 };
        fields.push(Field::start(&home, blocks, guests)?);
    }
    let bar = bar(u64::from(options.rounds + 1));
    let mut figures = Figures::new();
    for round in 0..=options.rounds {
        for (subject, number, value) in measure_all(&mut fields, options, &cores)? {
            // The first round warms up.
            if round > 0 {
                figures.add(subject, number, value);
            }
        }
        fields.iter_mut().try_for_each(Field::verify)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report =
        Report { setting: &setting, load_at_end: onecopy_machine::load(), figures: &figures };
    print!("{}", if options.json { report.json()? } else { report.tables() });
    options.out.as_deref().map_or(Ok(()), |directory| report.write(directory))
}

/// One round: nanoseconds for a lookup of one guest, and lookups a second of several.
fn measure_all(
    fields: &mut [Field],
    options: &Scale,
    cores: &Cores,
) -> Result<Vec<(Subject, u64, f64)>, CompareError> {
    let slice = Duration::from_millis(options.slice_ms);
    let mut measured = Vec::new();
    for way in Way::ALL {
        for field in &mut *fields {
            let rate = field.measure(way, 1, Placement::Apart, cores, slice)?;
            measured.push((Subject { among: None, way }, field.blocks, 1e9 / rate));
        }
    }
    for guests in options.guests.iter().copied() {
        for way in Way::SHARED {
            for field in fields.iter_mut().filter(|field| options.among.contains(&field.blocks)) {
                let rate = field.measure(way, guests, Placement::Free, cores, slice)?;
                let subject = Subject { among: Some(field.blocks), way };
                measured.push((subject, guests as u64, rate));
            }
        }
    }
    Ok(measured)
}

impl Field {
    fn start(home: &Home, blocks: u64, guests: usize) -> Result<Field, CompareError> {
        let segment = home.path().join(format!("blocks-{blocks}"));
        let pool_bytes = (blocks + blocks / 8) * BLOCK_BYTES + SPARE_BYTES;
        let size = Size { pool_bytes, granule_bytes: BLOCK_BYTES, capacity_bytes: None };
        let host = host(&segment, size)?;
        let fill = Order::Fill { size_bytes: BLOCK_BYTES, blocks, spoil: false };
        worker(System::OnecopyDirect, &segment, true, 0)?.ask(&fill)?;
        let start = |system| {
            let guests = (1..=guests as u64).map(|seed| worker(system, &segment, false, seed));
            guests.collect::<Result<Vec<_>, _>>()
        };
        let (direct, ring) = (start(System::OnecopyDirect)?, start(System::OnecopyRing)?);
        Ok(Field { blocks, chase: Chase::through(blocks), direct, ring, host })
    }

    /// Lookups a second.
    fn measure(
        &mut self,
        way: Way,
        guests: usize,
        placement: Placement,
        cores: &Cores,
        slice: Duration,
    ) -> Result<f64, CompareError> {
        if way == Way::Chase {
            cores.place(std::process::id(), Side::Gets, placement)?;
            return Ok(self.chase.rate(slice));
        }
        cores.place(self.host.id(), Side::Serves, placement)?;
        let team = if way == Way::Ring { &mut self.ring } else { &mut self.direct };
        let team = team.get_mut(..guests).unwrap_or_default();
        for guest in &*team {
            cores.place(guest.id(), Side::Gets, placement)?;
        }
        if placement == Placement::Free {
            let until = Span::after(WARM_UP, slice * SHARED_SLICES);
            return rate_of_all(team, way.gets(self.blocks, until, true));
        }
        rate_of_one(team, way.gets(self.blocks, Span::after(WARM_UP, slice), false))
    }

    /// Compares every word of some blocks.
    fn verify(&mut self) -> Result<(), CompareError> {
        let blocks = self.blocks.min(VERIFIED);
        let order = Order::Verify { size_bytes: BLOCK_BYTES, blocks, look: Look::Whole };
        self.direct.iter_mut().take(1).try_for_each(|guest| guest.ask(&order).map(|_| ()))
    }
}
