use super::*;
use crate::memory::{HugePages, MemoryOptions};
use crate::segment::AreaFile;
use crate::segment::tests::{Scratch, assert_success, can_unshare, child_task, run_alone};

fn asking(huge_pages: HugePages) -> MemoryOptions {
    MemoryOptions { huge_pages, ..MemoryOptions::default() }
}

#[test]
fn the_word_in_brackets_is_the_one_that_holds() {
    assert_eq!(chosen("always within_size advise [never] deny force\n"), "never");
    assert_eq!(chosen("always [deny"), "");
    assert_eq!(chosen(""), "");
}

#[test]
fn smaps_are_read_for_one_mapping_alone() {
    let smaps = "7f00-7f10 r--s 0 00:1a 5 /x\nShmemPmdMapped:    2048 kB\nVmFlags: rd\n\
                 7f20-7f30 r--s 0 00:1a 5 /x\nRss: 4 kB\nShmemPmdMapped:     4096 kB\nVmFlags: rd\n";
    assert_eq!(shmem_huge_bytes(smaps.as_bytes(), "7f00-").unwrap(), 2 << 20);
    assert_eq!(shmem_huge_bytes(smaps.as_bytes(), "7f20-").unwrap(), 4 << 20);
    assert_eq!(shmem_huge_bytes(smaps.as_bytes(), "7f40-").unwrap(), 0);
}

// r[verify pool-memory.huge-refused]
#[test]
fn a_disk_has_no_huge_pages_to_give() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let backing = Backing::detect(file.as_file(), file.path()).unwrap();
    if backing.kind() == BackingKind::Tmpfs {
        return println!("skipped: the sources are in shared memory");
    }
    let refused = check_huge(file.as_file(), &backing).unwrap_err();
    let (path, kind) = (file.path().to_owned(), backing.kind());
    assert_eq!(refused, NoHugePages::Kind { path, kind });
}

// r[verify pool-memory.huge]
// r[verify pool-memory.huge-refused]
#[test]
fn what_a_mount_gives_is_asked_and_what_came_is_measured() {
    const TEST: &str =
        "segment::huge::tests::what_a_mount_gives_is_asked_and_what_came_is_measured";
    let Some(task) = child_task() else {
        if can_unshare(&["-m"]) {
            for option in ["never", "advise", "within_size", "always"] {
                let mount = format!(
                    "mount -t tmpfs -o size=64m,huge={option} tmpfs /dev/shm && exec \"$0\" \"$@\""
                );
                let before = ["unshare", "-m", "sh", "-c", &mount];
                assert_success(&run_alone(TEST, option, &before));
            }
        }
        return;
    };
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let file = directory.create_file(AreaFile::Pool).unwrap();
    let backing = Backing::detect(&file, &scratch.file("pool")).unwrap();
    if task == "never" {
        let (path, mount_point) = (scratch.file("pool"), PathBuf::from("/dev/shm"));
        let found = task;
        let refused = check_huge(&file, &backing).unwrap_err();
        return assert_eq!(refused, NoHugePages::Mount { path, mount_point, found });
    }
    match check_huge(&file, &backing) {
        Err(NoHugePages::Denied { found, .. }) => {
            return println!("skipped: huge pages in shared memory are {found:?} here");
        }
        checked => checked.unwrap(),
    }
    // From the middle of one huge page to the middle of another.
    let (from_bytes, to_bytes) = (1 << 20, 15 << 20);
    let backing = backing.with_memory(asking(HugePages::Try));
    backing.reserve(&file, from_bytes, to_bytes).unwrap();
    // One step, and so never given up.
    let measured = measure_huge(&file, &backing, (from_bytes, to_bytes), &|| false);
    let HugeBytes { found, expected } = measured.unwrap().unwrap();
    assert_eq!(expected, 12 << 20);
    if found == expected {
        return;
    }
    // That is what the system had left, and is for the host to tell.
    println!("only {found} bytes came in huge pages");
    assert!(found < expected);
}

// r[verify pool-memory.huge-look]
#[test]
fn a_look_at_huge_pages_keeps_no_tables_and_is_given_up_between_two_steps() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let file = directory.create_file(AreaFile::Pool).unwrap();
    let backing = Backing::detect(&file, &scratch.file("pool")).unwrap();
    let to_bytes = 2 * STEP_BYTES + huge_page_bytes();
    backing.reserve(&file, 0, to_bytes).unwrap();
    let asked = std::cell::Cell::new(0);
    let is_wanted = |until| {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let path = scratch.file("pool");
        let is_mapped = smaps.lines().any(|line| line.ends_with(path.to_str().unwrap()));
        assert!(!is_mapped, "between two steps nothing of it is mapped");
        asked.set(asked.get() + 1);
        asked.get() < until
    };
    let measure = |until| measure_huge(&file, &backing, (0, to_bytes), &|| is_wanted(until));
    let whole = measure(u32::MAX).unwrap().unwrap();
    assert_eq!((whole.expected, asked.take()), (to_bytes, 2));
    assert!(whole.found <= whole.expected);
    assert_eq!((measure(2).unwrap(), asked.take()), (None, 2));
    assert_eq!((measure(1).unwrap(), asked.take()), (None, 1));
}
