use super::*;
use crate::{Access, Mapping};

fn shared_file() -> std::fs::File {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(1 << 20).unwrap();
    file
}

/// Whether memory can be placed here, with a line that says so if not. Containers often forbid it.
fn may_place() -> bool {
    let told = std::thread::spawn(|| set_thread_nodes(Some((NumaMode::Bind, 1)))).join().unwrap();
    if let Err(error) = told {
        println!("skipped: memory cannot be placed on nodes here: {error}");
    }
    told.is_ok() && std::path::Path::new("/proc/self/numa_maps").exists()
}

/// The policy that a mapping shows.
fn shown(mapping: &Mapping) -> String {
    let start = format!("{:08x} ", mapping.base().addr());
    let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
    let line = maps.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

// r[verify memory.numa]
#[test]
fn a_file_in_shared_memory_keeps_the_nodes_that_one_mapping_was_told() {
    if !may_place() {
        return;
    }
    let file = shared_file();
    let map = || Mapping::map(&file, 1 << 20, Access::ReadWrite).unwrap();
    for (nodes, text) in [
        (Some((NumaMode::Interleave, 1)), "interleave:0"),
        (Some((NumaMode::Bind, 1)), "bind:0"),
        (None, "default"),
    ] {
        let told = map();
        set_region_nodes(&told.region(0, 1 << 20).unwrap(), nodes).unwrap();
        drop(told);
        let other = map();
        assert_eq!(shown(&other), text);
    }
    let region = map().region(0, 1 << 20).unwrap();
    let refused = set_region_nodes(&region, Some((NumaMode::Bind, 1 << 63)));
    assert_eq!(refused, Err(Errno::INVAL));
    let heap = Mapping::heap(4096).unwrap().region(0, 4096).unwrap();
    assert_eq!(set_region_nodes(&heap, Some((NumaMode::Bind, 1 << 63))), Ok(()));
}

// r[verify memory.numa]
#[test]
fn a_thread_has_nodes_of_its_own() {
    if !may_place() {
        return;
    }
    let file = shared_file();
    let mapping = Mapping::map(&file, 1 << 20, Access::ReadOnly).unwrap();
    let of_this_thread = || {
        let maps = std::fs::read_to_string("/proc/thread-self/numa_maps").unwrap();
        let start = format!("{:08x} ", mapping.base().addr());
        let line = maps.lines().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
        line.unwrap().split(' ').next().unwrap().to_owned()
    };
    let told = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set_thread_nodes(Some((NumaMode::Bind, 1))).unwrap();
            let bound = of_this_thread();
            set_thread_nodes(None).unwrap();
            assert_eq!(set_thread_nodes(Some((NumaMode::Bind, 1 << 63))), Err(Errno::INVAL));
            (bound, of_this_thread())
        });
        thread.join().unwrap()
    });
    assert_eq!(told, ("bind:0".to_owned(), "default".to_owned()));
}
