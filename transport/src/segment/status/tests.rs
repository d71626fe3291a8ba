use super::*;
use crate::segment::tests::Scratch;
use std::path::Path;

fn write_control(scratch: &Scratch, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(scratch.file(CONTROL), bytes).unwrap();
    crate::segment::tests::set_mode(&scratch.file(CONTROL), 0o600);
}

/// The status without and with a host.
fn both(scratch: &Scratch) -> (SegmentStatus, SegmentStatus) {
    let (directory, lock) = scratch.locked();
    let with = directory.classify().unwrap();
    drop(lock);
    (directory.classify().unwrap(), with)
}

fn live() -> SegmentStatus {
    SegmentStatus::Live { pid: Some(std::process::id()) }
}

// r[verify segment.status]
#[test]
fn fresh_unfinished_and_dead_are_told_apart() {
    let scratch = Scratch::new();
    assert_eq!(both(&scratch), (SegmentStatus::Fresh, live()));
    std::fs::write(scratch.file("pool"), b"").unwrap();
    assert_eq!(both(&scratch), (SegmentStatus::Unfinished, live()));
    for words in [&[][..], &[0, FORMAT_VERSION]] {
        write_control(&scratch, words);
        assert_eq!(both(&scratch), (SegmentStatus::Unfinished, live()));
    }
    write_control(&scratch, &[CONTROL_MAGIC, FORMAT_VERSION, 3]);
    assert_eq!(both(&scratch), (SegmentStatus::Dead, live()));
    // A stray file does not make a whole segment foreign.
    std::fs::write(scratch.file("notes.txt"), b"").unwrap();
    assert_eq!(both(&scratch), (SegmentStatus::Dead, live()));
}

// r[verify segment.status]
#[test]
fn looking_changes_nothing() {
    let scratch = Scratch::new();
    let directory = SegmentDir::create_or_open(&scratch.path).unwrap();
    assert_eq!(directory.classify().unwrap(), SegmentStatus::Fresh);
    assert!(directory.names().unwrap().is_empty(), "not even a lock file is made");
}

fn foreign(scratch: &Scratch) -> Foreign {
    let (directory, _lock) = scratch.locked();
    match directory.classify().unwrap() {
        SegmentStatus::Foreign(foreign) => foreign,
        other => panic!("{other:?}"),
    }
}

// r[verify segment.status]
#[test]
fn a_directory_with_other_content_is_foreign() {
    let scratch = Scratch::new();
    drop(scratch.locked());
    std::fs::write(scratch.file("thesis.tex"), b"").unwrap();
    let path = scratch.path.as_path().to_owned();
    let found = foreign(&scratch);
    assert_eq!(found, Foreign::Content { path, name: "thesis.tex".into() });
    assert!(found.to_string().contains("other content: \"thesis.tex\""), "{found}");
    write_control(&scratch, &[0]);
    assert_eq!(foreign(&scratch), found, "an unfinished control does not make it ours");
}

// r[verify segment.status]
#[test]
fn a_control_of_another_kind_magic_or_version_is_foreign() {
    let scratch = Scratch::new();
    drop(scratch.locked());
    let path = scratch.file(CONTROL);
    write_control(&scratch, &[0x006f_6c6c_6568, 1]);
    let found = foreign(&scratch);
    assert_eq!(found, Foreign::Magic { path: path.clone(), found: 0x006f_6c6c_6568 });
    assert!(found.to_string().contains("begins with 0x0000006f6c6c6568"), "{found}");

    write_control(&scratch, &[CONTROL_MAGIC, FORMAT_VERSION + 1]);
    let found = foreign(&scratch);
    assert_eq!(found, Foreign::Version { path: path.clone(), found: FORMAT_VERSION + 1 });
    // Torn off after the magic.
    write_control(&scratch, &[CONTROL_MAGIC]);
    assert_eq!(foreign(&scratch), Foreign::Version { path: path.clone(), found: 0 });

    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    let found = foreign(&scratch);
    assert_eq!(found, Foreign::NotAFile { path: path.clone(), found: FileKind::Symlink });
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let found = foreign(&scratch);
    assert_eq!(found, Foreign::NotAFile { path, found: FileKind::Directory });
}

#[test]
fn words_are_little_endian_and_short_ones_end_in_zeroes() {
    let bytes: Vec<u8> = (1..=12).collect();
    assert_eq!(word(&bytes, 0), 0x0807_0605_0403_0201);
    assert_eq!(word(&bytes, 8), 0x0c0b_0a09);
    assert_eq!(word(&bytes, 40), 0);
    let mut bytes = [7_u8; 4];
    let file = std::fs::File::open(Path::new("/dev/null")).unwrap();
    assert_eq!(read_at(&file, &mut bytes), Ok(0));
    assert_eq!(bytes, [7; 4]);
}
