//! Growth of the pool, noticed before anything of the new part is handed out.

use crate::control::ControlReader;
use crate::edges::{NOTICED_LOAD, NOTICED_STORE};
use crate::sync::{AtomicU64, Mutex, PoisonError, ThreadId, current_thread};
use std::fmt;
use std::sync::Arc;

/// Called with the published size before and after, in bytes.
type Callback = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Runs the callbacks when the pool has grown.
pub(super) struct Growth {
    control: ControlReader,
    /// The size for which all callbacks have run, in bytes.
    noticed: AtomicU64,
    callbacks: Mutex<Vec<Callback>>,
    /// Held while callbacks run, so that each growth is told once and in order.
    telling: Mutex<()>,
    /// Who tells: a callback that uses the guest must not wait for itself.
    teller: Mutex<Option<ThreadId>>,
}

impl Growth {
    pub(super) fn new(control: ControlReader) -> Growth {
        let noticed = AtomicU64::new(control.pool_bytes());
        Growth {
            control,
            noticed,
            callbacks: Mutex::new(Vec::new()),
            telling: Mutex::new(()),
            teller: Mutex::new(None),
        }
    }

    /// Bytes of the pool for which all callbacks have run.
    #[inline]
    pub(super) fn noticed_bytes(&self) -> u64 {
        // edge: guest.noticed
        self.noticed.load(NOTICED_LOAD)
    }

    /// Adds a callback; returns the size from which on it is told, in bytes.
    pub(super) fn add(&self, callback: Callback) -> u64 {
        let mut callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.push(callback);
        self.noticed_bytes()
    }

    /// Callbacks of an earlier attach of the same mapping.
    pub(super) fn take_over(&self, earlier: &Growth) {
        let callbacks = earlier.callbacks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner) = callbacks;
        // edge: guest.noticed
        self.noticed.store(earlier.noticed_bytes(), NOTICED_STORE);
    }

    /// Makes sure that everything below `end` (bytes) was told before it is handed out. Returns
    /// whether the pool reaches that far.
    // r[impl guest.growth.before-use]
    #[inline]
    pub(super) fn covers(&self, end: u64) -> bool {
        self.has_told(end) || self.covers_after_look(end)
    }

    /// Whether everything below `end` (bytes) was told already.
    #[inline]
    pub(super) fn has_told(&self, end: u64) -> bool {
        end <= self.noticed_bytes()
    }

    #[cold]
    fn covers_after_look(&self, end: u64) -> bool {
        self.tell();
        // A callback that hands memory out itself sees it as told.
        end <= self.control.pool_bytes()
    }

    /// Tells the callbacks if the pool has grown.
    pub(super) fn tell(&self) {
        if self.control.pool_bytes() <= self.noticed_bytes() || self.is_teller() {
            return;
        }
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = (self.noticed_bytes(), self.control.pool_bytes());
        if new <= old {
            return;
        }
        let callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _teller = Teller::begin(self);
        for callback in &callbacks {
            callback(old, new);
        }
        // edge: guest.noticed
        self.noticed.store(new, NOTICED_STORE);
    }

    fn is_teller(&self) -> bool {
        let teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        *teller == Some(current_thread().id())
    }
}

/// Marks the thread that runs the callbacks, also when one of them panics.
struct Teller<'a>(&'a Growth);

impl<'a> Teller<'a> {
    fn begin(growth: &'a Growth) -> Teller<'a> {
        Teller::set(growth, Some(current_thread().id()));
        Teller(growth)
    }

    fn set(growth: &Growth, teller: Option<ThreadId>) {
        *growth.teller.lock().unwrap_or_else(PoisonError::into_inner) = teller;
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        Teller::set(self.0, None);
    }
}

impl fmt::Debug for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growth").field("noticed", &self.noticed).finish_non_exhaustive()
    }
}
