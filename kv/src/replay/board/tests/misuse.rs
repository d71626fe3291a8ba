use std::fs::File;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tempfile::tempfile;

use super::{assert_all_done, do_all, join, outcome_of};
use crate::replay::board::layout::{self, Layout};
use crate::replay::board::memory::Memory;
use crate::replay::board::{
    BoardError, CorruptRecord, FinishError, PlaceError, Progress, Supervisor, Worker,
};

// r[verify replay.board.finish]
#[test]
fn only_who_has_a_request_can_say_that_it_is_done() {
    let mut supervisor = Supervisor::create(2, 3).unwrap();
    let mut zombie = join(&mut supervisor, 0);
    assert_eq!(zombie.take(), Some(0));
    assert_eq!(zombie.take(), Some(0), "the same until it is finished");
    let wrong = outcome_of(7);
    assert_eq!(zombie.finish(1, &wrong), Err(FinishError::NotMine { request: 1, life: 1 }));
    assert_eq!(zombie.finish(9, &wrong), Err(FinishError::NotMine { request: 9, life: 1 }));
    // Taken for dead, it comes back after its request was done by another.
    supervisor.recover(0).unwrap();
    let mut next = join(&mut supervisor, 0);
    assert_eq!(do_all(&mut next), [0, 1, 2]);
    assert_eq!(zombie.finish(0, &wrong), Err(FinishError::NotMine { request: 0, life: 1 }));
    assert_all_done(&supervisor);
}

#[test]
fn places_are_given_out_one_life_at_a_time() {
    let mut supervisor = Supervisor::create(1, 3).unwrap();
    let missing = PlaceError::Missing { place: 1, places: 1 };
    assert_eq!(supervisor.start(1), Err(missing));
    assert_eq!(supervisor.recover(1), Err(missing));
    assert_eq!(supervisor.recover(0), Err(PlaceError::Vacant { place: 0 }));
    assert_eq!(supervisor.in_hand(1), None);
    let too_early = Worker::join(supervisor.file(), 0).unwrap_err();
    assert!(matches!(too_early, BoardError::NotStarted { place: 0, places: 1 }), "{too_early}");
    let mut worker = join(&mut supervisor, 0);
    assert_eq!(supervisor.start(0), Err(PlaceError::Taken { place: 0, life: 1 }));
    let beyond = Worker::join(supervisor.file(), 1).unwrap_err();
    assert!(matches!(beyond, BoardError::NotStarted { place: 1, places: 1 }), "{beyond}");
    worker.take();
    let progress = Progress { done: 0, in_hand: 1, unclaimed: 2 };
    assert_eq!(supervisor.progress().unwrap(), progress);
    assert_eq!(worker.request_count(), 3);
}

// r[verify replay.board.open]
#[test]
fn what_is_no_board_is_refused() {
    let file = tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let unsealed = Worker::join(&file, 0).unwrap_err();
    assert!(matches!(unsealed, BoardError::System { .. }), "{unsealed}");
    let null = Worker::join(File::open("/dev/null").unwrap(), 0).unwrap_err();
    assert!(matches!(null, BoardError::System { .. }), "{null}");
    let memory = Memory::create(4096).unwrap();
    let foreign = Worker::join(memory.file(), 0).unwrap_err();
    assert!(matches!(foreign, BoardError::Foreign { magic: 0, version: 0 }), "{foreign}");
    memory.store(layout::MAGIC, layout::BOARD_MAGIC, Ordering::Relaxed);
    memory.store(layout::VERSION, 2, Ordering::Relaxed);
    let version = Worker::join(memory.file(), 0).unwrap_err();
    assert!(matches!(version, BoardError::Foreign { version: 2, .. }), "{version}");
    memory.store(layout::VERSION, layout::BOARD_VERSION, Ordering::Relaxed);
    memory.store(layout::PLACES, 1, Ordering::Relaxed);
    memory.store(layout::REQUESTS, 1 << 20, Ordering::Relaxed);
    let expected = Layout::new(1, 1 << 20).unwrap().size_bytes();
    let short = Worker::join(memory.file(), 0).unwrap_err();
    match short {
        BoardError::Size { found, expected: wanted } => {
            assert_eq!((found, wanted), (4096, expected));
        }
        other => panic!("{other}"),
    }
    let large = Supervisor::create(u32::MAX, u32::MAX).unwrap_err();
    assert!(matches!(large, BoardError::TooLarge { .. }), "{large}");
}

#[test]
fn a_damaged_state_is_told_and_not_taken_for_another() {
    let mut supervisor = Supervisor::create(1, 2).unwrap();
    let mut worker = join(&mut supervisor, 0);
    let request = worker.take().unwrap();
    for found in [1, 2, 1 << 32, (1 << 32) | 3] {
        supervisor.board.store(supervisor.board.layout.state(request), found, Ordering::Relaxed);
        let corrupt = CorruptRecord { request, found };
        assert_eq!(supervisor.progress(), Err(corrupt));
        assert_eq!(supervisor.outcomes(), Err(corrupt));
        let refused = worker.finish(request, &outcome_of(request));
        assert_eq!(refused, Err(FinishError::Corrupt(corrupt)));
    }
    let found = (1 << 32) | 3;
    assert_eq!(supervisor.recover(0), Err(PlaceError::Corrupt(CorruptRecord { request, found })));
}

#[test]
fn a_board_without_requests_is_done_at_once() {
    let mut supervisor = Supervisor::create(1, 0).unwrap();
    let mut worker = join(&mut supervisor, 0);
    assert_eq!(worker.take(), None);
    assert_eq!(supervisor.progress().unwrap(), Progress::default());
    assert_eq!(supervisor.recover(0).unwrap().unfinished, None);
}

proptest! {
    // r[verify replay.board.latency]
    #[test]
    fn latencies_of_all_workers_are_added_up(
        mut latencies in prop::collection::vec((0u32..63).prop_flat_map(|power| 0u64..1 << power), 1..200),
    ) {
        let mut supervisor = Supervisor::create(3, 0).unwrap();
        let workers: Vec<_> = (0..3).map(|place| join(&mut supervisor, place)).collect();
        for (number, &latency_ns) in latencies.iter().enumerate() {
            workers[number % 3].count_lookup(latency_ns);
            workers[(number + 1) % 3].count_publish(latency_ns / 2);
        }
        latencies.sort_unstable();
        let lookups = supervisor.lookup_latencies().unwrap();
        let publishes = supervisor.publish_latencies().unwrap();
        prop_assert_eq!(lookups.len(), latencies.len() as u64);
        prop_assert_eq!(publishes.len(), latencies.len() as u64);
        for percent in [0.0, 50.0, 99.0, 100.0] {
            let rank = ((percent / 100.0 * latencies.len() as f64).ceil() as usize).max(1);
            let exact = latencies[rank - 1];
            close(lookups.value_at_percentile(percent), exact)?;
            close(publishes.value_at_percentile(percent), exact / 2)?;
        }
    }
}

/// 1.6 % from the counts, 0.1 % from the histogram; nothing above 18 minutes is told apart.
fn close(found: u64, exact: u64) -> Result<(), TestCaseError> {
    let exact = exact.min((1 << 40) - 1);
    let difference = found.abs_diff(exact) as f64;
    prop_assert!(difference <= 1.0 + 0.018 * exact as f64, "{} {}", found, exact);
    Ok(())
}
