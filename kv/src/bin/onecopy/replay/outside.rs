//! A host that is not ours: what a replay asks of it.

use super::kills::{Kill, Recovered};
use super::plan::Plan;
use crate::cli::{Common, Place};
use crate::exit::Failure;
use crate::guest::{attach, host_stats};
use crate::inspect::ask_host;
use onecopy::cache::Cache;
use onecopy::size::ByteSize;
use onecopy_transport::format::Role;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

// r[impl cli.replay.segment]
pub struct Outside {
    segment: PathBuf,
    cache: Cache,
    /// Guests that the host had recovered before the replay.
    recovered_before: u64,
}

impl Outside {
    pub fn attach(segment: &Path, plan: &Plan) -> Result<Outside, Failure> {
        let place = Place { segment: Some(segment.to_owned()) };
        let common = Common { place, json: false, timeout: PATIENCE.as_secs_f64() };
        let cache = attach(&common, Role::Reader)?;
        let (block_bytes, max) =
            (plan.block_bytes, cache.guest().geometry().classes.last().copied().unwrap_or(0));
        if block_bytes > max {
            let (block, max) = (ByteSize::from_bytes(block_bytes), ByteSize::from_bytes(max));
            return Err(Failure::Refused(format!(
                "--block-size {block} is larger than the largest block of this segment, {max}"
            )));
        }
        let outside = Outside { segment: segment.to_owned(), cache, recovered_before: 0 };
        Ok(Outside { recovered_before: outside.recovered()?, ..outside })
    }

    pub fn segment(&self) -> &Path {
        &self.segment
    }

    pub fn pool_bytes(&self) -> u64 {
        self.cache.guest().pool().published_bytes
    }

    pub fn audit_findings(&self) -> Result<Vec<String>, Failure> {
        ask_host(&self.cache, Instant::now() + PATIENCE)
    }

    /// The host counts recoveries and tells nobody of whom: the oldest kills are taken for them.
    pub fn note_recoveries(&self, kills: &mut [Kill]) -> Result<(), Failure> {
        if kills.iter().all(Kill::is_settled) {
            return Ok(());
        }
        let recovered = self.recovered()?.saturating_sub(self.recovered_before);
        // Of a guest without a request in hand it is not known whether it was attached.
        let busy = kills.iter_mut().filter(|kill| kill.was_busy);
        for kill in busy.take(recovered as usize) {
            kill.recovered.get_or_insert(Recovered { took: None, slots: 0 });
        }
        Ok(())
    }

    fn recovered(&self) -> Result<u64, Failure> {
        let stats = host_stats(&self.cache, Instant::now() + PATIENCE)?;
        Ok(stats.get("recovered").and_then(Value::as_u64).unwrap_or(0))
    }
}
