use super::{Access, Mapping, SIZE_BYTES_MAX};
use crate::error::MapError;

#[test]
fn a_size_of_zero_is_refused() {
    assert!(matches!(Mapping::heap(0), Err(MapError::SizeZero)));
}

// r[verify memory.heap]
#[test]
fn heap_memory_is_zeroed_and_aligned() {
    let mapping = Mapping::heap(12).unwrap();
    assert_eq!(mapping.size_bytes(), 12);
    assert_eq!(mapping.access(), Access::ReadWrite);
    assert!(mapping.base().addr().is_multiple_of(4096));
    let region = mapping.region(0, 12).unwrap();
    assert_eq!(region.read_word(0).unwrap().load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(region.read_word(8).is_err(), "only 4 bytes are left there");
}

#[test]
fn a_size_beyond_the_address_space_is_refused() {
    for size_bytes in [SIZE_BYTES_MAX + 1, u64::MAX] {
        let error = Mapping::heap(size_bytes).unwrap_err();
        assert!(matches!(error, MapError::TooLarge { size_bytes: s, .. } if s == size_bytes));
    }
}

#[cfg(not(miri))]
mod files {
    use rustix::io::Errno;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::atomic::Ordering;

    use super::super::{Access, Mapping, SIZE_BYTES_MAX};
    use crate::error::{MapError, PopulateError, RegionError};
    use crate::fork::tests::in_child;
    use crate::sys;

    fn file_of(size_bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size_bytes).unwrap();
        file
    }

    /// Maps a private page at exactly this address, if nothing is there.
    fn map_own_page(address: *mut u8) -> bool {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        #[expect(unsafe_code, reason = "only a page at a known address shows what is unmapped")]
        // SAFETY: MAP_FIXED_NOREPLACE replaces nothing that is mapped.
        let page = unsafe { libc::mmap(address.cast(), 4096, protection, flags, -1, 0) };
        page == address.cast()
    }

    /// Whether a page is mapped at this address.
    fn is_own_page(address: *mut u8) -> bool {
        #[expect(unsafe_code, reason = "asks the kernel about an address")]
        // SAFETY: without MS_INVALIDATE msync changes no memory; it fails where nothing is mapped.
        let answer = unsafe { libc::msync(address.cast(), 4096, libc::MS_ASYNC) };
        answer == 0
    }

    /// The lines of this process's map table that say where `address` is mapped.
    fn is_mapped(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let start = usize::from_str_radix(start, 16).unwrap();
            let end = usize::from_str_radix(end, 16).unwrap();
            (start..end).contains(&address)
        })
    }

    // r[verify memory.map-once]
    #[test]
    fn a_file_grows_under_its_mapping() {
        let file = file_of(4096);
        let mapping = Mapping::map(&file, 1 << 30, Access::ReadWrite).unwrap();
        assert_eq!(mapping.size_bytes(), 1 << 30);
        let base = mapping.base();
        let first = mapping.region(0, 4096).unwrap().word(0).unwrap();
        first.store(1, Ordering::Relaxed);

        file.set_len(1 << 20).unwrap();
        let late = mapping.region(1 << 16, 4096).unwrap().word(8).unwrap();
        late.store(2, Ordering::Relaxed);

        assert_eq!(mapping.base(), base);
        let other = Mapping::map(&file, 1 << 20, Access::ReadOnly).unwrap();
        let whole = other.region(0, 1 << 20).unwrap();
        assert_eq!(whole.read_word(0).unwrap().load(Ordering::Acquire), 1);
        assert_eq!(whole.read_word((1 << 16) + 8).unwrap().load(Ordering::Acquire), 2);
    }

    // r[verify memory.map-once]
    #[test]
    fn a_size_need_not_be_whole_pages() {
        let mapping = Mapping::map(file_of(5000), 5000, Access::ReadWrite).unwrap();
        assert_eq!(mapping.size_bytes(), 5000);
        mapping.region(4096, 904).unwrap().word(896).unwrap().store(7, Ordering::Relaxed);
        assert!(mapping.region(4096, 905).is_err());
    }

    // r[verify memory.read-only]
    #[test]
    fn a_read_only_mapping_lends_no_writable_view() {
        let file = file_of(4096);
        let mapping = Mapping::map(&file, 4096, Access::ReadOnly).unwrap();
        let region = mapping.region(64, 128).unwrap();
        assert_eq!(region.word(8).unwrap_err(), RegionError::ReadOnly { offset: 8 });
        assert_eq!(region.words(8, 2).unwrap_err(), RegionError::ReadOnly { offset: 8 });
        assert_eq!(region.subregion(8, 8).unwrap().access(), Access::ReadOnly);
        #[expect(unsafe_code, reason = "the call has to be refused")]
        // SAFETY: nobody else knows this file.
        let refused = unsafe { region.bytes_mut(8, 8) };
        assert_eq!(refused.unwrap_err(), RegionError::ReadOnly { offset: 8 });
    }

    // r[verify memory.read-only-load]
    #[test]
    fn every_ordering_loads_from_read_only_memory() {
        let mut file = file_of(4096);
        file.write_all(&0x0102_0304_0506_0708_u64.to_ne_bytes()).unwrap();
        let mapping = Mapping::map(&file, 4096, Access::ReadOnly).unwrap();
        let region = mapping.region(0, 64).unwrap();
        for ordering in [Ordering::Relaxed, Ordering::Acquire, Ordering::SeqCst, Ordering::Release]
        {
            assert_eq!(region.read_word(0).unwrap().load(ordering), 0x0102_0304_0506_0708);
            assert_eq!(
                region.read_words(0, 1).unwrap().load(0, ordering),
                Ok(0x0102_0304_0506_0708)
            );
        }
    }

    // r[verify memory.drop]
    #[test]
    fn the_last_owner_unmaps() {
        let mapping = Mapping::map(file_of(4096), 1 << 20, Access::ReadWrite).unwrap();
        let region = mapping.region(0, 4096).unwrap();
        let last = mapping.base().addr() + (1 << 20) - 1;
        drop(mapping);
        let word = region.word(0).unwrap();
        drop(region);
        word.store(3, Ordering::Relaxed);
        assert!(is_mapped(last));
        drop(word);
        // Another test may map something there at once, but not likely in every round.
        let gone = (0..100).any(|_| {
            let again = Mapping::map(file_of(4096), 1 << 20, Access::ReadWrite).unwrap();
            let last = again.base().addr() + (1 << 20) - 1;
            drop(again);
            !is_mapped(last)
        });
        assert!(gone);
    }

    // r[verify memory.drop]
    #[test]
    fn a_forked_child_unmaps_nothing_of_its_own() {
        let mapping = Mapping::map(file_of(4096), 1 << 20, Access::ReadWrite).unwrap();
        let base = mapping.base();
        let code = in_child(move || {
            // The range is free here, so the child may have something of its own there.
            if !map_own_page(base) {
                return 9;
            }
            drop(mapping);
            i32::from(is_own_page(base))
        });
        assert_eq!(code, 1, "the child's page is still there");
    }

    // r[verify memory.map-errors]
    #[test]
    fn a_read_only_descriptor_is_not_mapped_writable() {
        let named = tempfile::NamedTempFile::new().unwrap();
        named.as_file().set_len(4096).unwrap();
        let reader = OpenOptions::new().read(true).open(named.path()).unwrap();
        assert!(Mapping::map(&reader, 4096, Access::ReadOnly).is_ok());
        let error = Mapping::map(&reader, 4096, Access::ReadWrite).unwrap_err();
        assert!(matches!(error, MapError::Refused { access: Access::ReadWrite, .. }), "{error}");
        let writer = OpenOptions::new().write(true).open(named.path()).unwrap();
        let error = Mapping::map(&writer, 4096, Access::ReadOnly).unwrap_err();
        assert!(matches!(error, MapError::Refused { access: Access::ReadOnly, .. }), "{error}");
    }

    // r[verify memory.map-errors]
    #[test]
    fn what_has_no_bytes_is_not_mapped() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let directory: OwnedFd = File::open("/tmp").unwrap().into();
        for descriptor in [&reader, &directory] {
            let error = Mapping::map(descriptor.as_fd(), 4096, Access::ReadOnly).unwrap_err();
            assert!(matches!(error, MapError::NotMappable { .. }), "{error}");
        }
    }

    // r[verify memory.map-errors]
    #[test]
    fn impossible_sizes_are_refused() {
        let file = file_of(4096);
        let map = |size_bytes| Mapping::map(&file, size_bytes, Access::ReadOnly).unwrap_err();
        assert!(matches!(map(0), MapError::SizeZero));
        assert!(matches!(map(u64::MAX), MapError::TooLarge { .. }));
        assert!(matches!(map(SIZE_BYTES_MAX), MapError::TooLarge { .. }), "rounding up");
        let error = map(1 << 62);
        assert!(matches!(error, MapError::Kernel { size_bytes, .. } if size_bytes == 1 << 62));
    }

    // r[verify memory.populate]
    #[test]
    fn populating_makes_memory_real_and_keeps_bytes() {
        let file = file_of(1 << 20);
        let mapping = Mapping::map(&file, 2 << 20, Access::ReadWrite).unwrap();
        let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        mapping.region(4096, 8).unwrap().word(0).unwrap().store(9, Ordering::Relaxed);
        let before = blocks();
        let region = mapping.region(4104, 500_000).unwrap();
        sys::populate_write(&region).unwrap();
        assert!(blocks() >= before + 400_000 / 512, "{before} blocks before, {} after", blocks());
        let first = mapping.region(4096, 8).unwrap().read_word(0).unwrap();
        assert_eq!(first.load(Ordering::Relaxed), 9);

        let beyond = mapping.region(1 << 20, 4096).unwrap();
        let error = sys::populate_write(&beyond).unwrap_err();
        assert!(matches!(error, PopulateError::BeyondFile { size_bytes: 4096, .. }), "{error}");
        let reader = Mapping::map(&file, 1 << 20, Access::ReadOnly).unwrap();
        let error = sys::populate_write(&reader.region(0, 4096).unwrap()).unwrap_err();
        assert!(matches!(error, PopulateError::ReadOnly { size_bytes: 4096 }), "{error}");
        sys::populate_write(&Mapping::heap(64).unwrap().region(0, 64).unwrap()).unwrap();
    }

    // r[verify memory.populate]
    #[test]
    fn reading_makes_memory_real_as_well_and_maps_it_for_stores() {
        assert!(sys::can_populate());
        // A disk has no blocks for what is only read.
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(1 << 20).unwrap();
        let mapping = Mapping::map(&file, 1 << 20, Access::ReadWrite).unwrap();
        let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
        let reader = Mapping::map(&file, 2 << 20, Access::ReadOnly).unwrap();
        sys::populate_read(&reader.region(0, 1 << 20).unwrap()).unwrap();
        assert_eq!(blocks(), (1 << 20) / 512);
        let beyond = sys::populate_read(&reader.region(0, 2 << 20).unwrap()).unwrap_err();
        assert_eq!(beyond.errno(), Errno::NOSPC);
        let region = mapping.region(0, 1 << 20).unwrap();
        sys::populate_read(&region).unwrap();
        region.word(4096).unwrap().store(9, Ordering::Relaxed);
        let read = reader.region(4096, 8).unwrap().read_word(0).unwrap();
        assert_eq!(read.load(Ordering::Relaxed), 9);
    }

    // r[verify memory.huge]
    #[test]
    fn huge_pages_are_asked_for_without_changing_a_byte() {
        let file = file_of(4 << 20);
        let mapping = Mapping::map(&file, 4 << 20, Access::ReadWrite).unwrap();
        mapping.region(0, 8).unwrap().word(0).unwrap().store(9, Ordering::Relaxed);
        match sys::advise_huge(&mapping.region(0, 4 << 20).unwrap()) {
            Err(Errno::INVAL) => return println!("skipped: this kernel has no huge pages"),
            asked => asked.unwrap(),
        }
        let start = format!("{:x}-", mapping.base().addr());
        let table = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = table.lines().skip_while(|line| !line.starts_with(&start));
        let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.contains(" hg"), "{flags}");
        let word = mapping.region(0, 8).unwrap().read_word(0).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), 9);
        sys::advise_huge(&Mapping::heap(64).unwrap().region(0, 64).unwrap()).unwrap();
    }

    // r[verify memory.map-once]
    #[test]
    fn the_kernel_knows_to_leave_it_out_of_dumps_and_children() {
        let mapping = Mapping::map(file_of(4096), 4096, Access::ReadWrite).unwrap();
        let start = format!("{:x}-", mapping.base().addr());
        let table = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = table.lines().skip_while(|line| !line.starts_with(&start));
        let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
        for flag in [" dd", " dc", " nr"] {
            assert!(flags.contains(flag), "{flag} is not in {flags}");
        }
    }
}
