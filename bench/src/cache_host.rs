//! A host with the cache in a process of its own, for the benchmarks that go the whole way: guest,
//! ring, host, index and back.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onecopy::policy::PolicyKind;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::host::{Host, HostOptions};
use onecopy_transport::segment::SegmentPath;

use crate::error::{BenchError, Step};
use crate::pin::{self, Cores};

/// Blocks the cache holds before it evicts.
const CAPACITY_BLOCKS: u64 = 16 << 10;
const POOL_BYTES: u64 = 256 << 20;
/// How long an orderly end may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The host's process, as the guest's process sees it. Dropping it ends the host, which removes its
/// segment.
pub(crate) struct CacheHost {
    child: Child,
    segment: PathBuf,
}

impl CacheHost {
    /// Starts it on the partner's core and waits until it serves.
    pub(crate) fn start(cores: &Cores) -> Result<CacheHost, BenchError> {
        let parent = SegmentPath::default_for_user();
        let name = format!("bench-{}", std::process::id());
        let segment = parent.as_path().with_file_name(name);
        let program = std::env::current_exe().step("find this program")?;
        let mut command = Command::new(program);
        command.arg("cache-host").arg(&segment);
        if let Some(core) = cores.second() {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the parent, whose end is told to the host.
        command.process_group(0);
        let mut child = command.spawn().step("start the host")?;
        let output = child.stdout.take();
        let host = CacheHost { child, segment };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line).step("hear that the host serves")?;
        }
        if line.is_empty() { Err(BenchError::PartnerEnded) } else { Ok(host) }
    }

    pub(crate) fn segment(&self) -> &Path {
        &self.segment
    }
}

impl Drop for CacheHost {
    fn drop(&mut self) {
        // The end of its input tells it to leave; its segment goes with it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The host's life: serves until its input ends, which it also does when whoever started it is killed.
pub(crate) fn serve(segment: &Path, core: Option<usize>) -> Result<(), BenchError> {
    core.map_or(Ok(()), pin::pin)?;
    let mut options = HostOptions::new(segment);
    options.pool_bytes = POOL_BYTES;
    options.pool_bytes_max = POOL_BYTES;
    options.remove_on_leave = true;
    let service = CacheService::new(CacheServiceOptions {
        capacity: Capacity::Blocks(CAPACITY_BLOCKS),
        policy: PolicyKind::Lru,
        ..CacheServiceOptions::default()
    });
    let host = Host::start(options, service)?;
    let handle = host.handle();
    std::thread::spawn(move || {
        // The input brings nothing but its end. A host that has ended needs no telling.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = handle.leave();
        std::thread::sleep(LEAVE_TIMEOUT);
        eprintln!("onecopy-bench: the host did not leave in {LEAVE_TIMEOUT:?}");
        std::process::exit(1);
    });
    println!("serving");
    Ok(host.serve()?)
}
