use super::*;

const MIB: u64 = 1 << 20;

/// A directory that looks like a group of this version.
fn group(directory: &Path, names: Names, limit: &str, used: u64, stat: &str) -> Group {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(names.limit), format!("{limit}\n")).unwrap();
    std::fs::write(directory.join(names.usage), format!("{used}\n")).unwrap();
    std::fs::write(directory.join("memory.stat"), stat).unwrap();
    Group { directory: directory.to_owned(), names }
}

fn directories(groups: &[Group], names: Names) -> Vec<&str> {
    let of = |group: &&Group| group.names == names;
    groups.iter().filter(of).map(|group| group.directory.to_str().unwrap()).collect()
}

// r[verify resources.memory-limit]
#[test]
fn what_must_not_be_taken_is_refused_with_the_numbers() {
    let scratch = tempfile::tempdir().unwrap();
    for names in [FIRST, SECOND] {
        let limit = (64 * MIB).to_string();
        let groups = [group(scratch.path(), names, &limit, 40 * MIB, "")];
        assert_eq!(check_limits(&groups, 16 * MIB, 8 * MIB), Ok(()));
        let refused = check_limits(&groups, 16 * MIB + 1, 8 * MIB).unwrap_err();
        assert_eq!(refused.limit.free_bytes(), 24 * MIB);
        assert_eq!(refused.needed_bytes, 16 * MIB + 1);
        let text = refused.to_string();
        let place = scratch.path().to_str().unwrap();
        for part in [place, "64.0 MiB", "24.0 MiB are free", "8.0 MiB have", "--size-max"] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

// r[verify resources.memory-limit]
#[test]
fn what_the_kernel_takes_back_by_itself_counts_as_free_and_no_limit_is_none() {
    let scratch = tempfile::tempdir().unwrap();
    let stat = format!("inactive_file {}\nactive_file {}\nshmem 999999999\n", 10 * MIB, 5 * MIB);
    let limit = (64 * MIB).to_string();
    let used = [group(scratch.path(), SECOND, &limit, 60 * MIB, &stat)];
    assert_eq!(check_limits(&used, 19 * MIB, 0), Ok(()));
    assert!(check_limits(&used, 19 * MIB + 1, 0).is_err());
    let unlimited = [group(scratch.path(), SECOND, "max", 60 * MIB, "")];
    assert_eq!(check_limits(&unlimited, u64::MAX, u64::MAX), Ok(()));
    let absent = [Group { directory: scratch.path().join("gone"), names: FIRST }];
    assert_eq!(check_limits(&absent, u64::MAX, 0), Ok(()));
}

// r[verify resources.memory-limit]
#[test]
fn every_group_above_counts_too() {
    let scratch = tempfile::tempdir().unwrap();
    let (outer, inner) = (scratch.path().join("outer"), scratch.path().join("outer/in ner"));
    let tight = group(&outer, SECOND, &(32 * MIB).to_string(), 20 * MIB, "");
    group(&inner, SECOND, &(64 * MIB).to_string(), MIB, "");
    let point = scratch.path().to_str().unwrap();
    let mountinfo = format!("30 25 0:26 / {point} rw,relatime shared:9 - cgroup2 none rw\n");
    let groups = groups_in("0::/outer/in ner\n", &mountinfo);
    assert_eq!(groups.len(), 3);
    assert_eq!(groups[1], tight);
    let refused = check_limits(&groups, 13 * MIB, 0).unwrap_err();
    assert_eq!(refused.limit.group, outer);
    assert_eq!(check_limits(&groups, 12 * MIB, 0), Ok(()));
}

// r[verify resources.memory-limit]
#[test]
fn groups_are_found_in_both_versions_and_from_inside_a_container() {
    let mixed = "36 32 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 37 32 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 38 32 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
                 40 32 0:33 / /dev/shm rw - tmpfs tmpfs rw\n";
    let member = "4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/d\n";
    let groups = groups_in(member, mixed);
    let first = ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"];
    assert_eq!(directories(&groups, FIRST), first);
    let second = ["/sys/fs/cgroup/unified/d", "/sys/fs/cgroup/unified"];
    assert_eq!(directories(&groups, SECOND), second);
    // Without a namespace of its own a container sees the whole path, and its own group mounted.
    let inside = "36 32 0:30 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let groups = groups_in("4:memory:/docker/x/y\n", inside);
    assert_eq!(directories(&groups, FIRST), ["/sys/fs/cgroup/memory/y", "/sys/fs/cgroup/memory"]);
    // With one, paths may even lead out of what is mounted.
    let groups = groups_in("4:memory:/../other\n", inside);
    assert_eq!(directories(&groups, FIRST), ["/sys/fs/cgroup/memory"]);
    assert_eq!(groups_in("", mixed), []);
    assert_eq!(groups_in(member, ""), []);
}
