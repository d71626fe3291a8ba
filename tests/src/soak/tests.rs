//! What a soak rests on, without processes.

use super::blocks::{LENGTH_MAX, Name};
use super::board::{Board, Count, HostCount, Order};
use super::journal::{Fate, Journal};
use super::point::Point;
use super::supervisor::Plan;
use super::tally::{Tally, Victim};
use tempfile::TempDir;

fn board() -> (TempDir, Board) {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::create(dir.path(), 7, 3, 4).unwrap();
    (dir, board)
}

// r[verify soak.payload]
#[test]
fn every_wrong_byte_of_a_block_is_counted() {
    let names = (0..200).map(|number| Name { number, version: number % 3 });
    let mut lengths = Vec::new();
    for name in names {
        let length = name.length(7);
        assert!(length <= LENGTH_MAX);
        lengths.push(length);
        let mut bytes = vec![0; length as usize];
        name.fill(7, &mut bytes);
        assert_eq!(name.wrong_bytes(7, &bytes), 0);
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0x80;
            assert_eq!(name.wrong_bytes(7, &bytes), 1);
            assert!(name.wrong_bytes(7, &bytes[1..]) > 1, "{name:?}");
            let other = Name { version: name.version + 1, ..name };
            assert!(other.wrong_bytes(7, &bytes) > 0, "{name:?}");
        }
        bytes.push(0);
        assert!(name.wrong_bytes(7, &bytes) > 0);
    }
    assert!(lengths.contains(&0) && lengths.contains(&LENGTH_MAX), "{lengths:?}");
}

// r[verify soak.journal]
#[test]
fn a_change_is_open_from_before_its_request_to_after_its_answer() {
    let (_dir, board) = board();
    let journal = Journal::new(&board, 2);
    let fresh = journal.state(3);
    assert_eq!((fresh.must_be_there(), fresh.version), (Some(false), 0));
    journal.begin(3, Fate::Publishing, 5);
    let begun = journal.state(3);
    assert_eq!((begun.must_be_there(), journal.era(3)), (None, board.era()));
    journal.settle(3, Fate::Published);
    let published = journal.state(3);
    assert_eq!((published.must_be_there(), published.version), (Some(true), 5));
    board.next_era();
    journal.begin(3, Fate::Deleting, 5);
    assert_eq!((journal.state(3).must_be_there(), journal.era(3)), (None, 2));
    // Published again, and yet another state: who asked meanwhile cannot tell what the answer is.
    journal.settle(3, Fate::Published);
    assert_ne!(journal.state(3), published);
    assert_eq!(journal.state(2), fresh);
    assert_eq!(Journal::new(&board, 1).state(3), fresh);
}

#[test]
fn the_board_tells_every_process_the_same() {
    let (dir, board) = board();
    let other = Board::open(dir.path()).unwrap();
    assert_eq!((other.places(), other.keys(), other.run()), (3, 4, 7));
    for order in [Order::Pause, Order::Verify, Order::End, Order::Work] {
        let number = board.give(order);
        assert_eq!((other.ordered().number, other.ordered().order), (number, order));
    }
    for (index, point) in Point::ALL.into_iter().enumerate() {
        other.set_point(1, point);
        other.set_host_point(point);
        let (found, since_ns) = board.point(1);
        assert_eq!((found, found as usize), (point, index));
        assert!(since_ns > 0 && since_ns <= super::board::now_ns());
        assert_eq!(board.host_point().0, point);
    }
    for (number, count) in Count::ALL.into_iter().enumerate() {
        other.add(2, count, number as u64 + 1);
        other.add(0, count, 1);
        assert_eq!(board.total(count), number as u64 + 2);
    }
    other.count_host(HostCount::Cleared);
    assert_eq!(board.host_count(HostCount::Cleared), 1);
    assert_eq!(board.host_count(HostCount::Suspected), 0);
}

// r[verify soak.seed]
#[test]
fn a_seed_gives_the_same_rounds_and_another_one_others() {
    let rounds = |seed| -> Vec<_> { (0..2000).map(|round| Plan::new(seed).round(round)).collect() };
    let first = rounds(1);
    assert_eq!(first, rounds(1));
    assert_ne!(first, rounds(2));
    let acts = |name: &str| {
        let name_of = |round: &super::supervisor::Round| format!("{:?}", round.act);
        first.iter().filter(|round| name_of(round) == name).count()
    };
    for name in ["KillGuest", "KillHost", "StopGuest", "StopHost", "LeaveHost"] {
        assert!(acts(name) > 10, "{name}: {}", acts(name));
    }
}

// r[verify soak.rounds]
#[test]
fn a_round_is_a_kill_or_a_stop_that_was_seen_to_its_end() {
    let mut tally = Tally::default();
    tally.kill(Victim::Guest, Point::Filling);
    tally.kill(Victim::Host, Point::TakingOver);
    tally.kill(Victim::Host, Point::TakingOver);
    tally.guest_stops += 1;
    tally.host_stops += 1;
    tally.stops_cut_short += 1;
    assert_eq!((tally.rounds(), tally.kills()), (5, 3));
    let json = tally.to_json(1, 2.0);
    assert_eq!(json["kills_by_point"]["host.taking_over"], 2);
    assert_eq!(json["kills_by_point"]["guest.filling"], 1);
}

// r[verify soak.exit]
#[test]
fn anything_that_is_wrong_makes_a_soak_fail() {
    assert!(Tally::default().is_clean());
    let change: [fn(&mut Tally); 4] = [
        |tally| tally.leaked_slots = 1,
        |tally| tally.hangs = 1,
        |tally| tally.audit.push("kv.index: torn".to_owned()),
        |tally| tally.failures.push("the host ended by itself".to_owned()),
    ];
    for change in change {
        let mut tally = Tally::default();
        change(&mut tally);
        assert!(!tally.is_clean(), "{tally:?}");
    }
    for count in Count::FAILURES {
        let (_dir, board) = board();
        board.add(1, count, 1);
        let mut tally = Tally::default();
        tally.add_board(&board);
        assert!(!tally.is_clean(), "{count:?}");
    }
}
