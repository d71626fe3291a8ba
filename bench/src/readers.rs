//! Two processes that look blocks up at once, beside one alone: what readers take from one another. And
//! the same with private tables, which share nothing but the machine.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Options;
use crate::blocks::{Filled, Scattered, attach, key};
use crate::cache_host::{CacheHost, Size};
use crate::error::{BenchError, Step};
use crate::get::{BLOCK_BYTES, BLOCKS, timed};
use crate::pin::{self, Cores};
use crate::private::PrivateMap;
use crate::report::{Label, Report};
use crate::rounds::interleave;

/// Lookups of one round of one reader.
const TRIPS: u64 = 2_000_000;

/// How a reader finds its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Find {
    /// In the cache.
    Direct,
    /// In a table of its own.
    Private,
}

/// What a reader process is told when it is started.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReaderArguments {
    segment: PathBuf,
    #[arg(long)]
    find: Find,
    #[arg(long)]
    blocks: u64,
    #[arg(long)]
    trips: u64,
    /// The core to stay on.
    #[arg(long)]
    core: Option<usize>,
}

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let trips = options.trips.unwrap_or(TRIPS);
    let count = if options.trips.is_some() { 2_000 } else { BLOCKS };
    let host = CacheHost::start_sized(cores, Size::of_blocks(count, BLOCK_BYTES as u64))?;
    let filled = Filled::publish(host, count, BLOCK_BYTES)?;
    filled.verify()?;
    for (find, name, text, baseline) in [
        (
            Find::Direct,
            "readers",
            "direct lookups of two readers at once, for each",
            "those of one reader alone (half is twice as many)",
        ),
        (
            Find::Private,
            "readers_private",
            "lookups in private tables of two processes at once, for each",
            "those of one process alone",
        ),
    ] {
        let start = |core| Reader::start(filled.host.segment(), find, count, trips, core);
        let (first, second) = cores.pair().unzip();
        let mut first = start(first)?;
        let mut second = start(second)?;
        let first_alone = std::cell::RefCell::new(&mut first);
        let compared = interleave(
            options.rounds,
            || {
                let mut reader = first_alone.borrow_mut();
                reader.begin()?;
                reader.end()
            },
            || {
                let mut reader = first_alone.borrow_mut();
                reader.begin()?;
                second.begin()?;
                let rate = 1.0 / reader.end()? + 1.0 / second.end()?;
                Ok(1.0 / rate)
            },
        )?;
        report.figure(&Label { name, text, baseline, ..Label::default() }, &compared);
    }
    filled.verify()
}

/// A reader's process, as whoever measures sees it. It ends with the pipe to it.
struct Reader {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Reader {
    fn start(
        segment: &Path,
        find: Find,
        blocks: u64,
        trips: u64,
        core: Option<usize>,
    ) -> Result<Reader, BenchError> {
        let program = std::env::current_exe().step("find this program")?;
        let mut command = Command::new(program);
        command.arg("reader").arg(segment);
        command.args(["--find", if find == Find::Direct { "direct" } else { "private" }]);
        command.args(["--blocks", &blocks.to_string(), "--trips", &trips.to_string()]);
        if let Some(core) = core {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().step("start a reader")?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.ok_or(BenchError::PartnerEnded)?);
        let mut reader = Reader { child, orders, answers };
        // It says 0 when it is ready.
        reader.end().map(|_| reader)
    }

    fn begin(&mut self) -> Result<(), BenchError> {
        let orders = self.orders.as_mut().ok_or(BenchError::PartnerEnded)?;
        orders.write_all(b"go\n").step("tell a reader to begin")
    }

    /// Nanoseconds for each lookup, when it has done all.
    fn end(&mut self) -> Result<f64, BenchError> {
        let mut line = String::new();
        self.answers.read_line(&mut line).step("hear from a reader")?;
        line.trim().parse().map_err(|_| BenchError::PartnerEnded)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

/// The life of a reader.
pub(crate) fn read(arguments: &ReaderArguments) -> Result<(), BenchError> {
    let ReaderArguments { segment, find, blocks, trips, core } = arguments;
    core.map_or(Ok(()), pin::pin)?;
    let mut numbers = Scattered::new(std::process::id().into(), *blocks);
    match find {
        Find::Direct => {
            let cache = attach(segment)?;
            on_orders(*trips, || {
                let number = numbers.next();
                let block = cache.lookup_ref(black_box(&key(number)))?;
                block.map(|_| ()).ok_or(BenchError::Missing { number })
            })
        }
        Find::Private => {
            let map = PrivateMap::of_blocks(*blocks);
            on_orders(*trips, || {
                let number = numbers.next();
                let found = map.get(black_box(&key(number))) == Some(number);
                found.then_some(()).ok_or(BenchError::Missing { number })
            })
        }
    }
}

/// Says that it is ready, and does so many lookups for each line of its input.
fn on_orders(
    trips: u64,
    mut once: impl FnMut() -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let mut output = std::io::stdout();
    writeln!(output, "0").step("say that a reader is ready")?;
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let each = timed(trips, &mut once)?;
        writeln!(output, "{each}").step("say what a reader measured")?;
    }
    Ok(())
}
