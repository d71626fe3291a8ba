//! `put`, `get`, `exists` and `rm`: one block by its key.

use crate::cli::{GetArgs, KeyArgs, PutArgs};
use crate::exit::Failure;
use crate::guest::attach;
use onecopy::cache::PublishOptions;
use onecopy::error::LookupError;
use onecopy::key::Key;
use onecopy_transport::format::Role;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

pub fn put(args: &PutArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    let bytes = read_input(args.input.as_deref())?;
    let cache = attach(&args.key.common, Role::Writer)?;
    let options = PublishOptions {
        ttl: args.ttl.map(|seconds| Duration::from_secs(seconds.into())),
        checksum: args.checksum,
    };
    let published = cache.store_with(&key, &bytes, options).map_err(Failure::refused)?;
    let is_new = published.is_first();
    if args.key.common.json {
        println!("{}", json!({ "key": key.to_string(), "bytes": bytes.len(), "new": is_new }));
    } else if !is_new {
        eprintln!("onecopy: there is a block under this key already; it stays as it is");
    }
    Ok(())
}

pub fn get(args: &GetArgs) -> Result<(), Failure> {
    let key = key(&args.key)?;
    let cache = attach(&args.key.common, Role::Reader)?;
    let cache = cache.with_verify(args.verify);
    let block = cache.lookup(&key).map_err(lookup_failure)?.ok_or(Failure::NotThere)?;
    match &args.output {
        Some(path) => write_file(path, &block),
        None => write_output(&block),
    }
}

pub fn exists(args: &KeyArgs) -> Result<(), Failure> {
    let key = key(args)?;
    let found = attach(&args.common, Role::Reader)?.exists(&key).map_err(Failure::refused)?;
    if args.common.json {
        println!("{}", json!({ "key": key.to_string(), "exists": found }));
    }
    if found { Ok(()) } else { Err(Failure::NotThere) }
}

pub fn rm(args: &KeyArgs) -> Result<(), Failure> {
    let key = key(args)?;
    let deleted = attach(&args.common, Role::Writer)?.delete(&key).map_err(Failure::refused)?;
    if args.common.json {
        println!("{}", json!({ "key": key.to_string(), "deleted": deleted }));
    }
    if deleted { Ok(()) } else { Err(Failure::NotThere) }
}

fn key(args: &KeyArgs) -> Result<Key, Failure> {
    if args.hex {
        return args.key.parse().map_err(Failure::refused);
    }
    Ok(Key::from_text(&args.key))
}

fn lookup_failure(error: LookupError) -> Failure {
    match error {
        LookupError::Corrupt(_) | LookupError::WrongKey { .. } => {
            Failure::WrongData(Failure::text(&error))
        }
        other => Failure::refused(other),
    }
}

fn read_input(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = match path {
        Some(path) => File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
        None => io::stdin().lock().read_to_end(&mut bytes),
    };
    let name = path.map_or("standard input".to_owned(), |path| path.display().to_string());
    read.map_err(|error| Failure::Refused(format!("{name} could not be read: {error}")))?;
    Ok(bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::write(path, bytes);
    let failure = |error| format!("{} could not be written: {error}", path.display());
    written.map_err(|error| Failure::Refused(failure(error)))
}

fn write_output(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Refused(format!("the output could not be written: {error}"))),
        Ok(()) => Ok(()),
    }
}
