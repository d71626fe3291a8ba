use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{assert_all_done, outcome_of};
use crate::replay::board::{Supervisor, Worker};

const PLACES: u32 = 3;
const REQUESTS: u32 = 3_000;
const KILLS: u32 = 25;
const PLACE_VARIABLE: &str = "ONECOPY_TEST_BOARD_PLACE";

/// The body of the worker processes of the test below; by itself it has nothing to do.
#[test]
fn worker_process() {
    let Ok(place) = std::env::var(PLACE_VARIABLE) else { return };
    let mut worker = Worker::join(std::io::stdin(), place.parse().unwrap()).unwrap();
    while let Some(request) = worker.take() {
        worker.begin();
        worker.count_lookup(u64::from(request));
        // Most of the time is spent in the middle of requests, as it would be.
        thread::sleep(Duration::from_micros(200));
        worker.finish(request, &outcome_of(request)).unwrap();
    }
}

fn spawn(supervisor: &mut Supervisor, place: u32) -> Child {
    supervisor.start(place).unwrap();
    let board = supervisor.file().try_clone().unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "replay::board::tests::process::worker_process", "--quiet"])
        .env(PLACE_VARIABLE, place.to_string())
        .stdin(Stdio::from(board))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

// r[verify replay.board.recover]
#[test]
fn processes_that_are_killed_lose_nothing_and_count_nothing_twice() {
    let mut supervisor = Supervisor::create(PLACES, REQUESTS).unwrap();
    let mut workers: Vec<_> = (0..PLACES).map(|place| spawn(&mut supervisor, place)).collect();
    let (mut kills, mut unfinished) = (0, 0);
    while kills < KILLS && supervisor.progress().unwrap().unclaimed > 0 {
        let place = kills % PLACES;
        if supervisor.in_hand(place).is_none() {
            thread::yield_now();
            continue;
        }
        let worker = &mut workers[place as usize];
        worker.kill().unwrap();
        worker.wait().unwrap();
        kills += 1;
        unfinished += u32::from(supervisor.recover(place).unwrap().unfinished.is_some());
        *worker = spawn(&mut supervisor, place);
    }
    for (place, worker) in (0..PLACES).zip(&mut workers) {
        assert!(worker.wait().unwrap().success());
        assert_eq!(supervisor.recover(place).unwrap().unfinished, None);
    }
    println!("{kills} processes killed, {unfinished} of them in the middle of a request");
    assert!(unfinished > 0);
    assert_all_done(&supervisor);
    assert!(supervisor.lookup_latencies().unwrap().len() >= REQUESTS.into());
}
