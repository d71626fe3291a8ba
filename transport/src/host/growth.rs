//! Growth of the pool, off the host's loop: a thread makes more of the files real, the loop then
//! publishes the new sizes. Nothing is remapped, because every mapping has the largest size.

use super::Host;
use super::core::Core;
use super::events::HostEvent;
use super::memory::{check_huge_while, populate_control};
use super::options::PoolSteps;
use super::wake::WakeHandle;
use crate::control::ControlReader;
use crate::growth_helper::GrowthHelper;
use crate::layout::{ControlLayout, Geometry, TablesReady};
use crate::segment::{Backing, GrowError, Span, SystemError, Taking};
use crate::service::{Service, tables_ready};
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
/// After a failure growth is not tried again for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The files that grow.
#[derive(Clone)]
pub(super) struct GrowthFiles {
    pub pool: Arc<OwnedFd>,
    pub control: Arc<OwnedFd>,
    pub backing: Backing,
    pub control_backing: Backing,
    /// Mapped, and where its tables lie.
    pub tables: ControlReader,
    pub helper: Option<GrowthHelper>,
}

/// Growth as the loop sees it.
pub(super) struct Growth {
    files: GrowthFiles,
    geometry: Geometry,
    steps: PoolSteps,
    running: Option<Running>,
    paused_until: Option<Instant>,
    wake: WakeHandle,
}

struct Running {
    pool: Span,
    result: Receiver<Result<Grown, GrowError>>,
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Growth {
    pub fn new(files: GrowthFiles, geometry: Geometry, wake: WakeHandle) -> Growth {
        let steps = PoolSteps::new(&geometry, &files.backing);
        Growth { files, geometry, steps, running: None, paused_until: None, wake }
    }

    /// Gives back what an earlier host did not live to publish, as far as the system lets it: it is
    /// memory that nobody uses, and no reason not to serve.
    pub fn give_back_unpublished(&self, pool_bytes: u64, ready: TablesReady) {
        let given_back = self.files.give_back_unpublished(&self.geometry, pool_bytes, ready);
        if let Err(error) = given_back {
            tracing::warn!(%error, "what an earlier host had reserved was not given back");
        }
    }

    /// Whether more room can be had, or is already on its way.
    fn is_possible(&self, pool_bytes: u64) -> bool {
        self.running.is_some()
            || pool_bytes < self.steps.size_bytes_max()
                && self.paused_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Starts a step of at least `wanted_bytes`, unless one is under way. `ready_for` tells what goes
    /// with a pool of so many bytes.
    fn start(
        &mut self,
        pool_bytes: u64,
        wanted_bytes: u64,
        ready_for: impl Fn(u64) -> TablesReady,
    ) -> bool {
        if self.running.is_some() {
            return true;
        }
        if !self.is_possible(pool_bytes) {
            return false;
        }
        let step = pool_bytes.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX).max(wanted_bytes);
        let to_bytes = self.steps.round_up(pool_bytes.saturating_add(step));
        let pool = Span { from_bytes: pool_bytes, to_bytes };
        match self.spawn(pool, (ready_for(pool_bytes), ready_for(to_bytes))) {
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

    fn spawn(&self, pool: Span, ready: (TablesReady, TablesReady)) -> std::io::Result<Running> {
        let (sender, result) = channel();
        let cancel = Arc::new(AtomicBool::new(false));
        let work = GrowthStep { files: self.files.clone(), pool, ready, cancel: cancel.clone() };
        let wake = self.wake.clone();
        let thread =
            std::thread::Builder::new().name("onecopy-growth".into()).spawn(move || {
                // The receiver is gone only when the host is: nobody is left to tell.
                let _ = sender.send(work.run());
                wake.wake();
            })?;
        Ok(Running { pool, result, cancel, thread })
    }

    /// The step that has ended since the last look: its sizes and how it went.
    fn finished(&mut self) -> Option<(Span, Result<Grown, String>)> {
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
        Some((running.pool, result))
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

/// What came of a step that went well.
#[derive(Clone, Copy, Debug)]
struct Grown {
    /// Bytes that came in huge pages, where those were asked for.
    huge_bytes: u64,
}

struct GrowthStep {
    files: GrowthFiles,
    pool: Span,
    ready: (TablesReady, TablesReady),
    cancel: Arc<AtomicBool>,
}

impl GrowthStep {
    /// Allocates blocks in both files. Of a step that fails nothing is kept: where memory is short,
    /// what is not used has to be there for others.
    // r[impl crash.g3]
    fn run(&self) -> Result<Grown, GrowError> {
        let grown = self.reserve();
        if grown.is_err()
            && let Err(error) = self.files.give_back(self.pool, self.ready)
        {
            tracing::warn!(%error, "what a failed growth had reserved was not given back");
        }
        grown
    }

    // r[impl crash.g1]
    // r[impl pool-memory.growth]
    fn reserve(&self) -> Result<Grown, GrowError> {
        let GrowthFiles { pool, control, backing, control_backing, tables, helper } = &self.files;
        let is_wanted = || !self.cancel.load(Ordering::Relaxed);
        let taking = Taking { is_wanted: &is_wanted, ..Taking::by(helper.as_ref()) };
        let pool_spans = [self.pool];
        backing.reserve_spans(pool.as_fd(), &pool_spans, taking)?;
        let spans = growing_spans(tables.layout(), self.ready);
        control_backing.reserve_spans(control.as_fd(), &spans, taking)?;
        populate_control(tables, control_backing, &spans)?;
        let huge_bytes = check_huge_while(pool, backing, &pool_spans, &is_wanted)?
            + check_huge_while(control, control_backing, &spans, &is_wanted)?;
        crash_point!("growth.files_extended");
        Ok(Grown { huge_bytes })
    }
}

impl GrowthFiles {
    /// Gives back what is reserved in these parts of the files. To be used on what is not published.
    pub fn give_back(
        &self,
        pool: Span,
        ready: (TablesReady, TablesReady),
    ) -> Result<(), SystemError> {
        self.backing.give_back(self.pool.as_fd(), pool)?;
        for span in growing_spans(self.tables.layout(), ready) {
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
        ready: TablesReady,
    ) -> Result<(), SystemError> {
        let stat = rustix::fs::fstat(&self.pool)
            .map_err(SystemError::on("look at", self.backing.path()))?;
        let to_bytes = u64::try_from(stat.st_size).unwrap_or(0).max(pool_bytes);
        let layout = self.tables.layout();
        let most = TablesReady {
            slots: geometry.slots_max.max(ready.slots),
            service_bytes: layout.slots - layout.service,
        };
        self.give_back(Span { from_bytes: pool_bytes, to_bytes }, (ready, most))
    }
}

/// What becomes real of the control area between two sizes of what grows in it.
pub(super) fn growing_spans(
    layout: &ControlLayout,
    (from, to): (TablesReady, TablesReady),
) -> [Span; 3] {
    let mut starts = layout.growing(from).into_iter();
    layout.growing(to).map(|(offset, size_bytes)| Span {
        from_bytes: starts.next().map_or(offset, |(offset, size_bytes)| offset + size_bytes),
        to_bytes: offset + size_bytes,
    })
}

impl<S: Service> Core<S> {
    /// Whether growth may still bring room.
    pub fn can_grow(&self) -> bool {
        self.growth.is_possible(self.control.pool_bytes())
    }

    /// Sees to it that the pool grows by at least so many bytes; false when it cannot.
    pub fn grow_for(&mut self, wanted_bytes: u64) -> bool {
        let Core { geometry, service, growth, control, .. } = self;
        let wanted_bytes = wanted_bytes + geometry.unit_bytes;
        growth.start(control.pool_bytes(), wanted_bytes, |pool_bytes| {
            tables_ready(service, geometry, geometry.slots_for(pool_bytes))
        })
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
        let Some((Span { from_bytes, to_bytes }, result)) = self.core.growth.finished() else {
            return;
        };
        match result {
            Ok(Grown { huge_bytes }) => {
                let control = &self.core.control;
                control.set_huge_bytes(control.huge_bytes().saturating_add(huge_bytes));
                let slots_ready = self.core.geometry.slots_for(to_bytes);
                self.core.control.set_slots_ready(slots_ready);
                crash_point!("growth.slots_published");
                self.core.control.set_pool_bytes(to_bytes);
                crash_point!("growth.published");
                self.core.pool.grow();
                self.core.service.grown(slots_ready);
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
