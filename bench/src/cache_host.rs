//! A host with the cache in a process of its own, for the benchmarks that go the whole way: guest,
//! ring, host, index and back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use onecopy::policy::PolicyKind;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::memory::{HugePages, MemoryOptions, NumaPolicy};
use onecopy_transport::segment::SegmentPath;

use crate::error::{BenchError, Step};
use crate::pin::{self, Cores};

/// How large a segment is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) pool_bytes: u64,
    pub(crate) granule_bytes: u64,
    /// Blocks the cache holds before it evicts.
    pub(crate) capacity_blocks: u64,
}

impl Default for Size {
    fn default() -> Size {
        Size { pool_bytes: 256 << 20, granule_bytes: 4096, capacity_blocks: 16 << 10 }
    }
}

impl Size {
    /// Room for so many blocks in slots of one granule, and for what guests have in stock.
    pub(crate) fn of_blocks(blocks: u64, granule_bytes: u64) -> Size {
        let pool_bytes = (blocks + blocks / 8 + 4096) * granule_bytes + (4 << 20);
        Size { pool_bytes, granule_bytes, capacity_blocks: blocks }
    }

    /// Room for so many blocks that each have a slot of this size, in granules of 4 KiB.
    pub(crate) fn of_large_blocks(blocks: u64, slot_bytes: u64) -> Size {
        Size {
            pool_bytes: (blocks + 64) * slot_bytes,
            granule_bytes: 4096,
            capacity_blocks: blocks,
        }
    }
}

/// Where a segment is and how its memory is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ground {
    /// A directory for the segment; `None`: that of this user's segments.
    pub(crate) place: Option<PathBuf>,
    /// A directory for the pool; `None`: that of the segment.
    pub(crate) pool_place: Option<PathBuf>,
    pub(crate) memory: MemoryOptions,
}

/// What a host is told on its command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostArguments {
    segment: PathBuf,
    /// Bytes of pool.
    #[arg(long)]
    pool_bytes: u64,
    /// Bytes of the smallest slot.
    #[arg(long)]
    granule_bytes: u64,
    /// Blocks before it evicts.
    #[arg(long)]
    capacity_blocks: u64,
    /// The core to stay on.
    #[arg(long)]
    core: Option<usize>,
    /// The file of the pool, if it is elsewhere.
    #[arg(long)]
    pool: Option<PathBuf>,
    #[arg(long)]
    prefault: bool,
    #[arg(long, default_value = "off")]
    huge_pages: HugePages,
    #[arg(long)]
    numa: Option<NumaPolicy>,
}

impl HostArguments {
    fn new(segment: PathBuf, core: Option<usize>, size: Size, ground: &Ground) -> HostArguments {
        let Size { pool_bytes, granule_bytes, capacity_blocks } = size;
        let MemoryOptions { prefault, huge_pages, numa } = ground.memory;
        let name = segment.file_name().map(|name| name.to_owned()).unwrap_or_default();
        let pool = ground.pool_place.as_ref().map(|place| place.join(name));
        HostArguments {
            segment,
            pool_bytes,
            granule_bytes,
            capacity_blocks,
            core,
            pool,
            prefault,
            huge_pages,
            numa,
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg("cache-host").arg(&self.segment);
        command.args(["--pool-bytes", &self.pool_bytes.to_string()]);
        command.args(["--granule-bytes", &self.granule_bytes.to_string()]);
        command.args(["--capacity-blocks", &self.capacity_blocks.to_string()]);
        command.args(["--huge-pages", &self.huge_pages.to_string()]);
        command.args(self.prefault.then_some("--prefault"));
        command.args(self.numa.map(|numa| format!("--numa={numa}")));
        command.args(self.core.map(|core| format!("--core={core}")));
        if let Some(pool) = &self.pool {
            command.arg("--pool").arg(pool);
        }
        command
    }
}

/// Guests that may be attached: more than any benchmark starts.
const GUESTS_MAX: u32 = 128;
/// How long an orderly end may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The host's process, as the guest's process sees it. Dropping it ends the host, which removes its
/// segment.
pub(crate) struct CacheHost {
    child: Child,
    arguments: HostArguments,
    start_ns: f64,
}

impl CacheHost {
    /// Starts it on the partner's core and waits until it serves.
    pub(crate) fn start(cores: &Cores) -> Result<CacheHost, BenchError> {
        CacheHost::start_sized(cores, Size::default())
    }

    /// The same, on a segment of another size.
    pub(crate) fn start_sized(cores: &Cores, size: Size) -> Result<CacheHost, BenchError> {
        CacheHost::start_on(cores, size, &Ground::default())
    }

    /// The same, somewhere else or with memory that is taken otherwise.
    pub(crate) fn start_on(
        cores: &Cores,
        size: Size,
        ground: &Ground,
    ) -> Result<CacheHost, BenchError> {
        static HOSTS: AtomicU32 = AtomicU32::new(0);
        let parent = SegmentPath::default_for_user();
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let segment = match &ground.place {
            Some(place) => place.join(name),
            None => parent.as_path().with_file_name(name),
        };
        let arguments = HostArguments::new(segment, cores.second(), size, ground);
        let child = spawn(&arguments)?;
        let mut host = CacheHost { child, arguments, start_ns: 0.0 };
        host.start_ns = host.wait_until_it_serves()?;
        Ok(host)
    }

    /// Nanoseconds that its start took, the start of its process not included.
    pub(crate) fn start_ns(&self) -> f64 {
        self.start_ns
    }

    /// Kills the host and starts the next one on its segment; how many nanoseconds its start took, the
    /// start of its process not included.
    pub(crate) fn kill_and_restart(&mut self) -> Result<f64, BenchError> {
        self.child.kill().step("kill the host")?;
        self.child.wait().step("wait for the killed host")?;
        self.child = spawn(&self.arguments)?;
        self.wait_until_it_serves()
    }

    /// The host says how many nanoseconds its start took.
    fn wait_until_it_serves(&mut self) -> Result<f64, BenchError> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.take() {
            BufReader::new(output).read_line(&mut line).step("hear that the host serves")?;
        }
        line.trim().parse().map_err(|_| BenchError::PartnerEnded)
    }

    pub(crate) fn segment(&self) -> &Path {
        &self.arguments.segment
    }
}

impl Drop for CacheHost {
    fn drop(&mut self) {
        // The end of its input tells it to leave; its segment goes with it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &HostArguments) -> Result<Child, BenchError> {
    let program = std::env::current_exe().step("find this program")?;
    let mut command = arguments.command(&program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C is for the parent, whose end is told to the host.
    command.process_group(0);
    command.spawn().step("start the host")
}

/// The host's life: serves until its input ends, which it also does when whoever started it is killed.
pub(crate) fn serve(arguments: &HostArguments) -> Result<(), BenchError> {
    arguments.core.map_or(Ok(()), pin::pin)?;
    let mut options = HostOptions::new(&arguments.segment);
    options.pool = arguments.pool.clone();
    options.pool_bytes = arguments.pool_bytes;
    options.pool_bytes_max = arguments.pool_bytes;
    options.granule_bytes = arguments.granule_bytes;
    options.guests_max = GUESTS_MAX;
    options.remove_on_leave = true;
    let HostArguments { prefault, huge_pages, numa, .. } = *arguments;
    options.memory = MemoryOptions { prefault, huge_pages, numa };
    // A guest may fill all of it.
    options.grant_bytes_max = Some(arguments.pool_bytes);
    let service = CacheService::new(CacheServiceOptions {
        capacity: Capacity::Blocks(arguments.capacity_blocks),
        policy: PolicyKind::Lru,
        ..CacheServiceOptions::default()
    });
    let started = Instant::now();
    let host = Host::start(options, service)?;
    let took = started.elapsed();
    let handle = host.handle();
    std::thread::spawn(move || {
        // The input brings nothing but its end. A host that has ended needs no telling.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = handle.leave();
        std::thread::sleep(LEAVE_TIMEOUT);
        eprintln!("onecopy-bench: the host did not leave in {LEAVE_TIMEOUT:?}");
        std::process::exit(1);
    });
    // Whoever asked may be gone; then the input has ended too, and the host leaves.
    let _ = writeln!(std::io::stdout(), "{}", took.as_nanos());
    Ok(host.serve()?)
}
