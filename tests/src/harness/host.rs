//! A segment of the test's own and a host in a thread of the test.

use super::{PATIENCE, soon, wait_for};
use onecopy::cache::{Cache, CacheOptions, LookupPath};
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::host::{Host, HostEvent, HostHandle, HostOptions, ServeError};
use onecopy_transport::service::Service;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A place for a segment, removed at the end of the test, also when it fails.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// `None`: the place goes with whoever made it.
    _dir: Option<TempDir>,
}

impl Segment {
    /// A new place; there is no segment yet.
    pub fn new() -> Segment {
        let shared = Path::new("/dev/shm");
        let name = tempfile::Builder::new().prefix("onecopy-test-").to_owned();
        let dir = if shared.is_dir() { name.tempdir_in(shared) } else { name.tempdir() };
        let dir = dir.unwrap();
        Segment { path: dir.path().join("segment"), _dir: Some(dir) }
    }

    /// A place in a directory that the caller removes.
    pub fn at(directory: &Path) -> Segment {
        Segment { path: directory.join("segment"), _dir: None }
    }

    /// Where the segment is, or is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Files of attaches in `rings` or `leases`, sorted by serial.
    pub fn files(&self, area: &str) -> Vec<u32> {
        let Ok(found) = std::fs::read_dir(self.path.join(area)) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().to_string_lossy().parse().unwrap()
        };
        let mut serials: Vec<u32> = found.map(name).collect();
        serials.sort_unstable();
        serials
    }
}

impl Default for Segment {
    fn default() -> Segment {
        Segment::new()
    }
}

/// Options of a host that is small and quick to suspect nobody.
pub fn small_host(segment: &Path) -> HostOptions {
    HostOptions {
        pool_bytes: 8 << 20,
        pool_bytes_max: 8 << 20,
        slot_bytes_max: Some(256 << 10),
        guests_max: 8,
        heartbeat_interval: Duration::from_millis(20),
        // Ten minutes: tests that want suspicion say so.
        suspect_after_intervals: 30_000,
        // Tests that want a grace period say so.
        restart_grace: Duration::ZERO,
        leases_max: 1024,
        ..HostOptions::new(segment)
    }
}

/// How a life of a host ended.
pub type HostLife = Result<(), ServeError>;

/// A host that serves in a thread of its own, with all that it tells.
pub struct TestHost {
    handle: HostHandle,
    thread: Option<JoinHandle<HostLife>>,
    events: Receiver<HostEvent>,
    seen: Vec<HostEvent>,
    path: PathBuf,
    epoch: u64,
}

impl TestHost {
    /// A small host of a cache.
    pub fn start(segment: &Segment) -> TestHost {
        TestHost::with(segment, |_| {})
    }

    /// A host of a cache with options of the test's own.
    pub fn with(segment: &Segment, choose: impl FnOnce(&mut HostOptions)) -> TestHost {
        TestHost::serving(segment, choose, CacheService::new(CacheServiceOptions::default()))
    }

    /// A host of any service.
    pub fn serving(
        segment: &Segment,
        choose: impl FnOnce(&mut HostOptions),
        service: impl Service + 'static,
    ) -> TestHost {
        let (tell, events) = channel();
        let mut options = small_host(segment.path());
        choose(&mut options);
        options.events = Some(tell);
        let (ready, started): (Sender<(HostHandle, u64)>, _) = channel();
        let thread = std::thread::spawn(move || {
            let host = Host::start(options, service).unwrap();
            ready.send((host.handle(), host.boot_epoch())).unwrap();
            host.serve()
        });
        let (handle, epoch) = started.recv_timeout(PATIENCE).unwrap();
        let path = segment.path().to_owned();
        TestHost { handle, thread: Some(thread), events, seen: Vec::new(), path, epoch }
    }

    /// Which life of the segment's host this is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The host's handle.
    pub fn handle(&self) -> &HostHandle {
        &self.handle
    }

    /// Options of a guest of this host.
    pub fn guest_options(&self, role: Role) -> GuestOptions {
        GuestOptions { role, attach_deadline: PATIENCE, ..GuestOptions::at(&self.path) }
    }

    /// A guest in this process.
    pub fn guest(&self, role: Role) -> Guest {
        Guest::attach(self.guest_options(role)).unwrap()
    }

    /// A cache in this process.
    pub fn cache(&self, role: Role) -> Cache {
        let options = CacheOptions::new(self.guest_options(role));
        let lookup = LookupPath::Ring;
        Cache::attach(CacheOptions { deadline: PATIENCE, lookup, ..options }).unwrap()
    }

    /// Fails unless the host finds everything in order.
    pub fn assert_clean(&self) {
        let report = self.handle.audit(soon()).unwrap();
        assert!(report.is_clean(), "{report}");
    }

    /// One figure of the host.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.handle.stats(soon()).unwrap();
        stats.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
    }

    /// Waits until a figure of the host has this value.
    pub fn wait_stat(&self, name: &str, value: u64) {
        wait_for(&format!("{name} = {value}"), || self.stat(name) == value);
    }

    /// Waits until the host's clock has ticked so often.
    pub fn wait_ticks(&self, ticks: u64) {
        let (first, last) = (self.stat("ticks"), |host: &TestHost| host.stat("ticks"));
        wait_for(&format!("{ticks} ticks"), || last(self) >= first + ticks);
    }

    /// The events so far.
    pub fn events(&mut self) -> &[HostEvent] {
        self.seen.extend(self.events.try_iter());
        &self.seen
    }

    /// Waits for an event, from now or before, and takes it out of those kept.
    pub fn wait_event<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&HostEvent) -> Option<T>,
    ) -> T {
        let deadline = soon();
        loop {
            self.seen.extend(self.events.try_iter());
            let found = self.seen.iter().enumerate().find_map(|(at, event)| {
                let found = wanted(event)?;
                Some((at, found))
            });
            if let Some((at, found)) = found {
                self.seen.remove(at);
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.seen.push(event),
                Err(error) => panic!("no event that says {what}: {error}; seen: {:?}", self.seen),
            }
        }
    }

    /// Waits until this guest was recovered; says whether it had said goodbye, and how many slots
    /// it held.
    pub fn wait_recovered(&mut self, wanted: u32) -> (bool, u64) {
        self.wait_event(&format!("{wanted} recovered"), |event| match *event {
            HostEvent::Recovered { serial, goodbye, slots, .. } if serial == wanted => {
                Some((goodbye, slots))
            }
            _ => None,
        })
    }

    /// Says goodbye and waits for the end of the loop.
    pub fn leave(mut self) -> HostLife {
        self.handle.leave().unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        let _ = self.handle.leave();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
