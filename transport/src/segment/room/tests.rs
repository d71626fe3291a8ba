use super::*;
use crate::segment::tests::{Scratch, assert_success, can_unshare, child_task, run_alone};

// r[verify segment.room]
#[test]
fn a_path_that_does_not_exist_is_asked_about_where_it_would_be() {
    let scratch = Scratch::on_tmpfs();
    let room = Room::at(&scratch.file("not/yet/there")).unwrap();
    assert_eq!(room.mount_point, Path::new("/dev/shm"));
    assert_eq!(room.file_system, "tmpfs");
    assert!(room.size_bytes >= room.free_bytes);
    check_room(scratch.path.as_path(), 0).unwrap();
    Room::at(Path::new("nowhere/at/all")).unwrap();
    Room::at(Path::new("/dev/null/segment")).unwrap();
}

// r[verify segment.room]
#[test]
fn a_refusal_names_mount_size_room_and_options() {
    let scratch = Scratch::on_tmpfs();
    let refused = check_room(&scratch.file("pool"), u64::MAX).unwrap_err();
    let RoomError::NoRoom(NoRoom { needed_bytes: u64::MAX, .. }) = &refused else {
        panic!("{refused}")
    };
    let text = refused.to_string();
    for part in ["/dev/shm (tmpfs) has ", " free", "--size", "--pool", "--shm-size"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

// r[verify segment.room]
#[test]
fn a_shared_memory_of_64_mib_as_in_containers_is_told_before_the_start() {
    const TEST: &str = "segment::room::tests::\
                        a_shared_memory_of_64_mib_as_in_containers_is_told_before_the_start";
    if let Some(place) = child_task() {
        let path = Path::new(&place).join("onecopy-0/default");
        check_room(&path, 60 << 20).unwrap();
        let text = check_room(&path, 1 << 30).unwrap_err().to_string();
        let start = format!("{place} (tmpfs) has 64.0 MiB, 64.0 MiB free, but 1.0 GiB are needed");
        assert!(text.starts_with(&start), "{text}");
        return;
    }
    if !can_unshare(&["-m"]) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("with space");
    std::fs::create_dir(&place).unwrap();
    let place = place.to_str().unwrap();
    let mount = "mount -t tmpfs -o size=64m tmpfs \"$0\" && exec \"$@\"";
    assert_success(&run_alone(TEST, place, &["unshare", "-m", "sh", "-c", mount, place]));
}

// r[verify segment.room]
#[test]
fn a_file_system_without_a_limit_has_room() {
    let room = Room {
        mount_point: "/mnt".into(),
        file_system: "hugetlbfs".to_owned(),
        size_bytes: None,
        free_bytes: None,
    };
    assert_eq!(room.to_string(), "/mnt (hugetlbfs) has no size limit of its own");
}

#[test]
fn mounts_are_found_by_id_and_their_names_unescaped() {
    let mountinfo = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                     25 24 0:23 / /dev/my\\040shm\\134 rw shared:5 master:1 - tmpfs x size=1k\n\
                     bad\n26 1\n";
    let found = find_mount(mountinfo, "25").unwrap();
    assert_eq!(found.point, PathBuf::from("/dev/my shm\\"));
    assert_eq!((&*found.file_system, &*found.options), ("tmpfs", "size=1k"));
    assert_eq!(find_mount(mountinfo, "2"), None);
    assert_eq!(find_mount(mountinfo, "26"), None);
    assert_eq!(unescape("a\\04"), PathBuf::from("a\\04"));
    assert_eq!(unescape("\\999"), PathBuf::from("\\999"));
}

#[test]
fn numbers_of_bytes_read_well() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        ((64 << 20) - 1, "63.9 MiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (u64::MAX, "16777215.9 TiB"),
    ] {
        assert_eq!(Bytes(bytes).to_string(), text);
    }
}
