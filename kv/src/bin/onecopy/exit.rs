//! Exit codes, and the errors that lead to them.

use std::process::ExitCode;

/// How a command ends when it does not simply succeed.
#[derive(Debug)]
pub enum Failure {
    /// The key is not there.
    NotThere,
    /// No host, no segment, or it cannot be attached to or started.
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

    pub fn no_segment(error: impl std::error::Error) -> Failure {
        Failure::NoSegment(Failure::text(&error))
    }

    pub fn refused(error: impl std::error::Error) -> Failure {
        Failure::Refused(Failure::text(&error))
    }

    /// Says it on standard error and gives the code.
    pub fn report(&self) -> ExitCode {
        let (code, text) = match self {
            Failure::NotThere => (1, None),
            Failure::NoSegment(text) => (3, Some(text)),
            Failure::Refused(text) => (4, Some(text)),
            Failure::WrongData(text) => (5, Some(text)),
            Failure::Interrupted => (130, None),
        };
        if let Some(text) = text {
            eprintln!("onecopy: {text}");
        }
        ExitCode::from(code)
    }
}
