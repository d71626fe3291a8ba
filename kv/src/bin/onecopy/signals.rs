//! Ctrl-C and SIGTERM: noted, not obeyed at once, so that the program can clean up.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked the program to end.
#[derive(Clone, Debug)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// From now on the signals only set this. A second one ends the program at once.
    pub fn watch() -> std::io::Result<Interrupted> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Registered first, so that it looks at the flag before this signal sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
            signal_hook::flag::register(signal, flag.clone())?;
        }
        Ok(Interrupted(flag))
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
