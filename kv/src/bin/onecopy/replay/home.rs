//! A host on a private temporary segment, in a thread of this process.

use super::plan::Plan;
use crate::exit::Failure;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::host::{Host, HostEvent, HostHandle, HostOptions, ServeError};
use onecopy_transport::segment::SegmentPath;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// The host and its segment. Dropping it ends the host and removes everything.
pub struct Home {
    segment: PathBuf,
    handle: HostHandle,
    events: Receiver<HostEvent>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    /// Removed after the host has left.
    _directory: TempDir,
}

impl Home {
    pub fn start(plan: &Plan) -> Result<Home, Failure> {
        let parent = SegmentPath::default_for_user();
        let parent = parent.as_path().ancestors().nth(2).unwrap_or(Path::new("/dev/shm"));
        let directory = tempfile::Builder::new()
            .prefix("onecopy-replay-")
            .tempdir_in(parent)
            .map_err(|error| Failure::NoSegment(format!("{}: {error}", parent.display())))?;
        let segment = directory.path().join("segment");
        let (sender, events) = channel();
        let mut options = HostOptions::new(&segment);
        options.pool_bytes = plan.pool_bytes;
        options.pool_bytes_max = plan.pool_bytes_max;
        options.guests_max = plan.guests * 2 + 8;
        options.remove_on_leave = true;
        options.events = Some(sender);
        let service = CacheService::new(CacheServiceOptions {
            capacity: plan.capacity_blocks.map_or(Capacity::Unbounded, Capacity::Blocks),
            policy: plan.policy,
            ..CacheServiceOptions::default()
        });
        let host = Host::start(options, service).map_err(Failure::no_segment)?;
        let handle = host.handle();
        let thread = std::thread::Builder::new()
            .name("onecopy-host".into())
            .spawn(move || host.serve())
            .map_err(Failure::no_segment)?;
        Ok(Home { segment, handle, events, thread: Some(thread), _directory: directory })
    }

    pub fn segment(&self) -> &Path {
        &self.segment
    }

    /// What the host has told since the last time.
    pub fn events(&self) -> impl Iterator<Item = HostEvent> + '_ {
        self.events.try_iter()
    }

    /// What the host's audit finds, as text.
    pub fn audit_findings(&self) -> Result<Vec<String>, Failure> {
        let report = self.handle.audit(Instant::now() + PATIENCE).map_err(Failure::no_segment)?;
        Ok(report.findings().iter().map(ToString::to_string).collect())
    }

    /// One of the host's figures.
    pub fn figure(&self, name: &str) -> Result<u64, Failure> {
        let stats = self.handle.stats(Instant::now() + PATIENCE).map_err(Failure::no_segment)?;
        Ok(stats.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A host that has ended already needs no telling; its thread is done.
        let _ = self.handle.leave();
        if let Some(thread) = self.thread.take()
            && !matches!(thread.join(), Ok(Ok(())))
        {
            tracing::warn!("the replay's host did not end well");
        }
    }
}
