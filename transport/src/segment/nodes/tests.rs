use super::*;
use crate::segment::AreaFile;
use crate::segment::tests::Scratch;

fn numa(text: &str) -> NumaPolicy {
    text.parse().unwrap()
}

// r[verify pool-memory.numa-refused]
#[test]
fn nodes_are_those_with_memory_and_all_means_each_of_them() {
    let there: NodeSet = "0-1,4".parse().unwrap();
    let resolved = |text: &str| resolve_among(numa(text), there);
    assert_eq!(resolved("interleave:all"), Ok(numa("interleave:0-1,4")));
    assert_eq!(resolved("bind:4"), Ok(numa("bind:4")));
    let refused = resolved("bind:1-3").unwrap_err();
    let missing = "2-3".parse().unwrap();
    assert_eq!(refused, NumaError::NoSuchNode { missing, there });
    let said = refused.to_string();
    assert!(said.contains("no memory node 2-3") && said.contains("says 0-1,4"), "{said}");
}

// r[verify pool-memory.numa-refused]
#[test]
fn what_does_not_move_with_a_policy_is_refused() {
    let scratch = Scratch::on_tmpfs();
    let (directory, _lock) = scratch.locked();
    let file = directory.create_file(AreaFile::Pool).unwrap();
    let backing = Backing::detect(&file, &scratch.file("pool")).unwrap();
    assert_eq!(check_placeable(&backing), Ok(()));
    let device = Backing::fixed_for_tests(8192);
    let refused = check_placeable(&device).unwrap_err();
    let (path, kind) = (device.path().to_owned(), BackingKind::Devdax);
    assert_eq!(refused, NumaError::Kind { path, kind });
    // The kernel's own refusal has a type, too.
    let file = std::fs::File::from(file);
    file.set_len(4096).unwrap();
    match place(&file, &backing, 4096, Some(numa("bind:63"))) {
        Err(NumaError::Refused { policy, .. }) => assert_eq!(policy, "bind:63"),
        Err(NumaError::Forbidden { policy, source, .. }) => {
            println!("skipped: placing memory by {policy} is not permitted here: {source}");
        }
        other => panic!("{other:?}"),
    }
}

// r[verify pool-memory.numa-refused]
#[test]
fn who_may_not_place_memory_is_told_what_that_takes() {
    let device = Backing::fixed_for_tests(8192);
    let said = refused_nodes(&device, Some(numa("bind:0")), Errno::PERM).to_string();
    assert!(said.contains("bind:0") && said.contains("CAP_SYS_NICE"), "{said}");
    let said = refused_nodes(&device, None, Errno::NOMEM).to_string();
    assert!(said.contains("default") && !said.contains("CAP_SYS_NICE"), "{said}");
}
