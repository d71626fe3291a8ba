//! What a peer process can be told, line by line. It answers each order with one line: `ok ...`
//! or `error ...`.

use super::load::{Load, length_of};
use super::{HostLife, forbid_membarrier, key, reach, scribble, soon};
use super::{PATIENCE, end_main_thread, exit_at_once, fill_payload, in_forked_child, is_payload};
use onecopy::cache::{Block, Cache, Fill, LookupPath, PublishOptions};
use onecopy::error::{AskError, LookupError};
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{CallError, Guest, GuestOptions};
use onecopy_transport::host::{Host, HostEvent, HostHandle, Settlement};
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::socket::AttachSocket;
use rustix::net::Shutdown;
use rustix::process::{Resource, Rlimit, Signal};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a call of a peer waits at most. Longer than any test waits for an answer: what is
/// answered came because it was answered, not because its time was up.
const CALL_DEADLINE: Duration = Duration::from_secs(600);

/// A kind of request that no service here knows.
const NO_KIND: u8 = 200;

/// Reads orders from standard input until it ends.
pub fn run_script() -> ExitCode {
    // Nothing a test starts outlives it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let Some(segment) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return ExitCode::FAILURE;
    };
    Script { segment, ..Script::default() }.run();
    ExitCode::SUCCESS
}

/// What an order brings.
pub(super) type Outcome = Result<String, String>;

#[derive(Default)]
struct Script {
    segment: PathBuf,
    cache: Option<Cache>,
    /// An attach that goes on beside that one.
    beside: Option<Cache>,
    /// Another descriptor of the attach socket.
    socket: Option<OwnedFd>,
    blocks: Vec<(u64, Block)>,
    fills: Vec<Fill>,
    load: Option<Load>,
    host: Option<HostHandle>,
    serving: Option<JoinHandle<HostLife>>,
    events: Option<Receiver<HostEvent>>,
    grown_to: Arc<AtomicU64>,
    /// Its cache attaches anew by itself.
    comes_back: bool,
}

impl Script {
    fn run(mut self) {
        let mut line = String::new();
        loop {
            line.clear();
            match std::io::stdin().read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            if words.first().is_some_and(|word| word == "main_thread_ends") {
                std::thread::spawn(move || {
                    println!("ok");
                    self.run();
                    exit_at_once(0);
                });
                end_main_thread();
            }
            match self.obey(&words) {
                Ok(text) => println!("ok {text}"),
                Err(text) => println!("error {text}"),
            }
        }
    }

    fn obey(&mut self, words: &[String]) -> Outcome {
        let order = words.first().map_or("", String::as_str);
        let word = |index: usize| words.get(index).map_or("", String::as_str);
        let number = |index: usize| word(index).parse::<u64>().unwrap_or(0);
        match order {
            "attach" => self.attach(word(1), word(2)),
            "attach_beside" => self.attach_beside(word(1)),
            "claim" => self.claim(),
            "reattach" => self.reattach(),
            "ping" => text(self.cache()?.guest().ping(Instant::now() + CALL_DEADLINE)),
            "end" => Ok(format!("{:?}", self.cache()?.guest().end())),
            "detach" => text(self.cache()?.guest().detach(soon())),
            "drop_cache" => Ok(self.cache.take().is_some().to_string()),
            "store" => self.store(number(1), number(2)),
            "store_many" => self.store_many(number(1)..number(1) + number(2)),
            "store_while" => self.store_while(number(1)..number(1) + number(2)),
            "verify" => self.verify(number(1)..number(1) + number(2)),
            "get" => self.get(number(1), false),
            "hold" => self.get(number(1), true),
            "find" => self.find(number(1)),
            "check" => self.check(),
            "let_go" => Ok(self.blocks.drain(..).count().to_string()),
            "reserve" => self.reserve(number(1), number(2)),
            "unreserve" => Ok(self.fills.drain(..).count().to_string()),
            "publish" => self.publish(number(1)),
            "scribble" => self.scribble(number(1)),
            "pin" => text(self.cache()?.pin(&key(number(1)))),
            "unpin" => text(self.cache()?.unpin(&key(number(1)))),
            "delete" => text(self.cache()?.delete(&key(number(1)))),
            "scribble_all" => Ok(self.scribble_all(word(1), number(2), number(3))),
            "reach" => Ok(reach(&self.segment, role_of(word(1)), number(2)).join(", ")),
            "load" => self.start_load(number(1), number(2)),
            "load_stop" => self.stop_load(),
            "fork" => self.fork(),
            "close_socket" => self.close_socket(),
            "execute" => self.execute(),
            "grown_to" => Ok(self.grown_to.load(Ordering::Relaxed).to_string()),
            "limit_file_bytes" => limit(Resource::Fsize, number(1), Some(number(1))),
            "limit_descriptors" => limit(Resource::Nofile, number(1), None),
            "host" => self.serve([1, 2, 3, 4].map(number), None),
            "quiet_host" => self.serve([number(1), number(2), 0, 0], Some(number(3))),
            "host_audit" => self.audit(),
            "trap" => super::syscalls::be_trapped(word(1)),
            "forbid_membarrier" => Ok(format!("{:?}", forbid_membarrier())),
            "destroy" => self.destroy(),
            "growth_failed" => self.growth_failed(),
            "fault" => {
                let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
                super::faults::arm(&words)
            }
            "exists" => text(self.cache()?.exists(&key(number(1)))),
            "host_stat" => self.host_figure(word(1)),
            "host_cut_off" => {
                let host = self.host.as_ref().ok_or("no host")?;
                text(host.cut_off(number(1) as u32, "by hand", soon()))
            }
            "host_write_off" => {
                let host = self.host.as_ref().ok_or("no host")?;
                text(host.settle(number(1) as u32, Settlement::WriteOff, soon()))
            }
            "repeat" => (0..number(1)).try_fold(String::new(), |_, _| self.obey(&words[2..])),
            "call" => {
                let bytes = super::payload(1, number(1) as usize);
                text(
                    self.cache()?.guest().call(NO_KIND, &bytes, soon()).map(|reply| reply.to_vec()),
                )
            }
            "host_leave" => self.leave(),
            other => {
                let (first, count) = (number(1), number(2));
                let done =
                    super::batch::obey(self.cache()?, other, first..first + count, number(3));
                done.unwrap_or_else(|| Err(format!("unknown order {other:?}")))
            }
        }
    }

    /// Harm for so many milliseconds; how often it attached, and the deeds.
    fn scribble_all(&self, role: &str, seed: u64, milliseconds: u64) -> String {
        let harm =
            scribble(&self.segment, role_of(role), seed, Duration::from_millis(milliseconds));
        format!("{} {}", harm.attached, harm.deeds)
    }

    fn cache(&self) -> Result<&Cache, String> {
        self.cache.as_ref().ok_or_else(|| "not attached".to_owned())
    }

    fn options(&self, role: &str) -> GuestOptions {
        GuestOptions {
            role: role_of(role),
            attach_deadline: PATIENCE,
            ..GuestOptions::at(&self.segment)
        }
    }

    fn take_guest(&mut self, guest: Guest) -> Outcome {
        let serial = guest.serial();
        let (grown_to, watched) = (Arc::clone(&self.grown_to), guest.pool().published_bytes);
        grown_to.fetch_max(watched, Ordering::Relaxed);
        guest.on_growth(move |_, to_bytes| {
            grown_to.fetch_max(to_bytes, Ordering::SeqCst);
        });
        let cache =
            Cache::new(guest).map(|cache| cache.with_lookup(LookupPath::Ring)).map_err(debug)?;
        let reattach = self.comes_back.then_some(PATIENCE);
        self.cache = Some(cache.with_deadline(CALL_DEADLINE).with_reattach(reattach));
        Ok(serial.to_string())
    }

    /// `attach writer|reader [socket|quiet|comes_back]`: `socket` keeps a descriptor of the socket,
    /// `quiet` has no watcher, `comes_back` attaches anew by itself.
    fn attach(&mut self, role: &str, how: &str) -> Outcome {
        let mut options = self.options(role);
        options.watcher = how != "quiet";
        self.comes_back = how == "comes_back";
        let guest = if how == "socket" {
            let path = SegmentPath::new(&self.segment).map_err(debug)?;
            let socket = AttachSocket::connect(&path, soon()).map_err(debug)?.into_fd();
            self.socket = Some(socket.try_clone().map_err(debug)?);
            Guest::claim(socket, options)
        } else {
            Guest::attach(options)
        };
        self.take_guest(guest.map_err(debug)?)
    }

    /// Attaches once more and keeps what it has.
    fn attach_beside(&mut self, role: &str) -> Outcome {
        self.beside = self.cache.take();
        self.attach(role, "")
    }

    fn claim(&mut self) -> Outcome {
        let guest = Guest::claim_from_environment(self.options("writer")).map_err(debug)?;
        self.take_guest(guest)
    }

    fn reattach(&mut self) -> Outcome {
        let cache = self.cache()?.with_deadline(PATIENCE).reattach().map_err(debug)?;
        let serial = cache.guest().serial();
        self.cache = Some(cache.with_deadline(CALL_DEADLINE));
        Ok(serial.to_string())
    }

    fn store(&mut self, number: u64, length: u64) -> Outcome {
        let bytes = super::payload(number, length as usize);
        let published = self.cache()?.store(&key(number), &bytes).map_err(debug)?;
        let slot = published.slot();
        let which = if published.is_first() { "first" } else { "there" };
        Ok(format!("{which} {} {}", slot.slot, slot.generation))
    }

    fn store_many(&mut self, numbers: std::ops::Range<u64>) -> Outcome {
        let mut first = 0;
        for number in numbers {
            let bytes = super::payload(number, length_of(number));
            let published = self.cache()?.store(&key(number), &bytes).map_err(debug)?;
            first += u64::from(published.is_first());
        }
        Ok(first.to_string())
    }

    /// Stores blocks while there is a host; how many were acknowledged.
    fn store_while(&mut self, numbers: std::ops::Range<u64>) -> Outcome {
        let mut stored = 0;
        for number in numbers {
            let bytes = super::payload(number, length_of(number));
            match self.cache()?.store(&key(number), &bytes) {
                Ok(_) => stored += 1,
                Err(_) if self.cache()?.guest().end().is_some() => break,
                Err(error) => return Err(debug(error)),
            }
        }
        Ok(stored.to_string())
    }

    /// Checks every byte of these blocks; how many are there.
    fn verify(&mut self, numbers: std::ops::Range<u64>) -> Outcome {
        let mut found = 0;
        for number in numbers {
            let Some(block) = self.cache()?.lookup(&key(number)).map_err(debug)? else { continue };
            if block.len() != length_of(number) || !is_payload(number, &block) {
                return Err(format!("block {number} has a wrong byte"));
            }
            found += 1;
        }
        Ok(found.to_string())
    }

    /// Looks a block up and checks it; keeps its lease if that is wanted. The call is timed.
    fn get(&mut self, number: u64, keep: bool) -> Outcome {
        let found = self.cache()?.lookup(&key(number));
        if let Err(LookupError::Ask(AskError::Call(CallError::Link(end)))) = found {
            return Err(format!("{end:?}"));
        }
        let Some(block) = found.map_err(debug)? else { return Ok("miss".to_owned()) };
        if !is_payload(number, &block) {
            return Err(format!("block {number} has a wrong byte"));
        }
        let slot = block.slot();
        let answer = format!("{} {} {}", block.len(), slot.slot, slot.generation);
        if keep {
            self.blocks.push((number, block));
        }
        Ok(answer)
    }

    /// Looks a block up without the host; its length, 0 where there is none.
    fn find(&self, number: u64) -> Outcome {
        let cache = self.cache()?.with_lookup(LookupPath::Direct);
        text(cache.lookup(&key(number)).map(|block| block.map_or(0, |block| block.len())))
    }

    /// Reads every byte of what is held.
    fn check(&self) -> Outcome {
        match self.blocks.iter().find(|(number, block)| !is_payload(*number, block)) {
            Some((number, _)) => Err(format!("block {number} has a wrong byte")),
            None => Ok(self.blocks.len().to_string()),
        }
    }

    fn reserve(&mut self, size_bytes: u64, count: u64) -> Outcome {
        for _ in 0..count {
            let mut fill = self.cache()?.reserve(size_bytes).map_err(debug)?;
            let half = fill.len() / 2;
            fill[..half].fill(0xab);
            self.fills.push(fill);
        }
        let slots: Vec<String> =
            self.fills.iter().map(|fill| fill.slot().slot.to_string()).collect();
        Ok(slots.join(" "))
    }

    /// Fills a slot that was reserved and publishes it.
    fn publish(&mut self, number: u64) -> Outcome {
        let mut fill = self.fills.pop().ok_or("nothing reserved")?;
        let length = fill.len();
        fill_payload(number, &mut fill);
        let published = fill.publish(&key(number), length as u64, PublishOptions::default());
        text(published)
    }

    /// Writes into everything that is reserved.
    fn scribble(&mut self, byte: u64) -> Outcome {
        for fill in &mut self.fills {
            fill.fill(byte as u8);
        }
        Ok(self.fills.len().to_string())
    }

    fn start_load(&mut self, seed: u64, keys: u64) -> Outcome {
        let (cache, goes_on) = (self.cache()?.clone(), self.comes_back);
        self.load = Some(Load::start(cache, seed, keys, goes_on));
        Ok(String::new())
    }

    fn stop_load(&mut self) -> Outcome {
        let figures = self.load.take().ok_or("no load")?.stop();
        match figures.error {
            Some(error) => Err(error),
            None => Ok(format!(
                "{} {} {} {}",
                figures.operations, figures.verified, figures.mismatches, figures.published
            )),
        }
    }

    /// What a forked child sees; bit by bit in its exit code. Its handles are dropped there.
    fn fork(&mut self) -> Outcome {
        let cache = self.cache.take().ok_or("not attached")?;
        let (blocks, fills) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.fills));
        let mut kept = Some((cache, blocks, fills));
        let code = in_forked_child(
            || {
                let Some((cache, blocks, fills)) = kept.take() else { return 0 };
                let guest = cache.guest();
                let direct = cache.with_lookup(LookupPath::Direct);
                let now = Instant::now();
                let is_forked = [
                    format!("{:?}", guest.ping(now)),
                    format!("{:?}", guest.reserve(1, now).map(|_| ())),
                    format!("{:?}", cache.lookup(&key(1)).map(|_| ())),
                    format!("{:?}", direct.lookup(&key(1)).map(|_| ())),
                    format!("{:?}", direct.lookup_many(&[key(1)]).map(|_| ())),
                    format!("{:?}", direct.match_prefix(&[key(1)])),
                    format!("{:?}", cache.store(&key(2), b"child").map(|_| ())),
                    format!("{:?}", guest.detach(now)),
                    format!("{:?}", guest.reattach(now).map(|_| ())),
                ]
                .iter()
                .all(|said| said.contains("Forked"));
                drop((blocks, fills, direct, cache));
                if is_forked { 77 } else { 1 }
            },
            PATIENCE,
        );
        let (cache, blocks, fills) = kept.ok_or("the parent lost what it holds")?;
        (self.cache, self.blocks, self.fills) = (Some(cache), blocks, fills);
        Ok(format!("{code:?}"))
    }

    /// Becomes another program, which lives until its standard input ends.
    fn execute(&mut self) -> Outcome {
        println!("ok");
        let error = std::process::Command::new("cat").exec();
        Err(debug(error))
    }

    fn close_socket(&mut self) -> Outcome {
        let socket = self.socket.take().ok_or("the socket was not kept")?;
        text(rustix::net::shutdown(&socket, Shutdown::Both))
    }

    /// Becomes a host of a cache: `host POOL_MIB POOL_MAX_MIB [GUESTS_MAX [HEARTBEAT_MS]]`, or
    /// `quiet_host POOL_MIB POOL_MAX_MIB [BLOCKS]`. A quiet one stores nothing by itself: its heart
    /// beats once an hour.
    fn serve(
        &mut self,
        [pool_mib, pool_max_mib, guests_max, heartbeat_ms]: [u64; 4],
        quiet: Option<u64>,
    ) -> Outcome {
        let mut options = super::small_host(&self.segment);
        if guests_max > 0 {
            options.guests_max = guests_max as u32;
        }
        options.pool_bytes = pool_mib << 20;
        options.pool_bytes_max = pool_max_mib << 20;
        options.grant_bytes_max = Some(options.pool_bytes_max);
        if heartbeat_ms != 0 {
            options.heartbeat_interval = Duration::from_millis(heartbeat_ms);
        }
        options.memory.prefault = std::env::var_os("ONECOPY_TEST_PREFAULT").is_some();
        let (tell, events) = channel();
        options.events = Some(tell);
        if quiet.is_some() {
            options.heartbeat_interval = Duration::from_secs(3600);
        }
        let mut service = CacheServiceOptions::default();
        if let Some(blocks) = quiet.filter(|&blocks| blocks > 0) {
            service.capacity = Capacity::Blocks(blocks);
        }
        let service = CacheService::new(service);
        let host = Host::start(options, service).map_err(|error| format!("{error}"))?;
        let epoch = host.boot_epoch();
        let handle = host.handle();
        let thread = std::thread::Builder::new().spawn(move || host.serve()).map_err(debug)?;
        (self.host, self.serving, self.events) = (Some(handle), Some(thread), Some(events));
        Ok(epoch.to_string())
    }

    /// Has the host leave, and waits until it has.
    fn leave(&mut self) -> Outcome {
        self.host.take().ok_or("no host")?.leave().map_err(debug)?;
        match self.serving.take().map(JoinHandle::join) {
            Some(Ok(life)) => text(life),
            _ => Err("the host's thread panicked".to_owned()),
        }
    }

    fn destroy(&self) -> Outcome {
        let path = SegmentPath::new(&self.segment).map_err(debug)?;
        onecopy_transport::segment::destroy(&path).map(|it| it.files.to_string()).map_err(debug)
    }

    /// Why growth has failed since the last such order, the first time.
    fn growth_failed(&mut self) -> Outcome {
        let events = self.events.as_ref().ok_or("no host")?;
        let reason = events.try_iter().find_map(|event| match event {
            HostEvent::GrowthFailed { reason, .. } => Some(reason),
            _ => None,
        });
        reason.ok_or_else(|| "growth has not failed".to_owned())
    }

    /// One of the host's figures.
    fn host_figure(&self, wanted: &str) -> Outcome {
        let host = self.host.as_ref().ok_or("no host")?;
        let stats = host.stats(soon()).map_err(debug)?;
        let figure = stats.iter().find(|(name, _)| *name == wanted);
        figure.map(|(_, figure)| figure.to_string()).ok_or_else(|| format!("no figure {wanted}"))
    }

    /// How often growth has failed, if the audit is clean.
    fn audit(&mut self) -> Outcome {
        let host = self.host.as_ref().ok_or("no host")?;
        let report = host.audit(soon()).map_err(debug)?;
        if report.is_clean() { self.host_figure("growth_failed") } else { Err(format!("{report}")) }
    }
}

/// Sets a limit of this process, and how far it may be raised again if that is given.
fn limit(of: Resource, most: u64, maximum: Option<u64>) -> Outcome {
    let maximum = maximum.or(rustix::process::getrlimit(of).maximum);
    text(rustix::process::setrlimit(of, Rlimit { current: Some(most), maximum }))
}

fn role_of(word: &str) -> Role {
    if word == "reader" { Role::Reader } else { Role::Writer }
}

fn debug(error: impl Debug) -> String {
    format!("{error:?}")
}

fn text<T: Debug, E: Debug>(result: Result<T, E>) -> Outcome {
    result.map(|value| format!("{value:?}")).map_err(debug)
}
