use super::*;
use onecopy_shm::Access;

const WINDOWS: u64 = 200;

fn windows_done(populated: &Populated) -> Vec<u64> {
    (0..WINDOWS).filter(|window| populated.is_done(*window)).collect()
}

/// Bytes of the view that the kernel has mapped.
fn mapped_bytes(view: &Region) -> u64 {
    let start = format!("{:x}-", view.address().addr());
    let table = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = table.lines().skip_while(|line| !line.starts_with(&start));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

fn view() -> Region {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(WINDOWS * WINDOW_BYTES).unwrap();
    let size_bytes = WINDOWS * WINDOW_BYTES;
    Mapping::map(&file, size_bytes, Access::ReadWrite).unwrap().region(0, size_bytes).unwrap()
}

// r[verify pool-memory.magazines]
#[test]
fn windows_that_a_slot_touches_are_mapped_and_no_others() {
    for is_real in [false, true] {
        let view = view();
        if is_real {
            populate_write(&view).unwrap();
        }
        let populated = Populated::new(view.clone(), is_real).unwrap();
        populated.cover(WINDOW_BYTES, 1);
        assert_eq!(windows_done(&populated), [1]);
        populated.cover(3 * WINDOW_BYTES - 8, 16);
        assert_eq!(windows_done(&populated), [1, 2, 3]);
        // Over what is done, and over the end of a word of bits.
        populated.cover(0, 6 * WINDOW_BYTES);
        populated.cover(62 * WINDOW_BYTES, 4 * WINDOW_BYTES);
        populated.cover((WINDOWS - 1) * WINDOW_BYTES, WINDOW_BYTES);
        assert_eq!(windows_done(&populated), [0, 1, 2, 3, 4, 5, 62, 63, 64, 65, WINDOWS - 1]);
        if !is_real {
            assert_eq!(mapped_bytes(&view), 11 * WINDOW_BYTES);
        }
    }
}

// r[verify pool-memory.magazines]
#[test]
fn what_cannot_be_populated_is_left_and_not_tried_again() {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(WINDOW_BYTES).unwrap();
    let mapping = Mapping::map(&file, 4 * WINDOW_BYTES, Access::ReadWrite).unwrap();
    let populated = Populated::new(mapping.region(0, 4 * WINDOW_BYTES).unwrap(), true).unwrap();
    populated.cover(0, 4 * WINDOW_BYTES);
    assert!((0..4).all(|window| populated.is_done(window)));
}
