//! Starting a host: on an empty place, on what an unfinished start left, or on the segment of a
//! host that is gone.

use super::Host;
use super::core::{Core, LIMBO_BATCH};
use super::error::StartError;
use super::growth::{Growth, GrowthFiles, growing_spans};
use super::handle::HostHandle;
use super::memory::{MemoryError, MemoryPlan, Taken, check_huge_bytes, populate_control};
use super::options::{HostOptions, PoolSteps};
use super::poller::{Poller, Ready};
use super::roster::Roster;
use super::stats::Counters;
use super::takeover::FoundPeer;
use super::wake::WakeHandle;
use super::walks::Walks;
use crate::control::{ControlWriter, read_geometry};
use crate::format::HostState;
use crate::layout::{ControlLayout, TablesReady};
use crate::pool::VarSlotPool;
use crate::segment::{
    AreaFile, Backing, Contents, DestroyError, DirError, PoolFile, SegmentDir, SegmentLock,
    SegmentPath, Span, check_room,
};
use crate::service::{Service, ServiceStart, tables_ready};
use crate::socket::{AttachListener, SocketMode};
use crate::touch::is_touch_entries;
use onecopy_shm::crash_point;
use onecopy_shm::{Access, Mapping, Sleeper, barrier, sigbus};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a start waits for the lock of a host that was just killed: the kernel gives it back
/// only when the dead process's mappings have been taken down.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// A segment's files, mapped and checked.
struct Opened {
    control_file: OwnedFd,
    control_backing: Backing,
    pool: PoolFile,
    control: ControlWriter,
    segment_id: u128,
    fresh: bool,
    taken: Taken,
}

impl<S: Service> Host<S> {
    /// Starts a host on this segment, making the segment if there is none.
    ///
    /// # Errors
    /// [`StartError`]; nothing that stood there before is changed or lost.
    // r[impl host.start]
    pub fn start(options: HostOptions, service: S) -> Result<Host<S>, StartError> {
        check_options(&options)?;
        let path = SegmentPath::new(&options.segment)?;
        let mut attempt =
            Attempt { stood_there: path.as_path().exists(), lock: None, is_maker: false };
        let started = Host::start_at(&path, options, service, &mut attempt);
        if started.is_err() {
            attempt.undo(&path);
        }
        started
    }

    fn start_at(
        path: &SegmentPath,
        options: HostOptions,
        service: S,
        attempt: &mut Attempt,
    ) -> Result<Host<S>, StartError> {
        let dir = SegmentDir::create_or_open(path)?;
        refuse_foreign(&dir)?;
        let lock = attempt.lock.insert(SegmentLock::lock(&dir, Instant::now() + LOCK_PATIENCE)?);
        let plan = MemoryPlan::new(&options)?;
        let opened = match dir.contents()? {
            Contents::Foreign(foreign) => return Err(StartError::Foreign(foreign)),
            Contents::Segment => {
                let opened = open_segment(&dir, &service)?;
                check_place(options.pool.as_deref(), &opened.pool)?;
                opened.taken_by(plan, &service)?
            }
            Contents::Unfinished => {
                dir.remove_unfinished(lock)?;
                attempt.is_maker = true;
                make_segment(&dir, (&options, plan), &service)?
            }
            Contents::Empty => {
                attempt.is_maker = true;
                make_segment(&dir, (&options, plan), &service)?
            }
        };
        let mut host = Host::with_segment(options, service, dir, lock, opened)?;
        host.lock = attempt.lock.take();
        Ok(host)
    }

    // r[impl crash.restart]
    fn with_segment(
        options: HostOptions,
        mut service: S,
        dir: SegmentDir,
        lock: &SegmentLock,
        opened: Opened,
    ) -> Result<Host<S>, StartError> {
        let Opened { control, segment_id, fresh, taken, .. } = opened;
        let geometry = control.geometry().clone();
        let resources = |what| move |source| StartError::Resources { what, source };
        // All of it is checked before anything is stored.
        let (pool, found) = VarSlotPool::recover(control.clone())?;
        let region = control.service_region();
        let slots_ready = control.slots_ready();
        let ready = tables_ready(&service, &geometry, slots_ready);
        service.start(ServiceStart {
            region,
            geometry: &geometry,
            slots_ready,
            slots_published: pool.counts().published.slots,
            segment_id,
            fresh,
        })?;
        let wake = WakeHandle::new().map_err(resources("an eventfd"))?;
        let control_file = Arc::new(opened.control_file);
        let pool_file = Arc::new(opened.pool.file);
        let files = GrowthFiles {
            pool: pool_file.clone(),
            control: control_file.clone(),
            backing: opened.pool.backing,
            control_backing: opened.control_backing,
            tables: control.reader().clone(),
            helper: options.growth_helper.clone(),
        };
        let (commands_in, commands) = channel();
        let poller = Poller::new().map_err(resources("an epoll"))?;
        if options.allowed.others() {
            dir.allow_other_users()?;
        }
        let mode = match options.allowed.others() {
            true => SocketMode::Everybody,
            false => SocketMode::Private,
        };
        let listener = AttachListener::bind(&dir, lock, mode)?;
        poller.watch(&listener, Ready::Listener).map_err(resources("to watch the socket"))?;
        poller.watch(&wake, Ready::Wake).map_err(resources("to watch an eventfd"))?;
        let clock_base_s = control.coarse_clock_s();
        let mut host = Host {
            core: Core {
                grant_quota_bytes: options.grant_quota_bytes(&geometry),
                growth: Growth::new(files, geometry.clone(), wake.clone()),
                options,
                geometry,
                pool,
                service,
                leases: Vec::new(),
                deferred: Vec::new(),
                settling: Vec::new(),
                walks: Walks::new(),
                parked: Vec::new(),
                clock_s: clock_base_s,
                tick: 0,
                limbo_left: 0,
                limbo_batch: LIMBO_BATCH,
                counters: Counters::default(),
                control: control.clone(),
            },
            peers: Roster::default(),
            greetings: Vec::new(),
            greeting_last: 0,
            unremoved: Vec::new(),
            listener,
            poller,
            sleeper: Sleeper::new(control.host_asleep_word()),
            dir,
            control_file,
            pool_file,
            commands,
            handle: HostHandle { commands: commands_in, wake: wake.clone() },
            wake,
            tick_at: Instant::now(),
            started: Instant::now(),
            clock_base_s,
            tears_seen: sigbus::tears(),
            leaving: false,
            guard_up: false,
            guard_until: None,
            serving: false,
            lock: None,
        };
        let peers = host.find_peers()?;
        let fences_readers = can_fence_readers(&control, &peers)?;
        // What could not be used has been refused by now, and stands as it stood.
        control.set_host_state(HostState::Starting);
        control.set_boot_epoch(control.boot_epoch() + 1);
        control.set_host_pid(std::process::id().into());
        control.set_fences_readers(fences_readers);
        control.set_memory(&taken.options);
        control.set_huge_bytes(taken.huge_bytes);
        crash_point!("host.start.epoch_stored");
        if !fresh {
            host.core.growth.give_back_unpublished(control.pool_bytes(), ready);
        }
        host.take_over(peers, found);
        crash_point!("host.start.taken_over");
        control.set_host_state(HostState::Serving);
        host.serving = true;
        Ok(host)
    }
}

/// What a start has come to, for the case that it fails.
struct Attempt {
    /// The place was there before.
    stood_there: bool,
    lock: Option<SegmentLock>,
    /// The segment is one that this start made, or began to make.
    is_maker: bool,
}

impl Attempt {
    /// Takes away what a start made that came to nothing. What an earlier host made stays.
    // r[impl segment.start_undone]
    // r[impl resources.calls]
    fn undo(self, path: &SegmentPath) {
        if let Err(error) = self.try_undo(path) {
            tracing::warn!(%error, "what a start made that failed was not removed");
        }
    }

    fn try_undo(self, path: &SegmentPath) -> Result<(), DestroyError> {
        if self.lock.is_none() && self.stood_there {
            return Ok(());
        }
        let dir = match SegmentDir::open(path) {
            Err(DirError::NotFound { .. }) => return Ok(()),
            opened => opened?,
        };
        let lock = match self.lock {
            Some(lock) => lock,
            // The directory is one that this start made, but for what others put there since.
            None => SegmentLock::try_lock(&dir)?,
        };
        if !self.is_maker && dir.contents()? != Contents::Empty {
            return Ok(());
        }
        match self.stood_there {
            true => dir.clear(lock),
            false => dir.destroy(lock),
        }
        .map(|_| ())
    }
}

fn refuse_foreign(dir: &SegmentDir) -> Result<(), StartError> {
    match dir.contents()? {
        Contents::Foreign(foreign) => Err(StartError::Foreign(foreign)),
        _ => Ok(()),
    }
}

fn check_options(options: &HostOptions) -> Result<(), StartError> {
    let guests_max = options.guests_max;
    if !(1..=2048).contains(&guests_max) {
        return Err(StartError::GuestsMax { guests_max });
    }
    let entries = options.touch_entries;
    if !is_touch_entries(entries.into()) {
        return Err(StartError::TouchEntries { entries });
    }
    let capacity_bytes = options.ring_capacity_bytes;
    let frame_length_max = (capacity_bytes / 4).saturating_sub(8);
    let inline_bytes_max = options.inline_bytes_max;
    let fits = capacity_bytes.is_power_of_two()
        && (1024..=64 << 20).contains(&capacity_bytes)
        && inline_bytes_max <= frame_length_max;
    if fits {
        return Ok(());
    }
    Err(StartError::Ring { capacity_bytes, inline_bytes_max, frame_length_max })
}

/// Whether this host can have those who read fenced. Guests that live may rely on it.
// r[impl lease.fence]
fn can_fence_readers(control: &ControlWriter, peers: &[FoundPeer]) -> Result<bool, StartError> {
    let is_available = barrier::is_available();
    if !is_available && control.fences_readers() && peers.iter().any(FoundPeer::may_live) {
        return Err(StartError::NoFence);
    }
    Ok(is_available)
}

/// Makes a segment: the pool first, then the control area, whose magic is stored last of all.
// r[impl crash.start]
fn make_segment(
    dir: &SegmentDir,
    (options, mut plan): (&HostOptions, MemoryPlan<'_>),
    service: &dyn Service,
) -> Result<Opened, StartError> {
    let geometry = options.geometry(service)?;
    let layout = ControlLayout::new(&geometry);
    let ready_for = |pool_bytes| tables_ready(service, &geometry, geometry.slots_for(pool_bytes));
    let in_directory = if options.pool.is_none() { options.pool_bytes } else { 0 };
    check_room(
        dir.path().as_path(),
        layout.real_bytes(ready_for(options.pool_bytes)) + in_directory,
    )?;

    let segment_id = random_id()?;
    let mut pool = dir.create_pool(options.pool.as_deref(), segment_id)?;
    pool.backing = plan.apply(&pool.file, pool.backing)?;
    let steps = PoolSteps::new(&geometry, &pool.backing);
    let pool_bytes = steps.at_start(&pool.path, options.pool_bytes)?;
    let ready = ready_for(pool_bytes);
    plan.announce(pool_bytes + layout.real_bytes(ready));
    plan.place(&pool.file, &pool.backing, geometry.pool_bytes_max)?;
    let whole = [Span { from_bytes: 0, to_bytes: pool_bytes }];
    plan.reserve(&pool.file, &pool.backing, &whole)?;
    pool.write_header(segment_id)?;
    crash_point!("host.start.pool_made");

    let control_file = dir.create_file(AreaFile::Control)?;
    let control_backing = Backing::detect(&control_file, &control_path(dir))?;
    let control_backing = plan.apply(&control_file, control_backing)?;
    // The tables have their places from the start; what is not reserved yet is a hole that nobody
    // looks at.
    rustix::fs::ftruncate(&control_file, layout.size_bytes)
        .map_err(|source| StartError::Resources { what: "the size of the control area", source })?;
    plan.place(&control_file, &control_backing, layout.size_bytes)?;
    let spans = real_spans(&layout, ready);
    plan.reserve(&control_file, &control_backing, &spans)?;
    let huge_bytes = check_huge_bytes(&pool.file, &pool.backing, &whole)
        .and_then(|bytes| Ok(bytes + check_huge_bytes(&control_file, &control_backing, &spans)?));
    let huge_bytes = huge_bytes.map_err(MemoryError::from)?;
    let mapping = Mapping::map(&control_file, layout.size_bytes, Access::ReadWrite)?;
    let control = ControlWriter::new(mapping.clone(), geometry.clone())?;
    populate_control(&control, &control_backing, &spans)?;
    plan.done();
    control.set_created_unix_s(unix_s());
    control.set_slots_ready(ready.slots);
    control.set_pool_bytes(pool_bytes);
    crash_point!("host.start.sizes_stored");
    let control = ControlWriter::initialise(mapping, &geometry, segment_id)?;
    let taken = Taken { options: plan.options, huge_bytes };
    Ok(Opened { control_file, control_backing, pool, control, segment_id, fresh: true, taken })
}

/// What is real of the control area.
fn real_spans(layout: &ControlLayout, ready: TablesReady) -> [Span; 4] {
    let [region, hot, cold] = growing_spans(layout, (TablesReady::NOTHING, ready));
    [Span { from_bytes: 0, to_bytes: layout.fixed_bytes() }, region, hot, cold]
}

/// Opens the segment of a host that is gone.
// r[impl host.holes]
// r[impl host.region]
fn open_segment(dir: &SegmentDir, service: &dyn Service) -> Result<Opened, StartError> {
    let control_file = dir.open_file(AreaFile::Control, Access::ReadWrite)?;
    let path = control_path(dir);
    check_size(&control_file, &path, ControlLayout::HEADER_BYTES)?;
    let header = Mapping::map(&control_file, ControlLayout::HEADER_BYTES, Access::ReadOnly)?;
    let (geometry, segment_id) = read_geometry(&header)?;
    let (found, expected) = (geometry.service_id, service.id());
    if found != expected {
        return Err(StartError::WrongService { found, expected });
    }
    let (found_bytes, expected_bytes) = (geometry.service_bytes, service.region_bytes(&geometry));
    if found_bytes != expected_bytes {
        return Err(StartError::WrongRegion { found_bytes, expected_bytes });
    }
    let layout = ControlLayout::new(&geometry);
    check_size(&control_file, &path, layout.size_bytes)?;
    let control_backing = Backing::detect(&control_file, &path)?;
    let mapping = Mapping::map(&control_file, layout.size_bytes, Access::ReadWrite)?;
    let control = ControlWriter::new(mapping, geometry)?;
    let ready = tables_ready(service, control.geometry(), control.slots_ready());
    let expected_bytes = layout.real_bytes(ready);
    if let Some(real_bytes) = control_backing.real_bytes(&control_file)?
        && real_bytes < expected_bytes
    {
        return Err(StartError::Holes { file: path, real_bytes, expected_bytes });
    }
    let pool = dir.open_pool(segment_id)?;
    check_size(&pool.file, &pool.path, control.pool_bytes())?;
    let taken = Taken::default();
    Ok(Opened { control_file, control_backing, pool, control, segment_id, fresh: false, taken })
}

impl Opened {
    /// What is there keeps its pages: it is populated if that is asked for, and what comes later is taken
    /// as this life wants it.
    // r[impl pool-memory.restart]
    fn taken_by(
        mut self,
        mut plan: MemoryPlan<'_>,
        service: &dyn Service,
    ) -> Result<Opened, StartError> {
        let Opened { pool, control_file, control_backing, control, .. } = &mut self;
        let layout = *control.layout();
        let pool_bytes = control.pool_bytes();
        let ready = tables_ready(service, control.geometry(), control.slots_ready());
        let size_bytes_max = control.geometry().pool_bytes_max;
        pool.backing = plan.apply(&pool.file, pool.backing.clone())?;
        let control_backing = plan.apply(&control_file, control_backing.clone())?;
        plan.announce(pool_bytes + layout.real_bytes(ready));
        plan.place_anew(&pool.file, &pool.backing, size_bytes_max)?;
        plan.place_anew(&control_file, &control_backing, layout.size_bytes)?;
        let (whole, spans) =
            ([Span { from_bytes: 0, to_bytes: pool_bytes }], real_spans(&layout, ready));
        plan.populate_anew(&pool.file, &pool.backing, &whole)?;
        plan.populate_anew(&control_file, &control_backing, &spans)?;
        populate_control(control, &control_backing, &spans)?;
        let huge_bytes = plan.look_at_huge(&pool.file, &pool.backing, &whole)?
            + plan.look_at_huge(&control_file, &control_backing, &spans)?;
        plan.done();
        let taken = Taken { options: plan.options, huge_bytes };
        Ok(Opened { control_backing, taken, ..self })
    }
}

/// A pool that is named must be the one that the segment has: to serve another one silently is no
/// service to whoever named it.
// r[impl segment.pool-named]
fn check_place(named: Option<&Path>, pool: &PoolFile) -> Result<(), StartError> {
    let Some(named) = named else { return Ok(()) };
    let found = rustix::fs::fstat(&pool.file)
        .map_err(|source| StartError::Resources { what: "to look at a file", source })?;
    let is_it = rustix::fs::stat(named)
        .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino));
    if is_it {
        return Ok(());
    }
    let (found, named) = (pool.path.clone(), named.to_owned());
    Err(StartError::PoolElsewhere { found, named })
}

fn control_path(dir: &SegmentDir) -> PathBuf {
    dir.path().as_path().join(AreaFile::Control.to_string())
}

/// A file that is shorter than what is published was cut by somebody: to touch it is SIGBUS.
// r[impl host.torn_files]
fn check_size(file: impl AsFd, path: &Path, expected_bytes: u64) -> Result<(), StartError> {
    let stat = rustix::fs::fstat(file)
        .map_err(|source| StartError::Resources { what: "to look at a file", source })?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let found_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    if !is_file || found_bytes >= expected_bytes {
        return Ok(());
    }
    Err(StartError::TooSmall { file: path.to_owned(), found_bytes, expected_bytes })
}

fn random_id() -> Result<u128, StartError> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(|source| StartError::Resources { what: "random bytes", source })?;
    Ok(u128::from_le_bytes(id))
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
