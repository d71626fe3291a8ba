//! `demo`.

use crate::rig::{Running, call, onecopy};

// r[verify cli.demo]
#[test]
fn two_at_once_do_not_meet_and_each_shows_what_sharing_is_worth() {
    let args = ["demo", "--conversations=150", "--json"];
    let runs = [(); 2].map(|()| Running::start(&mut onecopy(&args)));
    let [first, second] = runs.map(Running::end).map(|ended| ended.done().json());
    for shown in [&first, &second] {
        let replay = &shown["replay"];
        assert_eq!(
            (&replay["mismatches"], &replay["audit"]),
            (&0.into(), &"clean".into()),
            "{shown}"
        );
        assert_eq!((&replay["guests_killed"], &replay["guests_recovered"]), (&1.into(), &1.into()));
        let (shared, private) = (&replay["hit_rate_percent"], &shown["private_hit_rate_percent"]);
        assert!(shared.as_f64() > private.as_f64().map(|private| private * 1.2), "{shown}");
        assert!(replay["grown_to_bytes"].as_u64() > replay["grown_from_bytes"].as_u64(), "{shown}");
    }
    assert_eq!(first["replay"]["references"], second["replay"]["references"]);
    assert_eq!(first["private_hit_rate_percent"], second["private_hit_rate_percent"]);
}

// r[verify cli.demo]
#[test]
fn it_ends_with_a_table_that_a_person_can_read() {
    let demo = call(&["demo", "--conversations=60", "--seed=7"]);
    let text = demo.done().text();
    let rows = [
        "lookup ",
        "publish ",
        "guests killed          1, 1 recovered",
        "cost of the kills ",
        "recovered within ",
        "pool                   grew from ",
        "audit                  clean",
        "hit rate, shared ",
        "hit rate, private ",
    ];
    for row in rows {
        assert!(text.lines().any(|line| line.starts_with(row)), "{row:?} is not in {text}");
    }
    assert!(text.contains("simulated: the same requests dealt round robin"), "{text}");
    assert_eq!(demo.stderr, "");
}
