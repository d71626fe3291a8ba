//! A host on a private temporary segment, in a thread of this process.

use super::plan::Plan;
use crate::exit::Failure;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy::size::ByteSize;
use onecopy_transport::host::{Host, HostEvent, HostHandle, HostOptions, ServeError, StartError};
use onecopy_transport::segment::{RoomError, SegmentDir, SegmentPath, SegmentStatus, destroy};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the temporary directories are called.
const PREFIX: &str = "onecopy-replay-";
/// The segment in such a directory.
const SEGMENT: &str = "segment";

/// The host and its segment. Dropping it ends the host and removes everything.
pub struct Home {
    segment: PathBuf,
    handle: HostHandle,
    events: Receiver<HostEvent>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    /// Removed after the host has left.
    _directory: Private,
}

/// A directory that goes with what is in it.
struct Private(TempDir);

impl Drop for Private {
    fn drop(&mut self) {
        // Without a descriptor, where a failed start has left these two and nothing else; what is
        // more than that goes with the field.
        let _ = std::fs::remove_dir(self.0.path().join(SEGMENT));
        let _ = std::fs::remove_dir(self.0.path());
    }
}

impl Home {
    pub fn start(plan: &Plan) -> Result<Home, Failure> {
        let parent = SegmentPath::default_for_user();
        let parent = parent.as_path().ancestors().nth(2).unwrap_or(Path::new("/dev/shm"));
        sweep(parent);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(|error| Failure::NoSegment(format!("{}: {error}", parent.display())))?;
        let directory = Private(directory);
        let segment = directory.0.path().join(SEGMENT);
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
        let host = Host::start(options, service).map_err(not_started)?;
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

/// A replay has fewer flags about room than a host.
fn not_started(error: StartError) -> Failure {
    let StartError::Room(RoomError::NoRoom(no_room)) = &error else {
        return Failure::no_segment(error);
    };
    let (room, needed) = (&no_room.room, ByteSize::from_bytes(no_room.needed_bytes).rounded());
    Failure::NoSegment(format!(
        "{room}, but {needed} are needed to begin with: ask for less with --size, or make it larger \
         (docker run --shm-size, mount -o remount,size=)"
    ))
}

/// Removes what replays left that were killed: segments of this user whose host is gone.
// r[impl cli.replay.leftovers]
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            remove_leftover(&entry.path());
        }
    }
}

/// One that is being made or removed by somebody else at this moment is neither dead nor unfinished,
/// or the lock says so.
fn remove_leftover(directory: &Path) {
    let Ok(segment) = SegmentPath::new(directory.join(SEGMENT)) else { return };
    let status = SegmentDir::open(&segment).ok().and_then(|dir| dir.classify().ok());
    if matches!(status, Some(SegmentStatus::Dead | SegmentStatus::Unfinished))
        && destroy(&segment).is_ok()
    {
        tracing::info!(directory = %directory.display(), "removed what a killed replay left");
        // Empty now, or somebody's who will remove it.
        let _ = std::fs::remove_dir(directory);
    }
}
