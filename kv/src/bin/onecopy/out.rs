//! Standard output and standard error. Neither `println!` nor `eprintln!`: they panic where nobody
//! listens any more.

use crate::exit::Failure;
use std::fmt::Display;
use std::io::{self, Write};

// r[impl cli.json]
/// Writes a line to standard output at once, so that a program that waits for it sees it.
pub fn line(text: impl Display) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

// r[impl cli.closed_output]
/// Writes bytes to standard output.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::file("standard output", "written", &error)),
        Ok(()) => Ok(()),
    }
}

/// Says something on standard error, for a person.
pub fn note(text: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "onecopy: {text}");
}
