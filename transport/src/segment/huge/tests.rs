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
    assert_eq!(shmem_huge_bytes(smaps, "7f00-"), 2 << 20);
    assert_eq!(shmem_huge_bytes(smaps, "7f20-"), 4 << 20);
    assert_eq!(shmem_huge_bytes(smaps, "7f40-"), 0);
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
    let (huge_bytes, expected_bytes) =
        measure_huge(&file, &backing, (from_bytes, to_bytes)).unwrap();
    assert_eq!(expected_bytes, 12 << 20);
    if huge_bytes == expected_bytes {
        return;
    }
    // That is what the system had left, and is for the host to tell.
    println!("only {huge_bytes} bytes came in huge pages");
    assert!(huge_bytes < expected_bytes);
}
