//! Two guests of one cache: one stores, the other reads the same bytes in place.
//!
//! Start a host first (`onecopy serve --segment DIR`), then `cargo run --example share -- DIR`.

use onecopy::cache::{Cache, CacheOptions, PublishOptions};
use onecopy::key::Key;
use onecopy_transport::format::Role;
use onecopy_transport::guest::GuestOptions;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let segment = std::env::args().nth(1).ok_or("usage: share SEGMENT-DIRECTORY")?;
    let writer = Cache::attach(CacheOptions::new(GuestOptions::at(&segment)))?;
    let reader = GuestOptions { role: Role::Reader, ..GuestOptions::at(&segment) };
    let reader = Cache::attach(CacheOptions::new(reader))?;

    // Reserve, fill in place, publish: the bytes are written once.
    let key = Key::from_text("prompt/0");
    let mut fill = writer.reserve(16 << 10)?;
    fill.fill(7);
    let options = PublishOptions { ttl: Some(Duration::from_secs(60)), checksum: true };
    let published = fill.publish(&key, 16 << 10, options)?;
    println!("published: {published:?}");

    // Whoever looks the key up reads those bytes where they are, for as long as it holds the block.
    if let Some(block) = reader.lookup(&key)? {
        reader.verify(&block)?;
        println!("found {} bytes of {} at {:p}", block.len(), block.key(), block.as_ptr());
    }
    println!("{:?}", reader.stats()?);
    writer.delete(&key)?;
    Ok(())
}
