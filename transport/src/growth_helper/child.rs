#![expect(unsafe_code, reason = "closes the descriptors that a program was started with")]
//! The helper's own side: reserves what it was told to, and lets itself be killed for it.

use super::report::{Line, Refusal, RefusedCall};
use crate::memory::MemoryOptions;
use crate::segment::{Backing, GROWTH_MARGIN_BYTES, GrowError, Span, place_thread};
use rustix::io::Errno;
use rustix::process::Signal;
use std::ffi::OsString;
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

/// What the helper was started for.
struct Task {
    parent: i32,
    memory: MemoryOptions,
    spans: Vec<Span>,
}

impl Task {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Option<Task> {
        let mut words = arguments.map(|word| word.into_string().ok());
        let parent = words.next()??.parse().ok()?;
        let memory = parse_memory(&words.next()??)?;
        let spans = words.map(|word| {
            let word = word?;
            let (from, to) = word.split_once(':')?;
            Some(Span { from_bytes: from.parse().ok()?, to_bytes: to.parse().ok()? })
        });
        Some(Task { parent, memory, spans: spans.collect::<Option<_>>()? })
    }
}

fn parse_memory(word: &str) -> Option<MemoryOptions> {
    let words = word.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
    MemoryOptions::from_words(words.try_into().ok()?).ok()
}

/// The whole life of a helper: its standard input is the file, its standard output the report.
// r[impl resources.helper]
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(task) = Task::parse(arguments) else { return ExitCode::FAILURE };
    // SAFETY: the process has just been started; but for the arguments nothing has been touched.
    let closed = unsafe { onecopy_shm::close_inherited() };
    if closed.is_err() || !offer_itself(task.parent) {
        return ExitCode::FAILURE;
    }
    // Kept until the end: where the rest fits beside this, this is what the others have left then.
    let margin = vec![1_u8; GROWTH_MARGIN_BYTES as usize];
    let ending = reserve(&task);
    drop(black_box(margin));
    match say(&ending.to_string()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whoever has to be killed for want of memory, it is this process; and it ends with its parent.
fn offer_itself(parent: i32) -> bool {
    let ends_with_parent =
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // It may have died before that was set. A parent in another PID namespace has no number here.
    let orphaned = rustix::process::getppid().is_some_and(|found| found.as_raw_pid() != parent);
    let first = std::fs::write("/proc/self/oom_score_adj", "1000").is_ok();
    ends_with_parent && !orphaned && first
}

fn reserve(task: &Task) -> Line {
    let file = std::io::stdin();
    let Ok(backing) = Backing::detect(&file, Path::new("standard input")) else {
        return refused(0, RefusedCall::Reserve, Errno::BADF);
    };
    let backing = backing.with_memory(task.memory);
    // Before the first page is taken; where it does not apply, nothing is done.
    if let Err(error) = place_thread(&backing, task.memory.numa) {
        return refused(0, RefusedCall::Place, GrowError::from(error).errno());
    }
    for (number, span) in task.spans.iter().enumerate() {
        let Span { from_bytes, to_bytes } = *span;
        let mut told_bytes = from_bytes;
        let mut tell = |reached_bytes| {
            let bytes = reached_bytes - told_bytes;
            told_bytes = reached_bytes;
            match say(&Line::Step { bytes }.to_string()) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        if let Err(error) = backing.reserve_in_steps(&file, from_bytes, to_bytes, &mut tell) {
            let call = match error {
                GrowError::Unmapped { .. } => RefusedCall::Map,
                _ => RefusedCall::Reserve,
            };
            return refused(number, call, error.errno());
        }
    }
    Line::Done
}

fn refused(span: usize, call: RefusedCall, errno: Errno) -> Line {
    Line::Refused(Refusal { span, call, errno })
}

/// False when nobody listens.
fn say(text: &str) -> bool {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
