//! Memory that is populated ahead, in huge pages, on certain memory nodes.

use crate::full::{fill, on_mount, on_small_tmpfs};
use onecopy::cache::Cache;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_shm::sys_numa::{NumaMode, set_thread_nodes};
use onecopy_tests::harness::{
    Segment, TestHost, is_payload, key, payload, resident_bytes, small_host, soon, wait_for,
};
use onecopy_transport::format::Role;
use onecopy_transport::guest::Guest;
use onecopy_transport::host::{Host, HostEvent, HostOptions, MemoryError, StartError};
use onecopy_transport::inspect::{Inspection, inspect};
use onecopy_transport::memory::{HugePages, MemoryOptions};
use onecopy_transport::segment::{GrowError, NoHugePages, NumaError, SegmentPath};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const MIB: u64 = 1 << 20;
const PREFAULT: MemoryOptions =
    MemoryOptions { prefault: true, huge_pages: HugePages::Off, numa: None };

fn inspected(segment: &Segment) -> Inspection {
    let path = SegmentPath::new(segment.path()).unwrap();
    inspect(&path, CacheService::new(CacheServiceOptions::default())).unwrap()
}

fn refused(segment: &Segment, choose: impl FnOnce(&mut HostOptions)) -> StartError {
    let mut options = small_host(segment.path());
    choose(&mut options);
    let started = Host::start(options, CacheService::new(CacheServiceOptions::default()));
    let refused = started.map(|_| ()).unwrap_err();
    assert!(!segment.path().exists(), "nothing is left: {refused}");
    refused
}

/// Page faults of this thread until now that found their page in memory.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Behind the name, which may hold anything.
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// What smaps says under a name, in bytes, of this process's mappings of a file.
fn smaps_bytes(file: &Path, name: &str) -> Vec<u64> {
    let (mut found, mut is_of_file) = (Vec::new(), false);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        let (first, rest) = line.split_once(' ').unwrap();
        if !first.ends_with(':') {
            is_of_file = rest.ends_with(file.to_str().unwrap());
        } else if is_of_file && first.strip_suffix(':') == Some(name) {
            let kib = rest.trim().strip_suffix("kB").unwrap();
            found.push(kib.trim().parse::<u64>().unwrap() << 10);
        }
    }
    found
}

fn store(cache: &Cache, number: u64, size: usize) {
    let mut fill = cache.reserve(size as u64).unwrap();
    fill[..size].copy_from_slice(&payload(number, size));
    fill.publish(&key(number), size as u64, Default::default()).unwrap();
}

// r[verify pool-memory.prefault]
// r[verify pool-memory.growth]
// r[verify pool-memory.progress]
// r[verify pool-memory.recorded]
#[test]
fn a_host_that_populates_has_all_pages_before_anybody_touches_them() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| {
        options.memory = PREFAULT;
        options.pool_bytes_max = 64 * MIB;
        options.grant_bytes_max = Some(64 * MIB);
    });
    let reached: Vec<(u64, u64)> = host
        .events()
        .iter()
        .filter_map(|event| match *event {
            HostEvent::Reserved { reached_bytes, total_bytes } => {
                Some((reached_bytes, total_bytes))
            }
            _ => None,
        })
        .collect();
    let (last, total) = *reached.last().unwrap();
    assert!(last == total && total > 8 * MIB, "{reached:?}");
    assert_eq!(reached[0], (8 * MIB, total), "the pool is one step, and not all");
    let pool = segment.path().join("pool");
    assert_eq!(resident_bytes(&pool, (0, 8 * MIB)), 8 * MIB);
    // The host is in this process: its mapping is the only one yet.
    let mapped = smaps_bytes(&segment.path().join("control"), "Rss");
    let control = std::fs::metadata(segment.path().join("control")).unwrap();
    let real_bytes = std::os::unix::fs::MetadataExt::blocks(&control) * 512;
    assert_eq!(mapped, [real_bytes]);
    let guest = host.guest(Role::Writer);
    let rings = smaps_bytes(&segment.path().join("rings/1"), "Rss");
    let rings_bytes = std::fs::metadata(segment.path().join("rings/1")).unwrap().len();
    assert!(rings.contains(&rings_bytes), "{rings:?} of {rings_bytes}");
    let held: Vec<_> = (0..100).map(|_| guest.reserve(256 << 10, soon()).unwrap()).collect();
    let pool_bytes = host.stat("pool_bytes");
    assert!(pool_bytes > held.len() as u64 * MIB / 4);
    assert_eq!(resident_bytes(&pool, (0, pool_bytes)), pool_bytes, "what it grew by, too");
    let found = inspected(&segment);
    assert_eq!((found.memory, found.huge_bytes), (PREFAULT, 0));
    host.assert_clean();
    drop(held);
    // Without being asked it only reserves.
    let other = Segment::new();
    let _plain = TestHost::start(&other);
    assert!(resident_bytes(&other.path().join("pool"), (0, 8 * MIB)) < MIB);
}

// r[verify pool-memory.progress]
#[test]
fn a_start_that_is_given_up_between_two_steps_leaves_nothing() {
    let segment = Segment::new();
    let refusal = refused(&segment, |options| {
        (options.pool_bytes, options.pool_bytes_max) = (80 * MIB, 80 * MIB);
        options.memory = PREFAULT;
        options.start_given_up = Some(Arc::new(AtomicBool::new(true)));
    });
    match refusal {
        StartError::Grow(GrowError::GivenUp { reached_bytes, to_bytes, .. }) => {
            assert_eq!((reached_bytes, to_bytes), (64 * MIB, 80 * MIB));
        }
        other => panic!("{other}"),
    }
    // What was there before stays.
    drop(TestHost::start(&segment));
    let mut options = small_host(segment.path());
    options.memory = PREFAULT;
    options.start_given_up = Some(Arc::new(AtomicBool::new(true)));
    // 8 MiB are one step, and what is done is not given up any more.
    let host = Host::start(options, CacheService::new(CacheServiceOptions::default())).unwrap();
    assert_eq!(host.boot_epoch(), 2);
}

/// Faults of a fill of one slot that nobody has touched before.
fn faults_of_a_fill(guest: &Guest) -> u64 {
    let mut reservation = guest.reserve(MIB, soon()).unwrap();
    let before = faults();
    for page in reservation.chunks_mut(4096) {
        page[0] = 1;
    }
    faults() - before
}

// r[verify pool-memory.magazines]
#[test]
fn a_fill_of_a_granted_slot_stops_at_no_page() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_shm = mounts.lines().filter(|line| line.contains(" /dev/shm "));
    if of_shm.into_iter().any(|line| line.contains("huge=always") || line.contains("within_size")) {
        return println!("skipped: /dev/shm has huge pages for everybody, which stop nobody");
    }
    for (memory, populate, stops) in [
        (PREFAULT, None, false),
        (PREFAULT, Some(false), true),
        (MemoryOptions::default(), Some(true), false),
        (MemoryOptions::default(), None, true),
    ] {
        let segment = Segment::new();
        let host = TestHost::with(&segment, |options| {
            options.memory = memory;
            options.slot_bytes_max = Some(MIB);
            (options.pool_bytes, options.pool_bytes_max) = (32 * MIB, 32 * MIB);
        });
        let mut options = host.guest_options(Role::Writer);
        options.populate = populate;
        let guest = Guest::attach(options).unwrap();
        let found = faults_of_a_fill(&guest);
        assert_eq!(found > 128, stops, "{memory:?}, {populate:?}: {found} faults");
        assert!(stops || found < 8, "{found} faults");
        host.assert_clean();
    }
}

/// Whether memory can be placed here, with a line that says so if not. What containers often forbid is
/// forbidden for threads as it is for files.
fn may_place() -> bool {
    let told = std::thread::spawn(|| set_thread_nodes(Some((NumaMode::Bind, 1)))).join().unwrap();
    if let Err(error) = told {
        println!("skipped: memory cannot be placed on nodes here: {error}");
    }
    told.is_ok()
}

// r[verify pool-memory.restart]
// r[verify pool-memory.recorded]
// r[verify pool-memory.numa]
#[test]
fn each_life_takes_memory_in_its_own_way_and_changes_no_byte() {
    if !may_place() {
        return;
    }
    let segment = Segment::new();
    let pool = segment.path().join("pool");
    let policy = |host: &TestHost| {
        // A mapping has no policy of its own: what it shows is the file's.
        let _guest = host.guest(Role::Writer);
        let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
        let line = maps.lines().find(|line| line.contains(pool.to_str().unwrap()));
        line.unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let host = TestHost::start(&segment);
    let cache = host.cache(Role::Writer);
    store(&cache, 1, 200_000);
    drop(cache);
    assert_eq!(policy(&host), "default");
    drop(host);
    let numa = "interleave:0".parse().ok();
    let memory = MemoryOptions { numa, ..PREFAULT };
    let host = TestHost::with(&segment, |options| options.memory = memory);
    assert_eq!(inspected(&segment).memory, memory);
    assert_eq!(resident_bytes(&pool, (0, 8 * MIB)), 8 * MIB);
    assert_eq!(policy(&host), "interleave:0");
    let cache = host.cache(Role::Writer);
    assert!(is_payload(1, &cache.lookup(&key(1)).unwrap().unwrap()));
    drop(cache);
    drop(host);
    let host = TestHost::start(&segment);
    assert_eq!(inspected(&segment).memory, MemoryOptions::default());
    assert_eq!(policy(&host), "default");
    let cache = host.cache(Role::Writer);
    assert!(is_payload(1, &cache.lookup(&key(1)).unwrap().unwrap()));
    host.assert_clean();
}

// r[verify pool-memory.numa]
// r[verify pool-memory.numa-refused]
#[test]
fn memory_nodes_are_those_that_there_are() {
    if !may_place() {
        return;
    }
    let segment = Segment::new();
    let refusal = refused(&segment, |options| options.memory.numa = "bind:0,63".parse().ok());
    match refusal {
        StartError::Memory(MemoryError::Numa(NumaError::NoSuchNode { missing, there })) => {
            assert!(missing.to_string().ends_with("63"), "{missing}");
            assert!(there.to_string().starts_with('0'), "{there}");
        }
        other => panic!("{other}"),
    }
    let host = TestHost::with(&segment, |options| options.memory.numa = "bind:all".parse().ok());
    let _cache = host.cache(Role::Writer);
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
    for file in ["pool", "control"] {
        let path = segment.path().join(file);
        let lines: Vec<&str> =
            maps.lines().filter(|line| line.contains(path.to_str().unwrap())).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.contains(" bind:0")),
            "{lines:?}"
        );
    }
    let there = inspected(&segment).memory.numa.unwrap().nodes;
    assert!(!there.is_empty() && there.bits() != u64::MAX, "{there}");
    host.assert_clean();
}

// r[verify pool-memory.prefault-refused]
// r[verify pool-memory.huge-refused]
// r[verify pool-memory.numa-refused]
#[test]
fn what_does_not_apply_to_a_disk_is_refused() {
    let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let segment = Segment::new();
    let with = |memory: MemoryOptions| {
        refused(&segment, |options| {
            options.pool = Some(place.path().join("pool"));
            options.memory = memory;
        })
    };
    let populated = with(PREFAULT);
    if matches!(populated, StartError::Room(_)) {
        return println!("skipped: the sources are not on a disk");
    }
    assert!(
        matches!(populated, StartError::Memory(MemoryError::NotPopulated { .. })),
        "{populated}"
    );
    let huge_pages = HugePages::Require;
    let huge = with(MemoryOptions { huge_pages, ..MemoryOptions::default() });
    let is_kind = |error: &StartError| {
        matches!(error, StartError::Memory(MemoryError::Huge(NoHugePages::Kind { .. })))
    };
    assert!(is_kind(&huge), "{huge}");
    let numa = "interleave:all".parse().ok();
    let placed = with(MemoryOptions { numa, ..MemoryOptions::default() });
    let is_kind = |error: &StartError| {
        matches!(error, StartError::Memory(MemoryError::Numa(NumaError::Kind { .. })))
    };
    assert!(is_kind(&placed), "{placed}");
}

// r[verify pool-memory.huge-refused]
#[test]
fn a_tmpfs_without_huge_pages_is_named_and_can_be_served_all_the_same() {
    let test = "pool_memory::a_tmpfs_without_huge_pages_is_named_and_can_be_served_all_the_same";
    let Some(place) = on_small_tmpfs(test, 32) else { return };
    let segment = Segment::at(&place);
    let refusal = refused(&segment, |options| options.memory.huge_pages = HugePages::Require);
    match &refusal {
        StartError::Memory(MemoryError::Huge(NoHugePages::Mount {
            mount_point, found, ..
        })) => {
            assert_eq!((mount_point, &**found), (&place, "never"));
        }
        other => panic!("{other}"),
    }
    assert!(refusal.to_string().contains("remount,huge=advise"), "{refusal}");
    let host = TestHost::with(&segment, |options| options.memory.huge_pages = HugePages::Try);
    let found = inspected(&segment);
    assert_eq!((found.memory.huge_pages, found.huge_bytes), (HugePages::Try, 0));
    store(&host.cache(Role::Writer), 1, 5000);
    host.assert_clean();
}

/// Whether the system has that many bytes in huge pages to give at this moment: that is luck.
fn came_small(error: &StartError) -> bool {
    let small = matches!(error, StartError::Memory(MemoryError::Huge(NoHugePages::Small { .. })));
    if small {
        println!("skipped: {error}");
    }
    small
}

// r[verify pool-memory.huge]
// r[verify pool-memory.growth]
// r[verify pool-memory.recorded]
#[test]
fn pool_and_tables_come_in_huge_pages_and_guests_map_them_so() {
    let test = "pool_memory::pool_and_tables_come_in_huge_pages_and_guests_map_them_so";
    let Some(place) = on_mount(test, "-t tmpfs -o size=256m,huge=advise tmpfs") else { return };
    let segment = Segment::at(&place);
    let choose = |options: &mut HostOptions| {
        options.memory.huge_pages = HugePages::Require;
        (options.pool_bytes, options.pool_bytes_max) = (16 * MIB, 96 * MIB);
        options.grant_bytes_max = Some(96 * MIB);
        // Small slots: a slot table of several huge pages.
        options.granule_bytes = 256;
    };
    let mut options = small_host(segment.path());
    choose(&mut options);
    let service = || CacheService::new(CacheServiceOptions::default());
    match Host::start(options, service()) {
        Err(error) if came_small(&error) => return,
        started => drop(started.unwrap()),
    }
    let host = TestHost::with(&segment, choose);
    let found = inspected(&segment);
    assert!(found.huge_bytes >= 16 * MIB + 4 * MIB, "{}", found.huge_bytes);
    let cache = host.cache(Role::Writer);
    store(&cache, 1, 200_000);
    let held: Vec<_> = (0..100).map(|_| cache.reserve(256 << 10).unwrap()).collect();
    let pool_bytes = host.stat("pool_bytes");
    assert!(pool_bytes > held.len() as u64 * MIB / 4);
    wait_for("what it grew by", || inspected(&segment).huge_bytes >= pool_bytes);
    assert!(is_payload(1, &cache.lookup(&key(1)).unwrap().unwrap()));
    // The guest has given no advice: its mappings lie right, and that suffices.
    let mapped = smaps_bytes(&segment.path().join("pool"), "ShmemPmdMapped");
    assert!(!mapped.is_empty() && mapped.iter().all(|&bytes| bytes >= 2 * MIB), "{mapped:?}");
    let mapped = smaps_bytes(&segment.path().join("control"), "ShmemPmdMapped");
    assert!(!mapped.is_empty() && mapped.iter().any(|&bytes| bytes >= 2 * MIB), "{mapped:?}");
    drop(held);
    host.assert_clean();
}

// r[verify pool-memory.prefault]
// r[verify resources.full]
#[test]
fn a_tmpfs_that_is_too_full_to_populate_refuses_with_its_numbers() {
    let test = "pool_memory::a_tmpfs_that_is_too_full_to_populate_refuses_with_its_numbers";
    let Some(place) = on_small_tmpfs(test, 32) else { return };
    let segment = Segment::at(&place);
    for huge_pages in [HugePages::Off, HugePages::Try] {
        let memory = MemoryOptions { huge_pages, ..PREFAULT };
        for left in [8 * MIB + (16 << 10), 4 * MIB] {
            let filler = fill(&place, left);
            let refusal = refused(&segment, |options| options.memory = memory);
            let said = refusal.to_string();
            assert!(said.contains(place.to_str().unwrap()) && said.contains("--size"), "{said}");
            assert!(
                matches!(refusal, StartError::Grow(GrowError::NoRoom { .. }) | StartError::Room(_)),
                "{refusal:?}"
            );
            std::fs::remove_file(filler).unwrap();
        }
    }
    let host = TestHost::with(&segment, |options| options.memory = PREFAULT);
    store(&host.cache(Role::Writer), 1, 5000);
    host.assert_clean();
}

// r[verify pool-memory.hugetlbfs]
#[test]
fn a_pool_on_hugetlbfs_grows_by_whole_huge_pages_and_outlives_its_host() {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u64 = free.map_or(0, |text| text.trim().parse().unwrap());
    if free < 24 {
        return println!("skipped: {free} huge pages of 2 MiB are free, 24 are needed");
    }
    let test = "pool_memory::a_pool_on_hugetlbfs_grows_by_whole_huge_pages_and_outlives_its_host";
    let Some(place) = on_mount(test, "-t hugetlbfs -o pagesize=2M,size=40M none") else { return };
    let segment = Segment::new();
    let choose = |options: &mut HostOptions| {
        options.pool = Some(place.join("pool"));
        // No size here is one of whole huge pages.
        (options.pool_bytes, options.pool_bytes_max) = (5 * MIB, 41 * MIB + (512 << 10));
        options.grant_bytes_max = Some(96 * MIB);
        options.memory = MemoryOptions { numa: "bind:0".parse().ok(), ..PREFAULT };
    };
    let small = refused(&segment, |options| {
        choose(options);
        (options.pool_bytes, options.pool_bytes_max) = (MIB, MIB);
        options.slot_bytes_max = Some(64 << 10);
    });
    let is_small = matches!(small, StartError::Memory(MemoryError::TooSmall { .. }));
    assert!(is_small, "{small}");
    let host = TestHost::with(&segment, choose);
    assert_eq!(host.stat("pool_bytes"), 6 * MIB);
    let cache = host.cache(Role::Writer);
    store(&cache, 1, 200_000);
    let held: Vec<_> = (0..80).map(|_| cache.reserve(256 << 10).unwrap()).collect();
    let pool_bytes = host.stat("pool_bytes");
    assert!(pool_bytes > 20 * MIB && pool_bytes.is_multiple_of(2 * MIB), "{pool_bytes}");
    // The mount has 40 MiB: the last step does not get all that it wants.
    let more: Vec<_> = std::iter::from_fn(|| cache.reserve(256 << 10).ok()).take(200).collect();
    assert!(held.len() + more.len() < 180, "{}", more.len());
    assert!(host.stat("pool_bytes") <= 40 * MIB);
    drop((held, more));
    drop(cache);
    host.assert_clean();
    drop(host);
    let host = TestHost::with(&segment, choose);
    let cache = host.cache(Role::Writer);
    assert!(is_payload(1, &cache.lookup(&key(1)).unwrap().unwrap()));
    host.assert_clean();
}
