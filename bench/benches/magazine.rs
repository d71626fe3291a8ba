//! What it costs to reserve a slot that is in stock, and to give it back: no request, no system call.
//! The host is a thread of this process, asleep but for refills.
#![expect(clippy::unwrap_used, reason = "a benchmark without its host cannot run")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::Criterion;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::host::{Host, HostHandle, HostOptions};

/// Sizes asked for, in bytes.
const SIZES: [u64; 2] = [4096, 64 << 10];

struct BenchHost {
    handle: HostHandle,
    thread: Option<JoinHandle<()>>,
    segment: PathBuf,
    _dir: tempfile::TempDir,
}

impl BenchHost {
    fn start() -> BenchHost {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let segment = dir.path().join("segment");
        let mut options = HostOptions::new(&segment);
        (options.pool_bytes, options.pool_bytes_max) = (16 << 20, 64 << 20);
        let service = CacheService::new(CacheServiceOptions::default());
        let host = Host::start(options, service).unwrap();
        let handle = host.handle();
        let thread = Some(std::thread::spawn(move || host.serve().unwrap()));
        BenchHost { handle, thread, segment, _dir: dir }
    }
}

impl Drop for BenchHost {
    fn drop(&mut self) {
        let _ = self.handle.leave();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let host = BenchHost::start();
    let guest = Guest::attach(GuestOptions::at(&host.segment)).unwrap();
    let mut group = criterion.benchmark_group("magazine/reserve_and_give_back");
    for size_bytes in SIZES {
        // Stock before the clock runs; what is dropped goes back to it.
        drop(guest.reserve_many(size_bytes, 2, soon()).unwrap());
        let deadline = Instant::now() + Duration::from_secs(3600);
        group.bench_function(size_bytes.to_string(), |bencher| {
            bencher.iter(|| drop(black_box(guest.reserve(size_bytes, deadline).unwrap())));
        });
    }
    group.finish();
    criterion.final_summary();
    guest.detach(soon()).unwrap();
}
