use super::*;
use std::sync::mpsc::channel;

// r[verify pool-memory.old-kernel]
#[test]
fn a_kernel_that_cannot_populate_is_asked_for_nothing_that_needs_it() {
    let asked =
        |prefault, huge_pages| without_populate(MemoryOptions { prefault, huge_pages, numa: None });
    let plain = MemoryOptions::default();
    assert_eq!(asked(false, HugePages::Off), Ok(plain));
    assert_eq!(asked(false, HugePages::Try), Ok(plain));
    for (prefault, huge_pages) in
        [(false, HugePages::Require), (true, HugePages::Off), (true, HugePages::Try)]
    {
        assert_eq!(asked(prefault, huge_pages), Err(MemoryError::NoPopulate));
    }
    let said = MemoryError::NoPopulate.to_string();
    assert!(said.contains("--prefault") && said.contains("5.14"), "{said}");
}

// r[verify pool-memory.progress]
#[test]
fn what_is_told_of_a_start_grows_to_all_of_it_and_no_further() {
    let (tell, told) = channel();
    let mut options = HostOptions::new("segment");
    options.events = Some(tell);
    let mut plan = MemoryPlan::new(&options).unwrap();
    plan.announce(100);
    for bytes in [64, 64] {
        plan.tell(bytes);
    }
    plan.done();
    let reached: Vec<(u64, u64)> = told
        .try_iter()
        .filter_map(|event| match event {
            HostEvent::Reserved { reached_bytes, total_bytes } => {
                Some((reached_bytes, total_bytes))
            }
            _ => None,
        })
        .collect();
    assert_eq!(reached, [(64, 100), (100, 100), (100, 100)]);
}
