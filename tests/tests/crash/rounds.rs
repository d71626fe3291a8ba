//! Which of many places to die at.

use std::collections::BTreeSet;

/// Whether no place is to be left out.
pub fn all() -> bool {
    std::env::var_os("ONECOPY_CRASH_ROUNDS").is_some_and(|wanted| wanted == "all")
}

/// The numbers from 1 to `count`, or `most` of them: the first and last ones, where operations begin
/// and end, and others at even distances.
pub fn of(count: u64, most: u64) -> Vec<u64> {
    sample(count, if all() { count } else { most })
}

/// The same, whether or not any place may be left out.
pub fn sample(count: u64, most: u64) -> Vec<u64> {
    if count <= most {
        return (1..=count).collect();
    }
    let edge = most / 4;
    let middle =
        (1..=most - 2 * edge).map(|step| edge + step * (count - 2 * edge) / (most - 2 * edge));
    let picked: BTreeSet<u64> = (1..=edge).chain(count - edge + 1..=count).chain(middle).collect();
    picked.into_iter().collect()
}
