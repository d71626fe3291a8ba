//! The process of an onecopy host.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use onecopy::policy::PolicyKind;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::host::{Host, HostOptions};

use crate::error::CompareError;
use crate::orders::{self, Answer};

/// How long an orderly end may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How large a segment is.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Bytes of pool.
    #[arg(long)]
    pub(crate) pool_bytes: u64,
    /// Bytes of the smallest slot.
    #[arg(long)]
    pub(crate) granule_bytes: u64,
    /// Bytes of blocks before it evicts; without it the pool is the limit.
    #[arg(long)]
    pub(crate) capacity_bytes: Option<u64>,
}

impl Size {
    /// As arguments of a command.
    pub(crate) fn arguments(self) -> Vec<String> {
        let mut arguments = vec!["--pool-bytes".to_owned(), self.pool_bytes.to_string()];
        arguments.extend(["--granule-bytes".to_owned(), self.granule_bytes.to_string()]);
        if let Some(bytes) = self.capacity_bytes {
            arguments.extend(["--capacity-bytes".to_owned(), bytes.to_string()]);
        }
        arguments
    }
}

/// The host's life: serves until its input ends.
pub(crate) fn serve(segment: &Path, size: Size) -> Result<(), CompareError> {
    let mut options = HostOptions::new(segment);
    options.pool_bytes = size.pool_bytes;
    options.pool_bytes_max = size.pool_bytes;
    options.granule_bytes = size.granule_bytes;
    options.remove_on_leave = true;
    let service = CacheService::new(CacheServiceOptions {
        capacity: size.capacity_bytes.map_or(Capacity::Unbounded, Capacity::Bytes),
        policy: PolicyKind::Lru,
        ..CacheServiceOptions::default()
    });
    let host = Host::start(options, service)?;
    let handle = host.handle();
    std::thread::spawn(move || {
        // The input brings nothing but its end. A host that has ended needs no telling.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = handle.leave();
        std::thread::sleep(LEAVE_TIMEOUT);
        eprintln!("onecopy-compare: the host did not leave in {LEAVE_TIMEOUT:?}");
        std::process::exit(1);
    });
    orders::say(&mut io::stdout(), &Answer::Done { blocks: 0, nanoseconds: 0 })?;
    Ok(host.serve()?)
}
