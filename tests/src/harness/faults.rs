//! Telling this process where to die: `fault store K exit|stop`, `fault point NAME N exit|stop`,
//! `fault off`. Only builds with debug assertions have anything to tell.

use super::script::Outcome;

/// Arms or disarms. `fault off` answers how many shared stores were counted.
#[cfg(debug_assertions)]
pub(super) fn arm(words: &[&str]) -> Outcome {
    use onecopy_shm::fault::{self, Act};
    let act = |word: &str| match word {
        "exit" => Ok(Act::Exit),
        "stop" => Ok(Act::Stop),
        other => Err(format!("unknown act {other:?}")),
    };
    let number = |word: &str| word.parse::<u64>().map_err(|error| format!("{word:?}: {error}"));
    match *words {
        ["store", count, how] => fault::at_store(number(count)?, act(how)?),
        ["point", name, hit, how] => fault::at_point(name, number(hit)?, act(how)?),
        ["off"] => return Ok(fault::off().to_string()),
        _ => return Err(format!("unknown fault {words:?}")),
    }
    Ok(String::new())
}

#[cfg(not(debug_assertions))]
pub(super) fn arm(_words: &[&str]) -> Outcome {
    Err("this build has no crash points".to_owned())
}
