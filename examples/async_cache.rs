//! The cache in a tokio runtime: many tasks share one guest, and each request is a future.
//!
//! ```text
//! cargo run -p onecopy-examples --features tokio --bin async-cache
//! ```

use onecopy::cache::{AsyncCache, CacheOptions, PublishOptions};
use onecopy::key::Key;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_transport::guest::GuestOptions;
use onecopy_transport::host::{Host, HostOptions};
use std::error::Error;
use std::path::PathBuf;

/// Tasks, each with a block of its own.
const TASKS: u64 = 64;
/// Bytes of a block.
const BLOCK_BYTES: usize = 4 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let segment = PathBuf::from(format!("/dev/shm/onecopy-async-{}", std::process::id()));
    let mut options = HostOptions::new(&segment);
    options.pool_bytes = 16 << 20;
    options.pool_bytes_max = 16 << 20;
    options.remove_on_leave = true;
    let host = Host::start(options, CacheService::new(CacheServiceOptions::default()))?;
    let handle = host.handle();
    let serving = std::thread::spawn(move || host.serve());

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let used = runtime.block_on(use_cache(segment));
    handle.leave()?;
    serving.join().map_err(|_| "the host's thread panicked")??;
    used.map_err(|error| error as Box<dyn Error>)
}

async fn use_cache(segment: PathBuf) -> Result<(), Box<dyn Error + Send + Sync>> {
    let cache = AsyncCache::attach(CacheOptions::new(GuestOptions::at(segment))).await?;
    let tasks: Vec<_> =
        (0..TASKS).map(|number| tokio::spawn(work(cache.clone(), number))).collect();
    for task in tasks {
        task.await??;
    }
    println!("{TASKS} tasks wrote a block each and read it in place");
    Ok(())
}

async fn work(cache: AsyncCache, number: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = Key::from_text(&format!("task {number}"));
    let mut slot = cache.reserve(BLOCK_BYTES as u64).await?;
    slot[..BLOCK_BYTES].fill(number as u8);
    cache.publish(slot, &key, BLOCK_BYTES as u64, PublishOptions::default()).await?;
    let block = cache.lookup(&key).await?.ok_or("the block was evicted")?;
    assert!(block.iter().all(|byte| *byte == number as u8));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        super::main().unwrap();
    }
}
