//! `inspect`, live and dead.

use crate::rig::{Host, Space, call, names};
use serde_json::json;

// r[verify cli.inspect]
#[test]
fn a_segment_is_shown_and_audited_with_and_without_a_host() {
    let space = Space::new();
    let segment = space.join("segment");
    let host = Host::start(&segment, &[]);
    host.put("a", b"hello").done();
    host.put("b", &vec![1; 70_000]).done();
    let live = host.guest(&["inspect", "--json"]);
    let live = live.done().json();
    assert_eq!((&live["live"], &live["audit"]), (&json!(true), &json!("clean")), "{live}");
    assert_eq!(
        (&live["slots"]["published"], &live["boot_epoch"]),
        (&json!(2), &json!(1)),
        "{live}"
    );
    let text = host.guest(&["inspect"]);
    let pid = format!("live, host is process {}", host.running.pid());
    assert!(text.done().text().contains(&pid), "{text:?}");
    host.die();
    let before = names(&segment);
    let control = std::fs::read(space.join("segment/control")).unwrap();
    let dead = call(&["inspect", "--json", "--segment", &segment]);
    let dead = dead.done().json();
    assert_eq!((&dead["live"], &dead["audit"]), (&json!(false), &json!("clean")), "{dead}");
    assert_eq!(dead["slots"]["published"], 2, "{dead}");
    assert_eq!((&dead["segment_id"], &dead["classes"]), (&live["segment_id"], &live["classes"]));
    let text = call(&["inspect", "--segment", &segment]);
    let words = ["the last one died", "2 published", "4.0 KiB", "72.0 KiB", "audit       clean"];
    for word in words {
        assert!(text.done().text().contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(names(&segment), before);
    assert!(std::fs::read(space.join("segment/control")).unwrap() == control, "it was changed");
}
