//! Guests that were killed, and when the next one is.

use super::plan::Kills;
use onecopy_transport::host::HostEvent;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How a guest process ended while there was work.
#[derive(Debug)]
pub struct Death {
    pub pid: u32,
    /// Just before it was killed, or when it was found dead.
    pub at: Instant,
    /// Whether a signal ended it.
    pub by_signal: bool,
    /// Whether it had a request in hand, which is done again.
    pub was_busy: bool,
}

/// A guest that was killed.
#[derive(Debug)]
pub struct Kill {
    pid: u32,
    at: Instant,
    pub was_busy: bool,
    pub recovered: Option<Recovered>,
}

/// What the host did about it.
#[derive(Debug)]
pub struct Recovered {
    /// From the kill to the end of the recovery, where that is known.
    pub took: Option<Duration>,
    /// Slots taken back.
    pub slots: u64,
}

impl Death {
    /// A guest that ended by itself was not killed.
    pub fn into_kill(self) -> Option<Kill> {
        let Death { pid, at, by_signal, was_busy } = self;
        by_signal.then_some(Kill { pid, at, was_busy, recovered: None })
    }
}

impl Kill {
    /// Whether the host has nothing more to do about it. A guest that had no request in hand may
    /// have been killed before its attach: then the host never hears of it.
    pub fn is_settled(&self) -> bool {
        self.recovered.is_some() || !self.was_busy
    }

    /// Whether a guest of the host was killed, not just a process that was to become one.
    pub fn counts(&self) -> bool {
        self.recovered.is_some() || self.was_busy
    }
}

/// Ends of guests as the host saw them, by process id. It may see one before the supervisor does.
#[derive(Debug, Default)]
pub struct Ends(HashMap<u32, End>);

#[derive(Clone, Copy, Debug)]
struct End {
    at: Instant,
    goodbye: bool,
    slots: u64,
}

impl Ends {
    /// Takes in what the host has told.
    pub fn note(&mut self, event: &HostEvent) {
        if let HostEvent::Recovered { pid, at, goodbye, slots, .. } = *event {
            self.0.insert(pid, End { at, goodbye, slots });
        }
    }

    /// Which kills the host is done with. A guest that had said goodbye just before it was killed
    /// had nothing to take back: it does not count as killed.
    pub fn settle(&self, kills: &mut Vec<Kill>) {
        let end_of = |kill: &Kill| match kill.recovered {
            None => self.0.get(&kill.pid).copied(),
            Some(_) => None,
        };
        kills.retain(|kill| !end_of(kill).is_some_and(|end| end.goodbye));
        for kill in kills {
            if let Some(End { at, slots, .. }) = end_of(kill) {
                let took = Some(at.saturating_duration_since(kill.at));
                kill.recovered = Some(Recovered { took, slots });
            }
        }
    }
}

/// When the next guest is killed.
pub struct KillClock {
    kills: Kills,
    at: Instant,
    is_over: bool,
}

impl KillClock {
    pub fn start(kills: Kills) -> KillClock {
        let mut clock = KillClock { kills, at: Instant::now(), is_over: false };
        if matches!(kills, Kills::Every(_)) {
            clock.next();
        }
        clock
    }

    pub fn is_due(&self, requests_done: u32) -> bool {
        match self.kills {
            Kills::Never => false,
            Kills::Every(_) => Instant::now() >= self.at,
            Kills::Once { requests_done: at } => !self.is_over && requests_done as usize >= at,
        }
    }

    /// One was killed.
    pub fn next(&mut self) {
        match self.kills {
            Kills::Every(every) => self.at = self.at.max(Instant::now()) + every,
            Kills::Never | Kills::Once { .. } => self.is_over = true,
        }
    }
}
