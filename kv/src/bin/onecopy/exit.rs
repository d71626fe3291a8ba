//! Exit codes, and the errors that lead to them.

use crate::out;
use onecopy::error::{AskError, DeleteError, LookupError, PublishError};
use onecopy_transport::guest::{CallError, ReserveError};
use std::process::ExitCode;

/// How a command ends when it does not simply succeed.
#[derive(Debug)]
pub enum Failure {
    /// There is no block under the key. Said in words unless the exit code is what was asked for.
    NotThere(Option<String>),
    /// Flags that contradict each other.
    Usage(String),
    /// No host, no segment, or it cannot be attached to, started or removed.
    NoSegment(String),
    /// Refused: no room, too large, busy, out of time.
    Refused(String),
    /// Something is wrong with the data.
    WrongData(String),
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Failure {
    /// The error and what led to it, in one line.
    pub fn text(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let more = error.to_string();
            // A transparent error says what its source says.
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = error.source();
        }
        text
    }

    pub fn usage(error: impl std::error::Error) -> Failure {
        Failure::Usage(Failure::text(&error))
    }

    pub fn no_segment(error: impl std::error::Error) -> Failure {
        Failure::NoSegment(Failure::text(&error))
    }

    pub fn refused(error: impl std::error::Error) -> Failure {
        Failure::Refused(Failure::text(&error))
    }

    /// A file of the user's, or standard input or output.
    pub fn file(name: &str, what: &str, error: &std::io::Error) -> Failure {
        Failure::Refused(format!("{name} could not be {what}: {error}"))
    }

    /// Says it on standard error and gives the code.
    // r[impl cli.exit]
    // r[impl cli.errors]
    pub fn report(&self) -> ExitCode {
        let (code, text) = match self {
            Failure::NotThere(text) => (1, text.as_ref()),
            Failure::Usage(text) => (2, Some(text)),
            Failure::NoSegment(text) => (3, Some(text)),
            Failure::Refused(text) => (4, Some(text)),
            Failure::WrongData(text) => (5, Some(text)),
            Failure::Interrupted => (130, None),
        };
        if let Some(text) = text {
            out::note(&text.replace('\n', "; "));
        }
        ExitCode::from(code)
    }
}

/// A link that ended is a host that is not there.
impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        match error {
            CallError::Link(_) => Failure::no_segment(error),
            _ => Failure::refused(error),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Failure {
        match error {
            AskError::Call(call) => call.into(),
            _ => Failure::refused(error),
        }
    }
}

impl From<ReserveError> for Failure {
    fn from(error: ReserveError) -> Failure {
        match error {
            ReserveError::Link(_) => Failure::no_segment(error),
            ReserveError::TooLarge { .. } => {
                let text = Failure::text(&error);
                Failure::Refused(format!("{text} (serve --slot-max sets it for a new segment)"))
            }
            _ => Failure::refused(error),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Failure {
        match error {
            PublishError::Ask(ask) => ask.into(),
            PublishError::Reserve(reserve) => reserve.into(),
            _ => Failure::refused(error),
        }
    }
}

impl From<DeleteError> for Failure {
    fn from(error: DeleteError) -> Failure {
        match error {
            DeleteError::Ask(ask) => ask.into(),
            _ => Failure::refused(error),
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Failure {
        match error {
            LookupError::Ask(ask) => ask.into(),
            LookupError::Corrupt(_) | LookupError::WrongKey { .. } => {
                Failure::WrongData(Failure::text(&error))
            }
            _ => Failure::refused(error),
        }
    }
}
