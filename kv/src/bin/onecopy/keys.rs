//! `put`, `get`, `exists` and `rm`: one block by its key.

use crate::cli::{GetArgs, KeyArgs, PutArgs, RmArgs};
use crate::exit::Failure;
use crate::guest::with_cache;
use crate::out;
use onecopy::cache::{Cache, PublishOptions, Published};
use onecopy::error::LookupError;
use onecopy::key::Key;
use onecopy::size::ByteSize;
use onecopy_transport::format::Role;
use onecopy_transport::guest::LeaseError;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

// r[impl cli.blocks]
pub fn put(args: &PutArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    let options = PublishOptions {
        ttl: args.ttl.map(|seconds| Duration::from_secs(seconds.into())),
        checksum: args.checksum,
    };
    let (published, bytes) =
        with_cache(&args.key.common, Role::Writer, |cache| match &args.input {
            Some(path) => put_file(cache, &key, path, options),
            None => put_input(cache, &key, options),
        })?;
    let is_new = published.is_first();
    if args.key.common.json {
        return out::line(json!({ "key": key.to_string(), "bytes": bytes, "new": is_new }));
    }
    if !is_new {
        out::note("there is a block under this key already; it stays as it is");
    }
    Ok(())
}

/// Standard input is of unknown size: it is read whole and copied into a slot.
fn put_input(
    cache: &Cache,
    key: &Key,
    options: PublishOptions,
) -> Result<(Published, u64), Failure> {
    let max = slot_bytes_max(cache);
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock().take(max.saturating_add(1));
    let read = input.read_to_end(&mut bytes);
    read.map_err(|error| Failure::file("standard input", "read", &error))?;
    let length_bytes = bytes.len() as u64;
    if length_bytes > max {
        return Err(too_large(&format!("standard input has more than {max} bytes"), max));
    }
    Ok((cache.store_with(key, &bytes, options)?, length_bytes))
}

/// A file is read straight into the slot.
fn put_file(
    cache: &Cache,
    key: &Key,
    path: &Path,
    options: PublishOptions,
) -> Result<(Published, u64), Failure> {
    let name = path.display().to_string();
    let failure = |error| Failure::file(&name, "read", &error);
    let mut file = File::open(path).map_err(failure)?;
    let metadata = file.metadata().map_err(failure)?;
    if !metadata.is_file() {
        return Err(Failure::Refused(format!("{name} is no regular file; pipe it in instead")));
    }
    let (length_bytes, max) = (metadata.len(), slot_bytes_max(cache));
    if length_bytes > max {
        return Err(too_large(&format!("{name} has {length_bytes} bytes"), max));
    }
    let mut fill = cache.reserve(length_bytes)?;
    let room = usize::try_from(length_bytes).ok().and_then(|length| fill.get_mut(..length));
    file.read_exact(room.unwrap_or_default()).map_err(failure)?;
    Ok((fill.publish(key, length_bytes, options)?, length_bytes))
}

fn slot_bytes_max(cache: &Cache) -> u64 {
    cache.guest().geometry().classes.last().copied().unwrap_or(0)
}

fn too_large(what: &str, max: u64) -> Failure {
    let max = ByteSize::from_bytes(max);
    Failure::Refused(format!(
        "{what}, the largest block of this segment is {max} (serve --slot-max sets it for a new one)"
    ))
}

pub fn get(args: &GetArgs) -> Result<(), Failure> {
    let common = &args.key.common;
    if common.json && args.output.is_none() {
        return Err(Failure::Usage(
            "--json needs --output FILE: without it the block itself goes to standard output"
                .into(),
        ));
    }
    let key = key(&args.key)?;
    let found = with_cache(common, Role::Reader, |cache| {
        let Some(block) = cache.with_verify(args.verify).lookup(&key)? else { return Ok(None) };
        match &args.output {
            Some(path) => write_file(path, &block)?,
            None => out::bytes(&block)?,
        }
        block.check_intact().map_err(LeaseError::Torn).map_err(LookupError::Lease)?;
        Ok(Some(block.len()))
    })?;
    if common.json {
        let bytes = found.unwrap_or(0);
        out::line(json!({ "key": key.to_string(), "found": found.is_some(), "bytes": bytes }))?;
    }
    found.map(|_| ()).ok_or_else(|| not_there(&args.key))
}

pub fn exists(args: &KeyArgs) -> Result<(), Failure> {
    let key = key(args)?;
    let found = with_cache(&args.common, Role::Reader, |cache| Ok(cache.exists(&key)?))?;
    if args.common.json {
        out::line(json!({ "key": key.to_string(), "exists": found }))?;
    }
    // The exit code is the answer; nobody waits for words.
    if found { Ok(()) } else { Err(Failure::NotThere(None)) }
}

pub fn rm(args: &RmArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    let deleted = with_cache(&args.key.common, Role::Writer, |cache| Ok(cache.delete(&key)?))?;
    if args.key.common.json {
        out::line(json!({ "key": key.to_string(), "deleted": deleted }))?;
    }
    if deleted { Ok(()) } else { Err(not_there(&args.key)) }
}

fn not_there(args: &KeyArgs) -> Failure {
    Failure::NotThere(Some(format!("there is no block under the key {:?}", args.key)))
}

fn key(args: &KeyArgs) -> Result<Key, Failure> {
    if args.hex {
        return args.key.parse().map_err(Failure::usage);
    }
    Ok(Key::from_text(&args.key))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::write(path, bytes);
    written.map_err(|error| Failure::file(&path.display().to_string(), "written", &error))
}
