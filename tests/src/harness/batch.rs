//! Orders that are about many keys at once.

use super::key;
use super::script::Outcome;
use onecopy::cache::{Cache, PublishOptions};
use onecopy::key::Key;
use std::fmt::Debug;
use std::ops::Range;

/// Obeys `ORDER FIRST COUNT ...` for the blocks of these numbers; `None` for an unknown order.
pub(super) fn obey(
    cache: &Cache,
    order: &str,
    numbers: Range<u64>,
    length: u64,
) -> Option<Outcome> {
    let keys: Vec<Key> = numbers.clone().map(key).collect();
    Some(match order {
        "batch_store" => batch_store(cache, numbers, length),
        "batch_get" => batch_get(cache, &keys, numbers),
        "batch_prefix" => {
            cache.lookup_prefix(&keys).map(|found| found.len().to_string()).map_err(debug)
        }
        "batch_exists" => cache.exists_many(&keys).map(|found| count(&found)).map_err(debug),
        "batch_delete" => all(cache.delete_many(&keys)),
        "batch_pin" => all(cache.pin_many(&keys)),
        "batch_unpin" => all(cache.unpin_many(&keys)),
        _ => return None,
    })
}

fn batch_store(cache: &Cache, numbers: Range<u64>, length: u64) -> Outcome {
    let bytes: Vec<Vec<u8>> =
        numbers.clone().map(|number| super::payload(number, length as usize)).collect();
    let blocks: Vec<(Key, &[u8])> =
        numbers.zip(&bytes).map(|(number, bytes)| (key(number), bytes.as_slice())).collect();
    all(cache.store_many(&blocks, PublishOptions::default()))
}

fn batch_get(cache: &Cache, keys: &[Key], numbers: Range<u64>) -> Outcome {
    let found = cache.lookup_many(keys).map_err(debug)?;
    let mut blocks = 0;
    for (number, block) in numbers.zip(found) {
        let Some(block) = block else { continue };
        if !super::is_payload(number, &block) {
            return Err(format!("block {number} has a wrong byte"));
        }
        blocks += 1;
    }
    Ok(blocks.to_string())
}

fn count(found: &[bool]) -> String {
    found.iter().filter(|found| **found).count().to_string()
}

fn all<T, E: Debug>(results: Vec<Result<T, E>>) -> Outcome {
    let results: Result<Vec<T>, E> = results.into_iter().collect();
    results.map(|results| results.len().to_string()).map_err(debug)
}

fn debug(error: impl Debug) -> String {
    format!("{error:?}")
}
