use super::*;
use crate::memory::MemoryOptions;
use crate::segment::NumaError;
use crate::segment::tests::{Scratch, assert_success, can_unshare, child_task, run_alone};
use crate::segment::{AreaFile, BackingKind, FakeBacking};
use rustix::process::{Resource, Rlimit};
use std::os::fd::OwnedFd;
use std::path::Path;

fn blocks_bytes(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_blocks as u64 * 512
}

fn size_bytes(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).unwrap().st_size as u64
}

fn pool(scratch: &Scratch) -> (OwnedFd, Backing) {
    let (directory, _lock) = scratch.locked();
    let file = directory.create_file(AreaFile::Pool).unwrap();
    let backing = Backing::detect(&file, &scratch.file("pool")).unwrap();
    (file, backing)
}

// r[verify segment.reserve]
#[test]
fn reserved_bytes_have_blocks_and_what_was_written_stays() {
    for scratch in [Scratch::on_tmpfs(), Scratch::new()] {
        let (file, backing) = pool(&scratch);
        backing.reserve(&file, 0, 1 << 20).unwrap();
        assert_eq!(size_bytes(&file), 1 << 20);
        assert!(blocks_bytes(&file) >= 1 << 20);
        rustix::io::pwrite(&file, b"written", 4096).unwrap();
        backing.reserve(&file, 1 << 20, 3 << 20).unwrap();
        backing.reserve(&file, 0, 3 << 20).unwrap();
        backing.reserve(&file, 0, 1 << 20).unwrap();
        assert_eq!(size_bytes(&file), 3 << 20, "never truncated");
        assert!(blocks_bytes(&file) >= 3 << 20);
        let mut bytes = [0; 9];
        rustix::io::pread(&file, &mut bytes, 4095).unwrap();
        assert_eq!(&bytes, b"\0written\0");
    }
}

// r[verify segment.reserve]
#[test]
fn between_two_steps_it_can_be_given_up_and_taken_up_again() {
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    let to_bytes = 2 * STEP_BYTES + 4096;
    let mut reached = Vec::new();
    let mut once = |bytes| {
        reached.push(bytes);
        ControlFlow::Break(())
    };
    let given_up = backing.reserve_in_steps(&file, 0, to_bytes, &mut once).unwrap_err();
    let path = scratch.file("pool");
    assert_eq!(given_up, GrowError::GivenUp { path, to_bytes, reached_bytes: STEP_BYTES });
    assert_eq!(reached, [STEP_BYTES]);
    assert_eq!(size_bytes(&file), STEP_BYTES);
    let mut reached = Vec::new();
    let mut all = |bytes| {
        reached.push(bytes);
        // Too late to give up what is done.
        if bytes == to_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    backing.reserve_in_steps(&file, 0, to_bytes, &mut all).unwrap();
    assert_eq!(reached, [STEP_BYTES, 2 * STEP_BYTES, to_bytes]);
}

// r[verify segment.reserve]
#[test]
fn each_step_that_fails_leaves_what_was_reserved_and_can_be_repeated() {
    for (errno, steps_max) in
        [(Errno::NOSPC, 2), (Errno::NOMEM, 0), (Errno::DQUOT, 0), (Errno::FBIG, 0)]
    {
        for steps in 0..=steps_max {
            let scratch = Scratch::on_tmpfs();
            let (file, _) = pool(&scratch);
            let fake = FakeBacking::failing_after(steps, errno);
            let backing = Backing::fake(fake.clone());
            let failed = backing.reserve(&file, 0, 3 * STEP_BYTES).unwrap_err();
            let GrowError::NoRoom { source, room, from_bytes: 0, .. } = &failed else {
                panic!("{failed}")
            };
            assert_eq!((*source, room.mount_point.as_path()), (errno, Path::new("/dev/shm")));
            assert_eq!(size_bytes(&file), u64::from(steps) * STEP_BYTES);
            fake.allow(3);
            backing.reserve(&file, 0, 3 * STEP_BYTES).unwrap();
            assert_eq!(size_bytes(&file), 3 * STEP_BYTES);
        }
    }
}

// r[verify segment.reserve]
#[test]
fn signals_between_make_steps_smaller_and_never_fail_it() {
    let scratch = Scratch::on_tmpfs();
    let (file, _) = pool(&scratch);
    let fake = FakeBacking::failing_after(0, Errno::INTR);
    let backing = Backing::fake(fake.clone());
    // Every step is interrupted until the third try.
    let reserved = std::thread::scope(|scope| {
        let reserving = scope.spawn(|| backing.reserve(&file, 0, STEP_BYTES));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!reserving.is_finished());
        fake.allow(u32::MAX);
        reserving.join().unwrap()
    });
    reserved.unwrap();
    assert_eq!(size_bytes(&file), STEP_BYTES);
}

// r[verify segment.reserve]
#[test]
fn a_file_system_that_cannot_reserve_is_told() {
    let scratch = Scratch::on_tmpfs();
    let (file, _) = pool(&scratch);
    let backing = Backing::fake(FakeBacking::failing_after(0, Errno::OPNOTSUPP));
    let refused = backing.reserve(&file, 0, 4096).unwrap_err();
    assert!(matches!(refused, GrowError::NotSupported { .. }), "{refused}");
    let backing = Backing::fake(FakeBacking::failing_after(0, Errno::IO));
    let refused = backing.reserve(&file, 0, 4096).unwrap_err();
    assert!(matches!(refused, GrowError::System(_)), "{refused}");
}

// r[verify segment.reserve]
#[test]
fn sizes_are_aligned_and_a_device_does_not_grow() {
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    let misaligned = backing.reserve(&file, 0, 4097).unwrap_err();
    let (path, alignment_bytes) = (scratch.file("pool"), 4096);
    assert_eq!(misaligned, GrowError::Misaligned { path, value: 4097, alignment_bytes });
    backing.reserve(&file, 1, 4096).unwrap_err();
    let device = Backing { kind: BackingKind::Devdax, size_fixed: Some(8192), ..backing };
    device.reserve(&file, 0, 8192).unwrap();
    assert_eq!(size_bytes(&file), 0, "growth of a device is published, nothing else");
    let refused = device.reserve(&file, 8192, 12288).unwrap_err();
    assert!(matches!(refused, GrowError::SizeFixed { size_bytes_max: 8192, .. }), "{refused}");
}

// r[verify segment.reserve]
#[test]
fn a_full_file_system_is_an_error_that_names_it() {
    const TEST: &str =
        "segment::backing::reserve::tests::a_full_file_system_is_an_error_that_names_it";
    if let Some(place) = child_task() {
        let path = Path::new(&place).join("pool");
        let file = OwnedFd::from(std::fs::File::create_new(&path).unwrap());
        let backing = Backing::detect(&file, &path).unwrap();
        backing.reserve(&file, 0, 512 << 10).unwrap();
        let failed = backing.reserve(&file, 512 << 10, 2 << 20).unwrap_err();
        let text = failed.to_string();
        for part in [place.as_str(), "from 512.0 KiB to 2.0 MiB", "has 1.0 MiB, 512.0 KiB free"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert_eq!(size_bytes(&file), 512 << 10);
        backing.reserve(&file, 512 << 10, 1 << 20).unwrap();
        return;
    }
    if !can_unshare(&["-m"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().to_str().unwrap();
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    assert_success(&run_alone(TEST, place, &["unshare", "-m", "sh", "-c", mount, place]));
}

// r[verify segment.file-size-limit]
#[test]
fn a_limit_on_file_sizes_is_an_error_and_no_signal() {
    const TEST: &str =
        "segment::backing::reserve::tests::a_limit_on_file_sizes_is_an_error_and_no_signal";
    if child_task().is_none() {
        return assert_success(&run_alone(TEST, "limit", &[]));
    }
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    backing.reserve(&file, 0, 64 << 10).unwrap();
    let limit_bytes = 32 << 10;
    let limit = Rlimit { current: Some(limit_bytes), maximum: Some(limit_bytes) };
    rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
    let to_bytes = 128 << 10;
    let refused = backing.reserve(&file, 64 << 10, to_bytes).unwrap_err();
    let path = scratch.file("pool");
    assert_eq!(refused, GrowError::FileSizeLimit { path, to_bytes, limit_bytes });
    assert!(refused.to_string().contains("limited to 32.0 KiB (ulimit -f)"), "{refused}");
    // What is there already is no growth.
    backing.reserve(&file, 0, 64 << 10).unwrap();
}

// r[verify pool-memory.huge-counted]
#[test]
fn huge_pages_count_whole_where_memory_is_asked_for() {
    let scratch = Scratch::on_tmpfs();
    let (_file, backing) = pool(&scratch);
    let page_bytes = huge_page_bytes();
    let span = |from_bytes, to_bytes| Span { from_bytes, to_bytes };
    assert_eq!(backing.taken_bytes(&span(4096, 12_288)), 8192);
    let memory = MemoryOptions { huge_pages: HugePages::Try, ..MemoryOptions::default() };
    let backing = backing.with_memory(memory);
    assert_eq!(backing.taken_bytes(&span(4096, 12_288)), page_bytes);
    assert_eq!(backing.taken_bytes(&span(4096, page_bytes + 4096)), 2 * page_bytes);
    assert_eq!(backing.taken_bytes(&span(page_bytes, 2 * page_bytes)), page_bytes);
    assert_eq!(backing.taken_bytes(&span(4096, 4096)), 0);
}

/// A file that is told to be on hugetlbfs, with a policy: what reserves there does so in a thread.
fn placed(backing: Backing) -> Backing {
    let memory = MemoryOptions { numa: "bind:0".parse().ok(), ..MemoryOptions::default() };
    Backing { kind: BackingKind::Hugetlbfs, ..backing }.with_memory(memory)
}

// r[verify resources.growth-refused]
#[test]
fn what_a_helper_was_refused_is_told_as_the_hosts_own() {
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    let backing = placed(backing);
    let spans = [Span { from_bytes: 0, to_bytes: 8192 }];
    let told = |call, source| {
        let refused = HelperError::Refused { span: 0, call, source };
        backing.helper_error(file.as_fd(), &spans, refused)
    };
    let forbidden = told(RefusedCall::Place, Errno::PERM);
    assert!(matches!(forbidden, GrowError::Numa(NumaError::Forbidden { .. })), "{forbidden}");
    assert!(forbidden.to_string().contains("CAP_SYS_NICE"), "{forbidden}");
    let unmapped = told(RefusedCall::Map, Errno::NOMEM);
    assert!(matches!(unmapped, GrowError::Unmapped { to_bytes: 8192, .. }), "{unmapped}");
    let no_room = told(RefusedCall::Reserve, Errno::NOMEM);
    assert!(matches!(no_room, GrowError::NoRoom { .. }), "{no_room}");
}

/// No mapping of a MiB more than there is.
fn limit_address_space() {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let limit = Some(pages * rustix::param::page_size() as u64 + (1 << 20));
    let limit = Rlimit { current: limit, maximum: limit };
    rustix::process::setrlimit(Resource::As, limit).unwrap();
}

// r[verify resources.growth-refused]
#[test]
fn a_limit_on_mappings_is_told_as_one_and_not_as_a_lack_of_room() {
    const TEST: &str = "segment::backing::reserve::tests::\
         a_limit_on_mappings_is_told_as_one_and_not_as_a_lack_of_room";
    if child_task().is_none() {
        return assert_success(&run_alone(TEST, "limit", &[]));
    }
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    let memory = MemoryOptions { prefault: true, ..MemoryOptions::default() };
    let populated = backing.clone().with_memory(memory);
    let placed = placed(backing);
    limit_address_space();
    let unmapped = populated.reserve(&file, 0, 16 << 20).unwrap_err();
    assert!(matches!(unmapped, GrowError::Unmapped { source: Errno::NOMEM, .. }), "{unmapped}");
    assert!(unmapped.to_string().contains("ulimit -v"), "{unmapped}");
    // Nor is there a stack for the thread that would reserve on hugetlbfs.
    let spans = [Span { from_bytes: 0, to_bytes: 4096 }];
    let refused = placed.take_spans(file.as_fd(), &spans, Taking::by(None)).unwrap_err();
    let GrowError::System(refused) = &refused else { panic!("{refused}") };
    assert_eq!(refused.operation, "start a thread to grow");
}

// r[verify pool-memory.progress]
#[test]
fn each_step_is_told_with_its_bytes() {
    let scratch = Scratch::on_tmpfs();
    let (file, backing) = pool(&scratch);
    let told = std::sync::Mutex::new(Vec::new());
    let step_done = |bytes| told.lock().unwrap().push(bytes);
    let taking = Taking { step_done: &step_done, ..Taking::by(None) };
    let spans = [
        Span { from_bytes: 4096, to_bytes: STEP_BYTES + 12_288 },
        Span { from_bytes: STEP_BYTES + 16_384, to_bytes: STEP_BYTES + 20_480 },
    ];
    backing.take_spans(file.as_fd(), &spans, taking).unwrap();
    assert_eq!(*told.lock().unwrap(), [STEP_BYTES, 8192, 4096]);
}
