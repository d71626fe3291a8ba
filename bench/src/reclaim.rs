//! A guest is killed that holds many slots: how long until the host has them back.
//!
//! Two spans, told apart: from SIGKILL to a readable pidfd, which is the kernel's (it takes the dead
//! process's mappings down), and from there to the end of the recovery, which is the host's. Both ends
//! of the second are on one clock of one process: the host is a thread of this one, and polls, so that
//! it is awake.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use onecopy::cache::{Cache, CacheOptions};
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::host::{Host, HostEvent, HostHandle, HostOptions, ServeError};
use onecopy_transport::process::Pidfd;
use onecopy_transport::segment::SegmentPath;
use rustix::process::Signal;

use crate::Options;
use crate::error::{BenchError, Step};
use crate::pin::{self, Cores};
use crate::report::{Memory, Report, Span};

/// Slots that the guest holds when it is killed.
const SLOTS: u64 = 1000;
/// Bytes of one of them, all of which the guest has written.
const SLOT_BYTES: u64 = 64 << 10;
const POOL_BYTES: u64 = 256 << 20;
/// Deaths in one of the rounds that are asked for.
const DEATHS: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(30);

/// One death.
struct Death {
    kernel: Duration,
    host: Duration,
}

pub(crate) fn run(options: &Options, cores: &Cores, report: &mut Report) -> Result<(), BenchError> {
    let host = ReclaimHost::start(cores)?;
    let deaths = u64::from(options.rounds) * options.trips.unwrap_or(DEATHS);
    let (mut kernel, mut reclaim) = (Vec::new(), Vec::new());
    let mut memory = Memory::default();
    for _ in 0..deaths {
        let victim = Victim::start(&host.segment, cores)?;
        memory = memory_of(victim.child.id())?;
        let death = host.kill(victim)?;
        kernel.push(death.kernel);
        reclaim.push(death.host);
    }
    host.leave()?;
    report.span(Span {
        name: "reclaim",
        text: "from a readable pidfd to the end of the recovery",
        slots: SLOTS,
        memory: None,
        times: reclaim,
    });
    report.span(Span {
        name: "teardown",
        text: "from SIGKILL to a readable pidfd (the kernel's)",
        slots: SLOTS,
        memory: Some(memory),
        times: kernel,
    });
    Ok(())
}

/// A host in a thread of this process.
struct ReclaimHost {
    handle: HostHandle,
    thread: JoinHandle<Result<(), ServeError>>,
    events: Receiver<HostEvent>,
    segment: PathBuf,
}

impl ReclaimHost {
    fn start(cores: &Cores) -> Result<ReclaimHost, BenchError> {
        let name = format!("bench-{}", std::process::id());
        let segment = SegmentPath::default_for_user().as_path().with_file_name(name);
        let mut options = HostOptions::new(&segment);
        let (tell, events) = channel();
        options.pool_bytes = POOL_BYTES;
        options.pool_bytes_max = POOL_BYTES;
        options.grant_bytes_max = Some(POOL_BYTES);
        options.remove_on_leave = true;
        // A host that is awake; on one core it would keep the dying process from ending.
        options.polling = cores.second().is_some();
        options.events = Some(tell);
        let host = Host::start(options, CacheService::new(CacheServiceOptions::default()))?;
        let (handle, core) = (host.handle(), cores.second());
        let thread = std::thread::spawn(move || {
            // Where it cannot be pinned it serves all the same.
            let _ = core.map(pin::pin);
            host.serve()
        });
        Ok(ReclaimHost { handle, thread, events, segment })
    }

    /// Kills the guest and waits for both ends.
    fn kill(&self, mut victim: Victim) -> Result<Death, BenchError> {
        let pid = victim.child.id();
        let pidfd = Pidfd::of_process(pid, onecopy_transport::process::start_time_ticks(pid)?)?;
        let killed = Instant::now();
        pidfd.send_signal(Signal::KILL)?;
        let dead = pidfd.wait(killed + PATIENCE)?;
        let readable = Instant::now();
        if !dead {
            return Err(BenchError::TimedOut { answered: 0 });
        }
        let _ = victim.child.wait();
        loop {
            let left = (readable + PATIENCE).saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            match event.map_err(|_| BenchError::TimedOut { answered: 0 })? {
                HostEvent::Recovered { pid: of, slots, at, .. } if of == pid => {
                    if slots < SLOTS {
                        return Err(BenchError::WrongCount { verified: slots, expected: SLOTS });
                    }
                    // The host may see it before this thread does.
                    let host = at.saturating_duration_since(readable);
                    return Ok(Death { kernel: readable - killed, host });
                }
                _ => {}
            }
        }
    }

    fn leave(self) -> Result<(), BenchError> {
        // A host that has ended needs no telling.
        let _ = self.handle.leave();
        match self.thread.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(BenchError::PartnerEnded),
        }
    }
}

/// A guest in a process of its own. Dropping it kills it.
struct Victim {
    child: Child,
}

impl Victim {
    /// Starts it and waits until it holds its slots.
    fn start(segment: &Path, cores: &Cores) -> Result<Victim, BenchError> {
        let program = std::env::current_exe().step("find this program")?;
        let mut command = Command::new(program);
        command.arg("reclaim-guest").arg(segment);
        if let Some(core) = cores.pair().map(|(first, _)| first) {
            command.args(["--core", &core.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().step("start a guest")?;
        let output = child.stdout.take();
        let victim = Victim { child };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line).step("hear of the guest's slots")?;
        }
        if line.is_empty() { Err(BenchError::PartnerEnded) } else { Ok(victim) }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The guest's life: it holds its slots, every byte of them written, until its input ends.
pub(crate) fn guest(segment: &Path, core: Option<usize>) -> Result<(), BenchError> {
    core.map_or(Ok(()), pin::pin)?;
    let mut options = CacheOptions::new(GuestOptions::at(segment));
    options.deadline = PATIENCE;
    let cache = Cache::attach(options)?;
    let mut fills = Vec::new();
    for number in 0..SLOTS {
        let mut fill = cache.reserve(SLOT_BYTES)?;
        fill.fill(number as u8);
        fills.push(fill);
    }
    // Whoever asked may be gone, and this process ends with it.
    let _ = writeln!(std::io::stdout(), "holding");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(fills);
    Ok(())
}

/// What the kernel has to take down when this process dies.
fn memory_of(pid: u32) -> Result<Memory, BenchError> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/statm")).step("read a process's memory")?;
    let mut pages = text.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0_u64));
    let mut bytes = || pages.next().unwrap_or(0) * rustix::param::page_size() as u64;
    Ok(Memory { mapped_bytes: bytes(), touched_bytes: bytes() })
}
