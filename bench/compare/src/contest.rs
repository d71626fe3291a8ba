//! One system with its processes: who serves, who gets, who puts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::content::Look;
use crate::cores::{Cores, Side};
use crate::error::CompareError;
use crate::host::Size;
use crate::keeper::Home;
use crate::orders::{Duty, Gets, Order, Span};
use crate::plan::{GUESTS_MAX, Measure, Plan};
use crate::process::Process;
use crate::system::{Placement, System};

/// Guests that share cores work for so many slices at a time, so that each of them has its turn.
pub(crate) const SHARED_SLICES: u32 = 5;
/// Memory that Memcached may use, in MiB, and its largest block.
const MEMCACHED_MEBIBYTES: &str = "2048";
const MEMCACHED_BLOCK_MAX: &str = "8m";

/// A system that is measured.
pub(crate) struct Contest {
    pub(crate) system: System,
    /// In the order of their end: whoever asks goes before whoever answers.
    guests: Vec<Process>,
    /// None where a put is the same as in another contest.
    putter: Option<Process>,
    services: Vec<Process>,
}

/// Who serves; where to get, and where to put.
struct Services {
    processes: Vec<Process>,
    place: PathBuf,
    put_place: Option<PathBuf>,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) measure: Measure,
    /// Bytes, batch or guests.
    pub(crate) number: u64,
    pub(crate) placement: Placement,
}

impl Contest {
    /// Starts the processes and stores the blocks.
    pub(crate) fn start(
        system: System,
        home: &Home,
        plan: &Plan,
        spoil: bool,
    ) -> Result<Contest, CompareError> {
        let Services { mut processes, place, put_place } = start_services(system, home, plan)?;
        match processes.first_mut() {
            Some(owner) if system == System::Iceoryx => fill(owner, plan, spoil)?,
            _ => fill(&mut worker(system, &place, true, 0)?, plan, spoil)?,
        }
        let putter = put_place.map(|place| worker(system, &place, true, 0)).transpose()?;
        let count = plan.guests.iter().copied().max().unwrap_or(1).min(GUESTS_MAX);
        let guests = (1..=count as u64).map(|seed| worker(system, &place, false, seed));
        let guests = guests.collect::<Result<_, _>>()?;
        Ok(Contest { system, guests, putter, services: processes })
    }

    /// Nanoseconds for a block, or blocks a second.
    pub(crate) fn measure(
        &mut self,
        cores: &Cores,
        plan: &Plan,
        point: Point,
    ) -> Result<f64, CompareError> {
        let Point { measure, number, placement } = point;
        let guests = if measure == Measure::Guests { number as usize } else { 1 };
        self.place(cores, guests, placement)?;
        let yields = placement != Placement::Apart;
        let size_bytes = if measure.is_rate() { crate::plan::BATCH_BYTES } else { number };
        let puts = measure == Measure::Put;
        self.go_on_duty(Duty { size_bytes, puts, yields })?;
        let is_shared = measure == Measure::Guests;
        let slice = if is_shared { plan.slice * SHARED_SLICES } else { plan.slice };
        let until = Span::after(plan.slice / 4 + Duration::from_millis(1), slice);
        let rate = if puts {
            let Some(putter) = &mut self.putter else {
                return Err(CompareError::WrongOrder { order: format!("{point:?}") });
            };
            rate(putter.ask(&Order::Put { size_bytes, until, yields })?)
        } else {
            let batch = if measure == Measure::Batch { number as usize } else { 1 };
            let (blocks, look) = (plan.blocks(size_bytes), measure.look());
            let gets = Gets { size_bytes, blocks, batch, is_prefix: false, look, until, yields };
            let team = self.guests.get_mut(..guests).unwrap_or_default();
            if is_shared { rate_of_all(team, gets)? } else { rate_of_one(team, gets)? }
        };
        self.go_off_duty()?;
        Ok(if measure.is_rate() { rate } else { 1e9 / rate })
    }

    /// Compares every word of every block with what was stored.
    pub(crate) fn verify(&mut self, plan: &Plan) -> Result<(), CompareError> {
        for size_bytes in plan.sizes.iter().copied() {
            self.go_on_duty(Duty { size_bytes, puts: false, yields: true })?;
            let blocks = plan.blocks(size_bytes);
            let order = Order::Verify { size_bytes, blocks, look: Look::Whole };
            let (found, _) = self.guests[0].ask(&order)?;
            if found != blocks {
                let (blocks, answered) = (blocks as usize, found as usize);
                return Err(CompareError::Count { blocks, answered });
            }
        }
        self.go_off_duty()
    }

    fn place(
        &self,
        cores: &Cores,
        guests: usize,
        placement: Placement,
    ) -> Result<(), CompareError> {
        for service in &self.services {
            cores.place(service.id(), Side::Serves, placement)?;
        }
        let asking = self.guests[..guests].iter().chain(&self.putter);
        for process in asking {
            cores.place(process.id(), Side::Gets, placement)?;
        }
        Ok(())
    }

    /// The owner of iceoryx2's blocks looks for requests without pause, so it does so only while it
    /// is measured; all others sleep by themselves.
    fn go_on_duty(&mut self, duty: Duty) -> Result<(), CompareError> {
        self.tell_owner(Order::Serve(duty))
    }

    fn go_off_duty(&mut self) -> Result<(), CompareError> {
        self.tell_owner(Order::Rest)
    }

    fn tell_owner(&mut self, order: Order) -> Result<(), CompareError> {
        match self.services.first_mut() {
            Some(owner) if self.system == System::Iceoryx => owner.ask(&order).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// Blocks a second that one guest gets.
pub(crate) fn rate_of_one(team: &mut [Process], gets: Gets) -> Result<f64, CompareError> {
    let answers = team.iter_mut().take(1).map(|guest| guest.ask(&Order::Get(gets)).map(rate));
    answers.sum()
}

/// Blocks a second that guests get together. Whoever has no core for a while still has got what it got
/// by the end of the span, so it is the span that counts, and not for how long each of them worked.
pub(crate) fn rate_of_all(team: &mut [Process], gets: Gets) -> Result<f64, CompareError> {
    team.iter_mut().try_for_each(|guest| guest.say(&Order::Get(gets)))?;
    let blocks = team.iter_mut().map(|guest| guest.hear().map(|(blocks, _)| blocks));
    let blocks = blocks.sum::<Result<u64, _>>()?;
    Ok(rate((blocks, gets.until.end_ns - gets.until.start_ns)))
}

/// Blocks a second.
fn rate((blocks, nanoseconds): (u64, u64)) -> f64 {
    blocks as f64 * 1e9 / nanoseconds.max(1) as f64
}

fn start_services(system: System, home: &Home, plan: &Plan) -> Result<Services, CompareError> {
    let same =
        |processes, place: PathBuf| Services { processes, put_place: Some(place.clone()), place };
    match system {
        System::OnecopyDirect => {
            let place = home.path().join("onecopy-direct");
            let processes = vec![host_of_blocks(&place, plan)?];
            Ok(Services { processes, place, put_place: None })
        }
        System::OnecopyRing => {
            let place = home.path().join("onecopy-ring");
            let puts = home.path().join("onecopy-puts");
            // A cache that is put to evicts what was put before.
            let pool_bytes = 2 * plan.spare_bytes;
            let capacity_bytes = Some(plan.spare_bytes / 2);
            let size = Size { pool_bytes, granule_bytes: 64, capacity_bytes };
            let processes = vec![host_of_blocks(&place, plan)?, host(&puts, size)?];
            Ok(Services { processes, place, put_place: Some(puts) })
        }
        System::Lmdb => Ok(same(Vec::new(), home.directory("lmdb")?)),
        System::Iceoryx => {
            let place = home.path().to_owned();
            let owner = Process::start(system, &["owner".into(), place.clone().into()])?;
            Ok(same(vec![owner], place))
        }
        System::Redis => {
            let socket = home.directory("redis")?.join("socket");
            let service = Process::start_foreign(system, "redis-server", &redis(&socket))?;
            Ok(same(vec![service], socket))
        }
        System::Memcached => {
            let socket = home.directory("memcached")?.join("socket");
            let service = Process::start_foreign(system, "memcached", &memcached(&socket))?;
            Ok(same(vec![service], socket))
        }
    }
}

/// A host of onecopy with room for all blocks.
fn host_of_blocks(segment: &Path, plan: &Plan) -> Result<Process, CompareError> {
    let pool_bytes = plan.bytes() * 5 / 4 + plan.spare_bytes;
    host(segment, Size { pool_bytes, granule_bytes: 64, capacity_bytes: None })
}

/// No port, nothing written to a disk.
fn redis(socket: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"].map(Into::into).into();
    arguments.push(socket.into());
    arguments
}

fn memcached(socket: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["-m", MEMCACHED_MEBIBYTES, "-I", MEMCACHED_BLOCK_MAX, "-s"].map(Into::into).into();
    arguments.push(socket.into());
    if rustix::process::geteuid().is_root() {
        // It insists on being told so.
        arguments.extend(["-u", "root"].map(Into::into));
    }
    arguments
}

/// Starts a host of onecopy.
pub(crate) fn host(segment: &Path, size: Size) -> Result<Process, CompareError> {
    let mut arguments: Vec<OsString> = vec!["host".into(), segment.into()];
    arguments.extend(size.arguments().into_iter().map(Into::into));
    Process::start(System::OnecopyRing, &arguments)
}

/// Starts a process that gets and puts.
pub(crate) fn worker(
    system: System,
    place: &Path,
    writes: bool,
    seed: u64,
) -> Result<Process, CompareError> {
    let mut arguments: Vec<OsString> = vec!["worker".into(), system.argument().into()];
    arguments.extend([place.into(), "--seed".into(), seed.to_string().into()]);
    if writes {
        arguments.push("--writes".into());
    }
    Process::start(system, &arguments)
}

fn fill(process: &mut Process, plan: &Plan, spoil: bool) -> Result<(), CompareError> {
    for size_bytes in plan.sizes.iter().copied() {
        let blocks = plan.blocks(size_bytes);
        process.ask(&Order::Fill { size_bytes, blocks, spoil })?;
    }
    Ok(())
}
