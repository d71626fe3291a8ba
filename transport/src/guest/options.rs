//! What a guest may choose.

use crate::format::Role;
use std::path::PathBuf;
use std::time::Duration;

/// Most requests that one link can have in flight: what the index bits of a request id can tell.
pub const REQUESTS_MAX: u32 = 1 << 12;

/// How a guest attaches and behaves.
///
/// ```
/// use onecopy_transport::format::Role;
/// use onecopy_transport::guest::GuestOptions;
///
/// let options = GuestOptions { role: Role::Reader, ..GuestOptions::at("/dev/shm/segment") };
/// assert!(options.watcher);
/// ```
#[derive(Clone, Debug)]
pub struct GuestOptions {
    /// Directory of the segment. A claimed attach does not need it.
    pub segment: PathBuf,
    /// What the guest may do. Default: writer.
    pub role: Role,
    /// How long an attach may take. Default: 5 s.
    pub attach_deadline: Duration,
    /// Wait by looking only: never sleep and never make a system call while the host is awake.
    /// Costs a core for each thread that waits. That the host died is then for the watcher to see;
    /// without one it shows at the deadline. Default: no.
    pub polling: bool,
    /// Run a small thread that beats the heartbeat, sees the host die and notices growth. Without
    /// it each call does its part, and a guest that calls nothing is suspected. Default: yes.
    pub watcher: bool,
    /// Most free slots kept of each size class, ready to be reserved; what is more goes back to the
    /// host. Less than what the host supplies makes slots travel to and fro. Default: 64.
    pub magazine_slots_max: u32,
    /// Most bytes of free slots kept of each size class, if that is more than one slot. Default:
    /// 4 MiB.
    pub magazine_bytes_max: u64,
    /// Survive that somebody cuts a file of the segment while this guest has it mapped: installs a
    /// handler for SIGBUS in this process, which hands on what is not its own (see
    /// `onecopy_shm::sigbus`). Then [`super::Torn`] is what tells of it; without it the process ends
    /// at the next touch. Default: yes.
    pub guard: bool,
    /// Populate slots when they are reserved for the first time, so that a fill does not stop at each of
    /// their pages; and the slot table at the attach. Default: as the host was asked to
    /// (`MemoryOptions::prefault`). What that is worth is in `docs/pool-memory.md`: on memory that the host
    /// has not populated next to nothing.
    pub populate: Option<bool>,
    /// Most requests in flight, 1 to [`REQUESTS_MAX`]. Default: 1024.
    pub requests_max: u32,
}

impl GuestOptions {
    /// The defaults, for the segment in this directory.
    pub fn at(segment: impl Into<PathBuf>) -> GuestOptions {
        GuestOptions {
            segment: segment.into(),
            role: Role::Writer,
            attach_deadline: Duration::from_secs(5),
            polling: false,
            watcher: true,
            magazine_slots_max: 64,
            magazine_bytes_max: 4 << 20,
            guard: true,
            populate: None,
            requests_max: 1024,
        }
    }
}
