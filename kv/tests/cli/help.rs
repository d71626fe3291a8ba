//! `--help` and `--version`.

use crate::rig::call;

const COMMANDS: [&str; 12] = [
    "serve", "destroy", "put", "get", "exists", "rm", "ping", "stat", "inspect", "peers", "replay",
    "demo",
];

// r[verify cli.help]
#[test]
fn help_names_every_command_the_units_and_the_exit_codes() {
    let help = call(&["--help"]);
    let text = help.done().text();
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not in {text}");
    }
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "] {
        assert!(text.contains(&format!("\n  {code}")), "exit code {code} is not in {text}");
    }
    for word in ["powers of 1024", "RUST_LOG", "--json", "onecopy demo"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(!text.contains("replay-guest"), "{text}");
    assert!(call(&["--version"]).done().text().starts_with("onecopy 0."));
}

// r[verify cli.help]
#[test]
fn help_of_a_command_explains_each_flag_and_its_default() {
    for command in COMMANDS {
        let help = call(&[command, "--help"]);
        let text = help.done().text();
        // The line of each flag goes on with what it means, or the next one does.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let flag = line.trim_start();
            if flag.starts_with("--") || flag.starts_with("-") && flag.contains(", --") {
                let next = lines.peek().copied().unwrap_or_default();
                let explained = flag.contains("  ") || next.starts_with("         ");
                assert!(explained, "{command}: {line:?} is not explained");
            }
        }
    }
    let word_of = |command: &str, words: &[&str]| {
        let help = call(&[command, "--help"]);
        let text = help.done().text().split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(text.contains(word), "{command}: {word:?} is not in {text}");
        }
    };
    let serve = [
        "[env: ONECOPY_SEGMENT=]",
        "[env: ONECOPY_SIZE=] [default: 1G]",
        "[env: ONECOPY_SIZE_MAX=] [default: 8G]",
        "[env: ONECOPY_POOL=]",
        "[env: ONECOPY_POLICY=] [default: lru]",
        "a power of two from 64 to 2M",
        "1 to 2048",
    ];
    word_of("serve", &serve);
    word_of("get", &["[env: ONECOPY_TIMEOUT=] [default: 10]", "0.001 to 86400", "--json needs"]);
    word_of("replay", &["[env: ONECOPY_TRACE=]", "their flags conflict with it", "1 to 64"]);
    word_of("destroy", &["refused"]);
}
