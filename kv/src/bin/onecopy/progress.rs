//! A progress bar where somebody looks, silence elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how much is done, on standard error.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn requests(requests: u64, what: &'static str) -> Bar {
        Bar::new(requests, what, "{pos}/{len} requests, {per_sec}, {eta} left")
    }

    pub fn bytes(bytes: u64, what: &'static str) -> Bar {
        Bar::new(
            bytes,
            what,
            "{binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        )
    }

    fn new(count: u64, what: &'static str, figures: &str) -> Bar {
        // indicatif itself draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {figures}"))
        {
            bar.set_style(style);
        }
        bar.set_message(what);
        Bar(bar)
    }

    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
