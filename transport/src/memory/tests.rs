use super::*;

fn numa(text: &str) -> NumaPolicy {
    text.parse().unwrap()
}

// r[verify pool-memory.numa-text]
#[test]
fn nodes_are_read_and_written_as_the_system_does() {
    for (text, mode, bits) in [
        ("bind:0", NumaMode::Bind, 1),
        ("interleave:0,2-3", NumaMode::Interleave, 0b1101),
        ("bind:63", NumaMode::Bind, 1 << 63),
        ("interleave:0-63", NumaMode::Interleave, u64::MAX),
        ("bind:5-6,9", NumaMode::Bind, 0b10_0110_0000),
    ] {
        let policy = numa(text);
        assert_eq!((policy.mode, policy.nodes.bits()), (mode, bits), "{text}");
        assert_eq!(policy.to_string(), text);
    }
    assert_eq!(numa("interleave:all").nodes, NodeSet::ALL);
    assert_eq!(numa("bind:1,0").to_string(), "bind:0-1");
}

// r[verify pool-memory.numa-text]
#[test]
fn what_names_no_nodes_is_refused_with_what_was_found() {
    for text in ["", "0", "bind", "near:0", "Bind:0", ":0"] {
        let found = text.to_owned();
        assert_eq!(text.parse::<NumaPolicy>(), Err(ParseNumaError::Mode { found }));
    }
    for nodes in ["", "64", "1-0", "0,", "-1", "a", "0-64", "0 1"] {
        let found = nodes.to_owned();
        let refused = format!("bind:{nodes}").parse::<NumaPolicy>();
        assert_eq!(refused, Err(ParseNumaError::Nodes { found }), "{nodes:?}");
    }
    let refused = "always".parse::<HugePages>().unwrap_err();
    assert_eq!(refused.to_string(), "\"always\" is none of off, try and require");
}

// r[verify pool-memory.recorded]
#[test]
fn options_come_back_from_their_words_and_others_are_corrupt() {
    for prefault in [false, true] {
        for huge in ["off", "try", "require"] {
            for nodes in [None, Some("bind:0"), Some("interleave:0-63")] {
                let huge_pages = huge.parse::<HugePages>().unwrap();
                assert_eq!(huge_pages.to_string(), huge);
                let options = MemoryOptions { prefault, huge_pages, numa: nodes.map(numa) };
                assert_eq!(MemoryOptions::from_words(options.words()), Ok(options));
            }
        }
    }
    for words in [[6, 0, 0], [8, 0, 0], [u64::MAX, 0, 0], [0, 3, 1], [0, 0, 1]] {
        assert!(MemoryOptions::from_words(words).is_err(), "{words:?}");
    }
}
