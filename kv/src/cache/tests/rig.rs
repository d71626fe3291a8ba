//! A host in a thread of its own, on a private segment, and guests of it in this process.

use crate::cache::{Cache, CacheOptions};
use crate::key::Key;
use crate::service::{CacheService, CacheServiceOptions};
use onecopy_transport::audit::AuditReport;
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::host::{Host, HostHandle, HostOptions};
use onecopy_transport::service::Service;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct TestHost {
    handle: HostHandle,
    thread: Option<JoinHandle<()>>,
    segment: PathBuf,
    /// `None`: the segment is somebody else's.
    _dir: Option<TempDir>,
}

pub const SLOT_BYTES_MAX: u64 = 256 << 10;

pub fn host_options(segment: &Path) -> HostOptions {
    HostOptions {
        pool_bytes: 4 << 20,
        pool_bytes_max: 16 << 20,
        slot_bytes_max: Some(SLOT_BYTES_MAX),
        guests_max: 8,
        ..HostOptions::new(segment)
    }
}

impl TestHost {
    pub fn start() -> TestHost {
        TestHost::with(CacheServiceOptions::default())
    }

    pub fn with(options: CacheServiceOptions) -> TestHost {
        TestHost::serving(CacheService::new(options))
    }

    pub fn serving(service: impl Service + 'static) -> TestHost {
        TestHost::serving_with(service, |_| {})
    }

    /// A host with other options than [`host_options`].
    pub fn serving_with(
        service: impl Service + 'static,
        change: impl FnOnce(&mut HostOptions),
    ) -> TestHost {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let mut options = host_options(&dir.path().join("segment"));
        change(&mut options);
        let mut host = TestHost::run(options, service);
        host._dir = Some(dir);
        host
    }

    /// A host on this segment, which stays when it ends.
    pub fn at(segment: &Path, service: impl Service + 'static) -> TestHost {
        TestHost::run(host_options(segment), service)
    }

    fn run(options: HostOptions, service: impl Service + 'static) -> TestHost {
        let segment = options.segment.clone();
        let (sender, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let host = Host::start(options, service).unwrap();
            sender.send(host.handle()).unwrap();
            host.serve().unwrap();
        });
        let handle = started.recv().unwrap();
        TestHost { handle, thread: Some(thread), segment, _dir: None }
    }

    pub fn segment(&self) -> &Path {
        &self.segment
    }

    pub fn attach(&self) -> Cache {
        self.attach_as(Role::Writer)
    }

    pub fn attach_as(&self, role: Role) -> Cache {
        let guest = GuestOptions { role, ..GuestOptions::at(&self.segment) };
        Cache::attach(CacheOptions::new(guest)).unwrap()
    }

    pub fn audit(&self) -> AuditReport {
        self.handle.audit(soon()).unwrap()
    }

    pub fn assert_clean(&self) {
        let report = self.audit();
        assert!(report.is_clean(), "{report}");
    }

    /// Leaves the segment to a next host, in its place.
    pub fn next(&mut self, service: impl Service + 'static) {
        self.leave();
        let next = TestHost::at(&self.segment, service);
        let dir = self._dir.take();
        *self = next;
        self._dir = dir;
    }

    /// Says goodbye; the segment stays.
    pub fn leave(&mut self) {
        let _ = self.handle.leave();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
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

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub fn key(number: u64) -> Key {
    Key::from_text(&number.to_string())
}

/// Bytes that tell which block they are of.
pub fn payload(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (number.wrapping_mul(31) ^ index) as u8).collect()
}

/// Waits until something is so, at most until [`soon`].
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
