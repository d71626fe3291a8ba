//! A progress bar where somebody looks, silence elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how many requests are done, on standard error.
pub struct Bar(ProgressBar);

impl Bar {
    pub fn new(requests: u64, what: &'static str) -> Bar {
        // indicatif itself draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(requests), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {pos}/{len} requests, {per_sec}, {eta} left",
        );
        if let Ok(style) = style {
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
