use super::*;

// r[verify segment.path]
#[test]
fn the_default_is_one_directory_per_user() {
    let uid = rustix::process::geteuid().as_raw();
    let path = SegmentPath::default_for_user();
    assert_eq!(path.to_string(), format!("/dev/shm/onecopy-{uid}/default"));
    assert_eq!(path.own_parent(), path.as_path().parent());
    assert_eq!(SegmentPath::new("/tmp/segment").unwrap().own_parent(), None);
}

// r[verify segment.path]
#[test]
fn paths_are_absolute_and_end_in_a_name() {
    assert_eq!(SegmentPath::new("/a/b/").unwrap().as_path(), Path::new("/a/b"));
    assert_eq!(SegmentPath::new("/a/b/.").unwrap().as_path(), Path::new("/a/b"));
    let relative = SegmentPath::new("a/b").unwrap();
    assert_eq!(relative.as_path(), std::env::current_dir().unwrap().join("a/b"));
    assert_eq!(relative.split().1, "b");
}

// r[verify segment.path]
#[test]
fn a_path_that_names_nothing_is_refused() {
    for path in ["", "/", ".", "..", "/a/.."] {
        let refused = SegmentPath::new(path).unwrap_err();
        assert_eq!(refused, PathError::NoName { path: path.into() });
    }
    let zero = OsStr::from_bytes(b"/a\0b");
    assert!(matches!(SegmentPath::new(zero), Err(PathError::ZeroByte { .. })));
}

// r[verify segment.path]
#[test]
fn a_name_that_is_too_long_is_refused_with_its_length() {
    let long = format!("/tmp/{}/b", "n".repeat(NAME_BYTES_MAX));
    SegmentPath::new(&long).unwrap();
    let long = format!("/tmp/{}/b", "n".repeat(NAME_BYTES_MAX + 1));
    let refused = SegmentPath::new(&long).unwrap_err();
    assert!(matches!(refused, PathError::NameTooLong { length: 256, .. }));
    assert!(refused.to_string().contains("256 bytes, the most is 255"), "{refused}");
}
