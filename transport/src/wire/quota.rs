//! Refusals for what one guest may have at most, beside the bytes of its grants.

use super::{RequestError, SettleError};
use thiserror::Error;

/// A guest has as much of something as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// Slots granted to it.
    #[error("this guest holds {held_slots} granted slots, its quota of slots is {slots_max}")]
    Slots {
        /// Slots granted to it.
        held_slots: u64,
        /// The most it may hold.
        slots_max: u64,
    },
    /// Requests that the host has taken from it and not answered yet.
    #[error(
        "{in_flight} requests of this guest wait at the host, its quota of requests is {requests_max}"
    )]
    Requests {
        /// Requests that wait.
        in_flight: u64,
        /// The most that may.
        requests_max: u64,
    },
}

/// First code of these refusals; those before belong to others.
const CODE_FIRST: u64 = 40;

impl QuotaError {
    /// Code and numbers as they travel.
    pub(super) fn encode(self) -> (u64, [u64; 4]) {
        match self {
            QuotaError::Slots { held_slots, slots_max } => {
                (CODE_FIRST, [held_slots, slots_max, 0, 0])
            }
            QuotaError::Requests { in_flight, requests_max } => {
                (CODE_FIRST + 1, [in_flight, requests_max, 0, 0])
            }
        }
    }

    /// The refusal that travelled; `None` for a code that is none of these.
    fn decode(code: u64, [first, second, ..]: [u64; 4]) -> Option<QuotaError> {
        Some(match code.checked_sub(CODE_FIRST)? {
            0 => QuotaError::Slots { held_slots: first, slots_max: second },
            1 => QuotaError::Requests { in_flight: first, requests_max: second },
            _ => return None,
        })
    }
}

/// The refusal whose code belongs to one of the errors of their own.
pub(super) fn other_refusal(code: u64, numbers: [u64; 4]) -> Option<RequestError> {
    let settle = SettleError::decode(code, numbers).map(RequestError::Settle);
    settle.or_else(|| QuotaError::decode(code, numbers).map(RequestError::Over))
}
