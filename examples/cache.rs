//! The cache: one guest writes a block, another reads the same bytes in place.
//!
//! Both guests and the host are threads of one program here; they might as well be three processes,
//! since a guest needs the path of the segment and nothing else.
//!
//! ```text
//! cargo run -p onecopy-examples --bin cache
//! ```

use onecopy::cache::{Cache, CacheOptions, PublishOptions};
use onecopy::key::Key;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::host::{Host, HostOptions};
use std::error::Error;
use std::path::PathBuf;

/// Bytes of the block.
const BLOCK_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let segment = PathBuf::from(format!("/dev/shm/onecopy-example-{}", std::process::id()));
    let mut options = HostOptions::new(&segment);
    options.pool_bytes = 16 << 20;
    options.pool_bytes_max = 64 << 20;
    options.remove_on_leave = true;
    let host = Host::start(options, CacheService::new(CacheServiceOptions::default()))?;
    let handle = host.handle();
    let serving = std::thread::spawn(move || host.serve());

    let used = write_and_read(segment);
    handle.leave()?;
    serving.join().map_err(|_| "the host's thread panicked")??;
    used
}

fn write_and_read(segment: PathBuf) -> Result<(), Box<dyn Error>> {
    let attach = || Cache::attach(CacheOptions::new(GuestOptions::at(&segment)));
    let (writer, reader) = (attach()?, attach()?);
    let key = Key::from_text("prompt 1, layer 0");
    assert!(reader.lookup(&key)?.is_none());

    // A slot in shared memory: filled in place, and never moved again.
    let mut slot = writer.reserve(BLOCK_BYTES as u64)?;
    slot[..BLOCK_BYTES].fill(7);
    slot.publish(&key, BLOCK_BYTES as u64, PublishOptions::default())?;

    // The same bytes. As long as the block is held they stay, whatever is deleted or evicted.
    let block = reader.lookup(&key)?.ok_or("the block was evicted")?;
    writer.delete(&key)?;
    assert!(reader.lookup(&key)?.is_none());
    assert!(block.iter().all(|byte| *byte == 7));
    println!("{} bytes of block {} were read where they were written", block.len(), block.key());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        super::main().unwrap();
    }
}
