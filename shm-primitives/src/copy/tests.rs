use super::*;

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 7 + index / 251) as u8 ^ 0x5a).collect()
}

// r[verify memory.copy_in]
#[test]
fn whatever_the_places_and_lengths_every_byte_is_copied_and_no_other() {
    let from = pattern(400);
    for (to_first, from_first) in [(0, 0), (1, 0), (8, 3), (63, 64), (64, 1), (77, 77)] {
        for bytes in (0..=257).chain([300]) {
            let mut to = vec![0xee; 400];
            let source = &from[from_first..from_first + bytes];
            let copied = copy_past_caches(&mut to[to_first..to_first + bytes], source);
            if !copied {
                println!("skipped: this processor or build has no stores past the caches");
                return;
            }
            assert_eq!(to[to_first..to_first + bytes], *source, "{to_first} {from_first} {bytes}");
            let others = to[..to_first].iter().chain(&to[to_first + bytes..]);
            assert!(others.clone().all(|byte| *byte == 0xee), "{to_first} {from_first} {bytes}");
        }
    }
}

// r[verify memory.copy_in]
#[test]
fn small_and_large_copies_are_whole() {
    // Under an interpreter large ones take minutes.
    let sizes = if cfg!(miri) {
        [0, 1, 4096]
    } else {
        [LARGE_COPY_BYTES - 1, LARGE_COPY_BYTES, LARGE_COPY_BYTES + 77]
    };
    for bytes in sizes {
        let from = pattern(bytes);
        let mut to = vec![0; bytes];
        copy_in(&mut to, &from);
        assert!(to == from, "{bytes} bytes");
    }
}
