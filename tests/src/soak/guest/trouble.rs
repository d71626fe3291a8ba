//! What an operation that failed means: the host is gone, no room, or something that must not be.

use onecopy::error::{
    AskError, AttachCacheError, DeleteError, LookupError, PinError, PublishError, UnpinError,
};
use onecopy_transport::guest::{AttachError, CallError, LeaseError, LinkEnd, ReserveError};
use onecopy_transport::wire::{Refusal, RequestError};
use std::fmt::Debug;

/// Why an operation did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The host died or left; attach again.
    Gone,
    /// There is no room, or pins are in the way.
    Refused(String),
    /// It took longer than it may.
    Late(String),
    /// It must not be.
    Broken(String),
}

fn broken(error: impl Debug) -> Trouble {
    Trouble::Broken(format!("{error:?}"))
}

impl From<LinkEnd> for Trouble {
    fn from(end: LinkEnd) -> Trouble {
        match end {
            LinkEnd::HostGone | LinkEnd::HostLeft => Trouble::Gone,
            other => broken(other),
        }
    }
}

impl From<RequestError> for Trouble {
    fn from(error: RequestError) -> Trouble {
        match error {
            RequestError::NoRoom { .. } | RequestError::Quota { .. } => {
                Trouble::Refused(format!("{error:?}"))
            }
            other => broken(other),
        }
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Trouble {
        match error {
            CallError::Link(end) => end.into(),
            CallError::DeadlineExceeded { .. } => Trouble::Late(format!("{error:?}")),
            CallError::Refused(refused) => refused.into(),
            CallError::Reserve(error) => error.into(),
            other => broken(other),
        }
    }
}

impl From<ReserveError> for Trouble {
    fn from(error: ReserveError) -> Trouble {
        match error {
            ReserveError::Link(end) => end.into(),
            ReserveError::DeadlineExceeded { .. } => Trouble::Late(format!("{error:?}")),
            ReserveError::Refused(refused) => refused.into(),
            other => broken(other),
        }
    }
}

impl From<AskError> for Trouble {
    fn from(error: AskError) -> Trouble {
        match error {
            AskError::Call(error) => error.into(),
            other => broken(other),
        }
    }
}

impl From<PublishError> for Trouble {
    fn from(error: PublishError) -> Trouble {
        match error {
            PublishError::Ask(error) => error.into(),
            PublishError::Reserve(error) => error.into(),
            PublishError::AllPinned { .. }
            | PublishError::LargerThanCapacity { .. }
            | PublishError::IndexFull { .. } => Trouble::Refused(format!("{error:?}")),
            other => broken(other),
        }
    }
}

impl From<LookupError> for Trouble {
    fn from(error: LookupError) -> Trouble {
        match error {
            LookupError::Ask(error) => error.into(),
            LookupError::Lease(error) => error.into(),
            other => broken(other),
        }
    }
}

impl From<LeaseError> for Trouble {
    fn from(error: LeaseError) -> Trouble {
        match error {
            LeaseError::Full { .. } | LeaseError::NoMemory { .. } => {
                Trouble::Refused(format!("{error:?}"))
            }
            other => broken(other),
        }
    }
}

impl From<DeleteError> for Trouble {
    fn from(error: DeleteError) -> Trouble {
        match error {
            DeleteError::Ask(error) => error.into(),
            DeleteError::Busy { .. } | DeleteError::Guarded { .. } => {
                Trouble::Refused(format!("{error:?}"))
            }
            other => broken(other),
        }
    }
}

impl From<PinError> for Trouble {
    fn from(error: PinError) -> Trouble {
        match error {
            PinError::Ask(error) => error.into(),
            PinError::NotFound { .. } | PinError::Quota { .. } => {
                Trouble::Refused(format!("{error:?}"))
            }
            other => broken(other),
        }
    }
}

impl From<UnpinError> for Trouble {
    fn from(error: UnpinError) -> Trouble {
        match error {
            UnpinError::Ask(error) => error.into(),
            other => broken(other),
        }
    }
}

impl From<AttachCacheError> for Trouble {
    fn from(error: AttachCacheError) -> Trouble {
        match error {
            AttachCacheError::Attach(error) => error.into(),
            other => broken(other),
        }
    }
}

impl From<AttachError> for Trouble {
    /// No host, or one that dies or leaves: to be tried again.
    fn from(error: AttachError) -> Trouble {
        match error {
            AttachError::Connect(_)
            | AttachError::Send(_)
            | AttachError::Receive(_)
            | AttachError::Refused(Refusal::Leaving) => Trouble::Gone,
            AttachError::Ended(end) => end.into(),
            other => broken(other),
        }
    }
}
