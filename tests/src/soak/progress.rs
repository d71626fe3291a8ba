//! A progress bar where somebody looks, silence elsewhere.

use super::tally::Tally;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Instant;

/// How far a soak is, on standard error.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    by_time: bool,
}

impl Progress {
    /// Towards a point in time, or else a number of rounds.
    pub fn new(end: Option<Instant>, rounds: Option<u64>) -> Progress {
        let started = Instant::now();
        let seconds = end.map(|end| end.saturating_duration_since(started).as_secs());
        let length = seconds.or(rounds);
        // indicatif itself draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let unit = if seconds.is_some() { "s" } else { "rounds" };
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {unit}  {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Progress { bar, started, by_time: seconds.is_some() }
    }

    /// Shows how far it is.
    pub fn show(&self, tally: &Tally) {
        let position = if self.by_time { self.started.elapsed().as_secs() } else { tally.rounds() };
        self.bar.set_position(position);
        let (kills, host_kills, stops) = (tally.kills(), tally.host_kills, tally.guest_stops);
        let rounds = tally.rounds();
        self.bar.set_message(format!(
            "{rounds} rounds, {kills} kills, {host_kills} of hosts, {stops} stops"
        ));
    }

    /// Nothing more is shown.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
