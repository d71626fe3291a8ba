//! iceoryx2: a process that owns the blocks answers requests with samples that it loans, one to each
//! block; a put is a sample that is published, and acknowledged by whoever subscribed.
//!
//! One service to each size of blocks, as a service reserves memory for the largest it may carry.

pub(crate) mod owner;
mod services;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hint::spin_loop;
use std::path::Path;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use iceoryx2::prelude::{Node, ipc};
use zerocopy::IntoBytes;

pub(crate) use self::services::Names;
use self::services::{Asking, Handing, Told};
use super::Subject;
use crate::content::{Content, WrongContent};
use crate::error::CompareError;
use crate::orders::Gets;
use crate::picks::Pick;

const PATIENCE: Duration = Duration::from_secs(30);
/// Looks between two looks at the clock.
const LOOKS: u32 = 4096;

/// A process that asks for blocks and publishes them.
pub(crate) struct Iceoryx {
    node: Node<ipc::Service>,
    asking: BTreeMap<u64, Asking>,
    handing: BTreeMap<u64, Handing>,
}

impl Iceoryx {
    /// Joins those that use `directory`.
    pub(crate) fn join(directory: &Path) -> Result<Iceoryx, CompareError> {
        let node = Names::of(directory).node()?;
        Ok(Iceoryx { node, asking: BTreeMap::new(), handing: BTreeMap::new() })
    }
}

impl Subject for Iceoryx {
    const REPLACES: bool = true;

    fn get(
        &mut self,
        gets: &Gets,
        picks: &[Pick],
        mut look: impl FnMut(&Pick, &[u8]) -> Result<(), WrongContent>,
    ) -> Result<(), CompareError> {
        let asking = match self.asking.entry(gets.size_bytes) {
            Entry::Occupied(asking) => asking.into_mut(),
            Entry::Vacant(place) => place.insert(services::asking(&self.node, gets.size_bytes)?),
        };
        let request = asking.port.loan_slice_uninit(picks.len()).told("loan a request")?;
        let request = request.write_from_fn(|index| picks[index].content.number);
        let pending = request.send().told("send a request")?;
        for pick in picks {
            let response = poll(gets.yields, || pending.receive().told("receive a response"))?;
            look(pick, response.payload().as_bytes())?;
        }
        Ok(())
    }

    fn put(&mut self, content: Content, yields: bool) -> Result<(), CompareError> {
        let handing = match self.handing.entry(content.size_bytes) {
            Entry::Occupied(handing) => handing.into_mut(),
            Entry::Vacant(place) => {
                place.insert(services::handing(&self.node, content.size_bytes)?)
            }
        };
        let words = content.word_count() as usize;
        let sample = handing.blocks.loan_slice_uninit(words).told("loan a sample")?;
        let sample = sample.write_from_fn(|index| content.word(index as u64));
        sample.send().told("publish a sample")?;
        let seen = poll(yields, || handing.seen.receive().told("receive an acknowledgement"))?;
        let (found, expected) = (*seen, content.ends());
        if found == expected {
            return Ok(());
        }
        Err(WrongContent::Sum { number: content.number, found, expected }.into())
    }

    /// Whoever subscribed has read both ends of every sample, and gone on: there is nothing to get.
    fn check_put(&mut self, _gets: &Gets, _content: Content) -> Result<(), CompareError> {
        Ok(())
    }
}

/// Looks until there is something. iceoryx2 has no wake-up of its own for requests and samples; the
/// shortest wait is to look for them.
fn poll<T>(
    yields: bool,
    mut look: impl FnMut() -> Result<Option<T>, CompareError>,
) -> Result<T, CompareError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for _ in 0..LOOKS {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if yields { yield_now() } else { spin_loop() }
        }
        if Instant::now() >= deadline {
            return Err(CompareError::TimedOut { waited: PATIENCE });
        }
    }
}
