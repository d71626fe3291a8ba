//! Growth of the pool, off the host's loop: a thread makes more of the files real, the loop then
//! publishes the new sizes. Nothing is remapped, because every mapping has the largest size.

use super::Host;
use super::core::Core;
use super::events::HostEvent;
use super::wake::WakeHandle;
use crate::growth_helper::GrowthHelper;
use crate::layout::{ControlLayout, Geometry};
use crate::segment::{Backing, GrowError, Span, SystemError};
use crate::service::Service;
use onecopy_shm::crash_point;
use std::os::fd::{AsFd, OwnedFd};
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
#[derive(Clone)]
pub(super) struct GrowthFiles {
    pub pool: Arc<OwnedFd>,
    pub control: Arc<OwnedFd>,
    pub backing: Backing,
    pub control_backing: Backing,
    pub layout: ControlLayout,
    pub helper: Option<GrowthHelper>,
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

    /// Gives back what an earlier host did not live to publish, as far as the system lets it: it is
    /// memory that nobody uses, and no reason not to serve.
    pub fn give_back_unpublished(&self, pool_bytes: u64, slots_ready: u64) {
        let given_back = self.files.give_back_unpublished(&self.geometry, pool_bytes, slots_ready);
        if let Err(error) = given_back {
            tracing::warn!(%error, "what an earlier host had reserved was not given back");
        }
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
            files: self.files.clone(),
            pool: Span { from_bytes, to_bytes },
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
    files: GrowthFiles,
    pool: Span,
    slots: (u64, u64),
    cancel: Arc<AtomicBool>,
}

impl GrowthStep {
    /// Allocates blocks in both files. Of a step that fails nothing is kept: where memory is short,
    /// what is not used has to be there for others.
    // r[impl crash.g3]
    fn run(&self) -> Result<(), GrowError> {
        let grown = self.reserve();
        if grown.is_err()
            && let Err(error) = self.files.give_back(self.pool, self.slots)
        {
            tracing::warn!(%error, "what a failed growth had reserved was not given back");
        }
        grown
    }

    // r[impl crash.g1]
    fn reserve(&self) -> Result<(), GrowError> {
        let GrowthFiles { pool, control, backing, control_backing, layout, helper } = &self.files;
        let is_wanted = || !self.cancel.load(Ordering::Relaxed);
        let helper = helper.as_ref();
        backing.reserve_spans(pool.as_fd(), &[self.pool], helper, &is_wanted)?;
        let slots = slot_spans(layout, self.slots);
        control_backing.reserve_spans(control.as_fd(), &slots, helper, &is_wanted)?;
        crash_point!("growth.files_extended");
        Ok(())
    }
}

impl GrowthFiles {
    /// Gives back what is reserved in these parts of the files. To be used on what is not published.
    pub fn give_back(&self, pool: Span, slots: (u64, u64)) -> Result<(), SystemError> {
        self.backing.give_back(self.pool.as_fd(), pool)?;
        for span in slot_spans(&self.layout, slots) {
            self.control_backing.give_back(self.control.as_fd(), span)?;
        }
        Ok(())
    }
}

impl GrowthFiles {
    /// Gives back what an earlier host reserved and did not live to publish.
    // r[impl resources.give-back]
    pub fn give_back_unpublished(
        &self,
        geometry: &Geometry,
        pool_bytes: u64,
        slots_ready: u64,
    ) -> Result<(), SystemError> {
        let stat = rustix::fs::fstat(&self.pool)
            .map_err(SystemError::on("look at", self.backing.path()))?;
        let to_bytes = u64::try_from(stat.st_size).unwrap_or(0).max(pool_bytes);
        let slots = (slots_ready, geometry.slots_max.max(slots_ready));
        self.give_back(Span { from_bytes: pool_bytes, to_bytes }, slots)
    }
}

/// Where the entries of slots `from + 1` to `to` are in both slot tables.
pub(super) fn slot_spans(layout: &ControlLayout, (from, to): (u64, u64)) -> [Span; 2] {
    [layout.slots, layout.slots_cold].map(|table| Span {
        from_bytes: table + from * ENTRY_BYTES,
        to_bytes: table + to * ENTRY_BYTES,
    })
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
    // r[impl crash.g2]
    pub(super) fn finish_growth(&mut self) {
        let Some((from_bytes, to_bytes, result)) = self.core.growth.finished() else { return };
        match result {
            Ok(()) => {
                self.core.control.set_slots_ready(self.core.geometry.slots_for(to_bytes));
                crash_point!("growth.slots_published");
                self.core.control.set_pool_bytes(to_bytes);
                crash_point!("growth.published");
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
