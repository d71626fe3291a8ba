//! What happens in each round: it follows from the seed and the round's number alone.

use super::super::profile::Profile;
use crate::harness::Random;
use std::time::Duration;

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL to a guest.
    KillGuest,
    /// SIGKILL to the host.
    KillHost,
    /// SIGSTOP to a guest, SIGCONT later.
    StopGuest,
    /// SIGSTOP to the host, SIGCONT later.
    StopHost,
    /// The host is told to leave, and another one comes.
    LeaveHost,
}

/// One round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Time from the round before.
    pub delay: Duration,
    /// What is done.
    pub act: Act,
    /// A number that chooses among the guests that can be chosen.
    pub victim: u64,
    /// How long what was killed stays away.
    pub absence: Duration,
    /// How long what was stopped stays so.
    pub stop: Duration,
}

/// The rounds of a seed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    seed: u64,
}

impl Plan {
    /// The rounds of this seed.
    pub fn new(seed: u64) -> Plan {
        Plan { seed }
    }

    /// A number of this seed for something that has a number of its own.
    pub fn number(&self, of: u64) -> u64 {
        Random::new(self.seed ^ of.wrapping_mul(0xd6e8_feb8_6659_fd93)).below(1 << 48)
    }

    /// Round `index`, from 0.
    // r[impl soak.seed]
    pub fn round(&self, index: u64) -> Round {
        let mut random = Random::new(self.number(index));
        // The first numbers of neighbouring seeds are alike.
        for _ in 0..4 {
            random.below(2);
        }
        let act = match random.below(100) {
            0..60 => Act::KillGuest,
            60..82 => Act::KillHost,
            82..94 => Act::StopGuest,
            94..98 => Act::StopHost,
            _ => Act::LeaveHost,
        };
        // Some follow at once: a second death while the first is being dealt with.
        let delay_us = match random.below(10) {
            0..2 => random.below(400),
            2..6 => random.below(8_000),
            _ => random.below(40_000),
        };
        let absence_us = if random.below(3) > 0 { 0 } else { random.below(12_000) };
        let stop = Profile::suspicion() + Duration::from_millis(random.below(80));
        Round {
            delay: Duration::from_micros(delay_us),
            act,
            victim: random.below(1 << 32),
            absence: Duration::from_micros(absence_us),
            stop,
        }
    }
}
