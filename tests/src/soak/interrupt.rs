//! Ctrl-C and SIGTERM: noted, so that everybody can be ended in order. The second one ends at once.

use super::SoakError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a program that was ended by Ctrl-C.
const EXIT_CODE: i32 = 130;

/// Whether somebody asked the program to end.
#[derive(Debug)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// From now on the first signal only sets this. The second one ends the program; its processes
    /// end with it, and the next soak removes its directory.
    ///
    /// # Errors
    /// [`SoakError::Signals`].
    // r[impl soak.interrupt]
    pub fn watch() -> Result<Interrupted, SoakError> {
        let set = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let failed = |source| SoakError::Signals { source };
            let ends = flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(&set));
            ends.map_err(failed)?;
            flag::register(signal, Arc::clone(&set)).map_err(failed)?;
        }
        Ok(Interrupted(set))
    }

    /// Whether there was a signal.
    pub fn is_set(&self) -> bool {
        // No edge: nothing but the flag itself is told.
        self.0.load(Ordering::Relaxed)
    }
}
