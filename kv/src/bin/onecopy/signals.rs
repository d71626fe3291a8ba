//! Ctrl-C and SIGTERM: noted, not obeyed at once, so that the program can clean up.

use crate::exit::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// So many signals say that cleaning up takes too long: the program ends where it is.
const SIGNALS_MAX: usize = 3;

/// Calls something when the first signal comes. Dropped, it watches no more.
pub struct SignalWatch {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalWatch {
    /// From now on the signals do not end the program; the third one does.
    pub fn start(on_first: impl FnOnce() + Send + 'static) -> Result<SignalWatch, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(unwatched)?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("onecopy-signals".into()).spawn(move || {
            let mut on_first = Some(on_first);
            for count in 1.. {
                if signals.forever().next().is_none() {
                    return;
                }
                if let Some(on_first) = on_first.take() {
                    on_first();
                }
                if count >= SIGNALS_MAX {
                    std::process::exit(130);
                }
            }
        });
        let thread = thread.map_err(unwatched)?;
        Ok(SignalWatch { handle, thread: Some(thread) })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It only waits for signals, and ends with them.
            let _ = thread.join();
        }
    }
}

/// Whether somebody asked the program to end.
pub struct Interrupted {
    flag: Arc<AtomicBool>,
    _watch: SignalWatch,
}

impl Interrupted {
    /// From now on the signals only set this.
    pub fn watch() -> Result<Interrupted, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = flag.clone();
        // No edge: nothing but the flag itself is told.
        let watch = SignalWatch::start(move || set.store(true, Ordering::Relaxed))?;
        Ok(Interrupted { flag, _watch: watch })
    }

    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// From now on the signals do nothing: the process is ended by whoever started it.
pub fn ignore() -> Result<(), Failure> {
    for signal in [SIGINT, SIGTERM] {
        let ignored = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, ignored).map_err(unwatched)?;
    }
    Ok(())
}

fn unwatched(error: io::Error) -> Failure {
    Failure::Refused(format!("Ctrl-C and SIGTERM cannot be watched: {error}"))
}
