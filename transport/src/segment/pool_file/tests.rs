use super::*;
use crate::segment::tests::{Scratch, listing, set_mode};

const ID: SegmentId = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

fn make(scratch: &Scratch, elsewhere: Option<&Path>, id: SegmentId) -> SegmentDir {
    let (directory, _lock) = scratch.locked();
    let pool = directory.create_pool(elsewhere, id).unwrap();
    pool.backing.reserve(&pool.file, 0, 4096).unwrap();
    pool.write_header(id).unwrap();
    directory
}

// r[verify segment.pool-header]
#[test]
fn a_pool_names_its_segment() {
    let scratch = Scratch::on_tmpfs();
    let directory = make(&scratch, None, ID);
    let pool = directory.open_pool(ID).unwrap();
    assert_eq!(pool.path, scratch.file("pool"));
    assert_eq!(pool.size_bytes().unwrap(), 4096);
    let bytes = std::fs::read(&pool.path).unwrap();
    assert_eq!(&bytes[..8], b"onepool\0");
    assert_eq!(bytes[8..24], ID.to_le_bytes());
    assert!(bytes[24..].iter().all(|&byte| byte == 0));
    let refused = directory.open_pool(ID + 1).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("0123456789abcdef0011223344556677"), "{text}");
    assert!(text.contains("0123456789abcdef0011223344556678"), "{text}");
}

// r[verify segment.pool-header]
#[test]
fn what_is_no_pool_is_refused() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let missing = directory.open_pool(ID).unwrap_err();
    assert!(matches!(missing, PoolFileError::File(FileError::NotFound { .. })), "{missing}");
    for content in [&b""[..], b"onepoo", b"something else entirely, of some length"] {
        std::fs::write(scratch.file("pool"), content).unwrap();
        set_mode(&scratch.file("pool"), 0o600);
        let refused = directory.open_pool(ID).unwrap_err();
        assert!(matches!(refused, PoolFileError::NotAPool { .. }), "{refused}");
    }
}

// r[verify segment.pool-header]
#[test]
fn a_header_reached_only_by_mapping_is_the_same() {
    let scratch = Scratch::on_tmpfs();
    let directory = make(&scratch, None, ID);
    let mut pool = directory.open_pool(ID).unwrap();
    // As on a device, where there is no pread.
    pool.backing = Backing::fixed_for_tests(4096);
    assert_eq!(pool.read_header().unwrap(), HeaderFound::Segment(ID));
    pool.write_header(!ID).unwrap();
    assert_eq!(pool.read_header().unwrap(), HeaderFound::Segment(!ID));
    directory.open_pool(!ID).unwrap();
    pool.erase_header().unwrap();
    assert_eq!(pool.read_header().unwrap(), HeaderFound::Other(0));
    assert_eq!(&std::fs::read(&pool.path).unwrap()[8..24], &(!ID).to_le_bytes());
}

// r[verify segment.pool-place]
#[test]
fn a_pool_elsewhere_is_found_again() {
    let scratch = Scratch::on_tmpfs();
    let elsewhere = scratch.above.path().join("big pool");
    let directory = make(&scratch, Some(&elsewhere), ID);
    assert_eq!(listing(scratch.path.as_path()), ["lock", "pool.path"]);
    assert_eq!(std::fs::read(scratch.file("pool.path")).unwrap(), {
        let mut line = elsewhere.as_os_str().as_bytes().to_vec();
        line.extend_from_slice(b"\n0123456789abcdef0011223344556677\n");
        line
    });
    assert_eq!(crate::segment::tests::mode(&elsewhere), 0o600);
    assert_eq!(directory.pool_elsewhere().unwrap().as_ref(), Some(&elsewhere));
    let pool = directory.open_pool(ID).unwrap();
    assert_eq!(pool.path, elsewhere);
    let refused = directory.open_pool(ID ^ 1).unwrap_err();
    assert!(matches!(refused, PoolFileError::OtherSegment { .. }), "{refused}");
    std::fs::remove_file(&elsewhere).unwrap();
    let missing = directory.open_pool(ID).unwrap_err();
    assert!(matches!(missing, PoolFileError::File(FileError::NotFound { .. })), "{missing}");
}

// r[verify segment.pool-place]
#[test]
fn a_file_that_holds_anything_is_not_taken_as_a_new_pool() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let elsewhere = scratch.above.path().join("photos.tar");
    std::fs::write(&elsewhere, b"precious").unwrap();
    set_mode(&elsewhere, 0o600);
    let refused = directory.create_pool(Some(&elsewhere), ID).unwrap_err();
    assert!(matches!(refused, PoolFileError::InUse { size_bytes: 8, .. }), "{refused}");
    assert_eq!(std::fs::read(&elsewhere).unwrap(), b"precious");
    assert_eq!(listing(scratch.path.as_path()), ["lock"], "it is not named as ours");

    let link = scratch.above.path().join("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let refused = directory.create_pool(Some(&link), ID).unwrap_err();
    let PoolFileError::File(FileError::NotAFile { found, .. }) = refused else { panic!() };
    assert_eq!(found, FileKind::Symlink);
    let refused = directory.create_pool(Some(Path::new("/dev/zero")), ID).unwrap_err();
    assert!(matches!(refused, PoolFileError::Backing(_)), "{refused}");
    let refused = directory.create_pool(Some(Path::new("a\nb")), ID).unwrap_err();
    assert!(matches!(refused, PoolFileError::BadPath { .. }), "{refused}");

    std::fs::write(&elsewhere, b"").unwrap();
    directory.create_pool(Some(&elsewhere), ID).unwrap();
}

// r[verify segment.pool-place]
#[test]
fn a_torn_or_strange_pool_path_is_refused() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let good = format!("/some/where\n{ID:032x}\n").into_bytes();
    assert_eq!(parse_pool_path(&good), Some((PathBuf::from("/some/where"), ID)));
    for length in 0..good.len() {
        assert_eq!(parse_pool_path(&good[..length]), None, "cut off at {length}");
    }
    let long = [b"/".as_slice(), &[b'a'; 5000], &good].concat();
    let relative = &good[1..];
    let sign = format!("/some/where\n+{:031x}\n", 7).into_bytes();
    let lines = format!("/some\nwhere\n{ID:032x}\n").into_bytes();
    for content in [&b""[..], b"\n", &good[..15], relative, &sign, &lines, &long] {
        std::fs::write(scratch.file("pool.path"), content).unwrap();
        set_mode(&scratch.file("pool.path"), 0o600);
        let refused = directory.open_pool(ID).unwrap_err();
        assert!(matches!(refused, PoolFileError::BadPoolPath { .. }), "{refused}");
    }
}
