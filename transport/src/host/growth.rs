//! Growth of the pool, off the host's loop: a thread makes more of the files real, the loop then
//! publishes the new sizes. Nothing is remapped, because every mapping has the largest size.

use super::Host;
use super::core::Core;
use super::events::HostEvent;
use super::wake::WakeHandle;
use crate::layout::{ControlLayout, Geometry};
use crate::segment::{Backing, GrowError};
use crate::service::Service;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Smallest and largest step, in bytes.
const STEP_BYTES_MIN: u64 = 16 << 20;
const STEP_BYTES_MAX: u64 = 256 << 20;
/// Growth starts ahead of need when less than this fraction of the pool is free.
const FREE_FRACTION: u64 = 8;
/// Bytes of a hot and of a cold entry of the slot table.
const ENTRY_BYTES: u64 = 64;
/// After a failure growth is not tried again for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The files that grow.
pub(super) struct GrowthFiles {
    pub pool: Arc<OwnedFd>,
    pub control: Arc<OwnedFd>,
    pub backing: Backing,
    pub control_backing: Backing,
    pub layout: ControlLayout,
}

/// Growth as the loop sees it.
pub(super) struct Growth {
    files: GrowthFiles,
    geometry: Geometry,
    running: Option<Running>,
    paused_until: Option<Instant>,
    wake: WakeHandle,
}

struct Running {
    from_bytes: u64,
    to_bytes: u64,
    result: Receiver<Result<(), GrowError>>,
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Growth {
    pub fn new(files: GrowthFiles, geometry: Geometry, wake: WakeHandle) -> Growth {
        Growth { files, geometry, running: None, paused_until: None, wake }
    }

    /// Whether more room can be had, or is already on its way.
    fn is_possible(&self, pool_bytes: u64) -> bool {
        self.running.is_some()
            || pool_bytes < self.geometry.pool_bytes_max
                && self.paused_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Starts a step of at least `wanted_bytes`, unless one is under way.
    fn start(&mut self, pool_bytes: u64, wanted_bytes: u64, unit_bytes: u64) -> bool {
        if self.running.is_some() {
            return true;
        }
        if !self.is_possible(pool_bytes) {
            return false;
        }
        let step = pool_bytes.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX).max(wanted_bytes);
        let to_bytes = pool_bytes
            .saturating_add(step.next_multiple_of(unit_bytes))
            .min(self.geometry.pool_bytes_max);
        match self.spawn(pool_bytes, to_bytes) {
            Ok(running) => {
                self.running = Some(running);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the growth thread could not be started");
                self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
                false
            }
        }
    }

    fn spawn(&self, from_bytes: u64, to_bytes: u64) -> std::io::Result<Running> {
        let (sender, result) = channel::<Result<(), GrowError>>();
        let cancel = Arc::new(AtomicBool::new(false));
        let work = GrowthStep {
            pool: self.files.pool.clone(),
            control: self.files.control.clone(),
            backing: self.files.backing.clone(),
            control_backing: self.files.control_backing.clone(),
            layout: self.files.layout,
            from_bytes,
            to_bytes,
            slots: (self.geometry.slots_for(from_bytes), self.geometry.slots_for(to_bytes)),
            cancel: cancel.clone(),
        };
        let wake = self.wake.clone();
        let thread =
            std::thread::Builder::new().name("onecopy-growth".into()).spawn(move || {
                // The receiver is gone only when the host is: nobody is left to tell.
                let _ = sender.send(work.run());
                wake.wake();
            })?;
        Ok(Running { from_bytes, to_bytes, result, cancel, thread })
    }

    /// The step that has ended since the last look: its sizes and how it went.
    fn finished(&mut self) -> Option<(u64, u64, Result<(), String>)> {
        let running = self.running.as_ref()?;
        let result = match running.result.try_recv() {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("the growth thread ended early".to_owned()),
        };
        let running = self.running.take()?;
        // The thread has sent its result and only returns.
        let _ = running.thread.join();
        if result.is_err() {
            self.paused_until = Some(Instant::now() + PAUSE_AFTER_FAILURE);
        }
        Some((running.from_bytes, running.to_bytes, result))
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.cancel.store(true, Ordering::Relaxed);
            // It looks at the flag between steps of bounded size.
            let _ = running.thread.join();
        }
    }
}

struct GrowthStep {
    pool: Arc<OwnedFd>,
    control: Arc<OwnedFd>,
    backing: Backing,
    control_backing: Backing,
    layout: ControlLayout,
    from_bytes: u64,
    to_bytes: u64,
    slots: (u64, u64),
    cancel: Arc<AtomicBool>,
}

impl GrowthStep {
    /// Allocates blocks in both files. What a failed step leaves beyond the published sizes is
    /// harmless: nobody looks there, and the next step allocates over it.
    fn run(&self) -> Result<(), GrowError> {
        let mut go_on = |_| match self.cancel.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        self.backing.reserve_in_steps(&self.pool, self.from_bytes, self.to_bytes, &mut go_on)?;
        reserve_slots(&self.control, &self.control_backing, &self.layout, self.slots)
    }
}

/// Makes the entries of slots `from + 1` to `to` real in both slot tables.
pub(super) fn reserve_slots(
    control: &OwnedFd,
    backing: &Backing,
    layout: &ControlLayout,
    (from, to): (u64, u64),
) -> Result<(), GrowError> {
    for table in [layout.slots, layout.slots_cold] {
        backing.reserve(control, table + from * ENTRY_BYTES, table + to * ENTRY_BYTES)?;
    }
    Ok(())
}

impl<S: Service> Core<S> {
    /// Whether growth may still bring room.
    pub fn can_grow(&self) -> bool {
        self.growth.is_possible(self.control.pool_bytes())
    }

    /// Sees to it that the pool grows by at least so many bytes; false when it cannot.
    pub fn grow_for(&mut self, wanted_bytes: u64) -> bool {
        let unit_bytes = self.geometry.unit_bytes;
        self.growth.start(self.control.pool_bytes(), wanted_bytes + unit_bytes, unit_bytes)
    }

    /// Starts to grow before the room is gone.
    pub fn grow_ahead(&mut self) {
        let counts = self.pool.counts();
        let free_bytes = counts.free.bytes + counts.bytes_uncarved;
        if free_bytes < counts.pool_bytes / FREE_FRACTION && self.can_grow() {
            self.grow_for(0);
        }
    }
}

impl<S: Service> Host<S> {
    /// Publishes a step that has ended, and answers who waited for it.
    // r[impl growth.publish]
    pub(super) fn finish_growth(&mut self) {
        let Some((from_bytes, to_bytes, result)) = self.core.growth.finished() else { return };
        match result {
            Ok(()) => {
                self.core.control.set_slots_ready(self.core.geometry.slots_for(to_bytes));
                self.core.control.set_pool_bytes(to_bytes);
                self.core.pool.grow();
                self.core.counters.grown += 1;
                tracing::info!(from_bytes, to_bytes, "pool grown");
                self.core.tell(HostEvent::Grown { from_bytes, to_bytes });
            }
            Err(error) => {
                tracing::warn!(to_bytes, %error, "pool could not grow");
                self.core.counters.growth_failed += 1;
                self.core.tell(HostEvent::GrowthFailed { to_bytes, reason: error });
            }
        }
        self.answer_parked();
    }
}
