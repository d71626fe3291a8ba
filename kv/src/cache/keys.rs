//! What is asked about keys alone: exists, delete, pin, unpin.

use super::Cache;
use super::direct::{BATCH, Direct};
use crate::error::{AskError, DeleteError, LookupError, PinError, UnpinError};
use crate::key::Key;
use crate::protocol::{KeyAnswer, KeyOutcome, kind};
use std::time::Instant;

/// How far the index told of some keys.
pub(super) enum Probed {
    /// Of all that were wanted; whether what comes behind them is wanted too.
    Told { goes_on: bool },
    /// Of those before this one; the host has to be asked about the rest.
    AskHost { from: usize },
}

impl Cache {
    /// Whether this key is there. That is no use of its block.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn exists(&self, key: &Key) -> Result<bool, LookupError> {
        let mut is_there = false;
        self.probe(std::slice::from_ref(key), |found| {
            is_there = found;
            false
        })?;
        Ok(is_there)
    }

    /// Whether each of these keys is there.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn exists_many(&self, keys: &[Key]) -> Result<Vec<bool>, LookupError> {
        let mut found = Vec::with_capacity(keys.len());
        self.probe(keys, |is_there| {
            found.push(is_there);
            true
        })?;
        Ok(found)
    }

    /// How many of these keys are there before the first that is not: the longest prefix that need not
    /// be computed again. No use of their blocks, and no lease of them: a block may be evicted right
    /// afterwards; [`Cache::lookup_prefix`] keeps what it finds.
    ///
    /// # Errors
    /// [`LookupError`].
    // r[impl kv.match_prefix]
    pub fn match_prefix(&self, keys: &[Key]) -> Result<usize, LookupError> {
        let mut count = 0;
        self.probe(keys, |is_there| {
            count += usize::from(is_there);
            is_there
        })?;
        Ok(count)
    }

    /// Tells `each` whether the keys are there, one after the other until it says that it has heard enough.
    fn probe(&self, keys: &[Key], mut each: impl FnMut(bool) -> bool) -> Result<(), LookupError> {
        let until = self.until();
        for keys in keys.chunks(BATCH) {
            let goes_on = match self.probe_known(keys, &mut each)? {
                Probed::Told { goes_on } => goes_on,
                Probed::AskHost { from } => {
                    let keys = &keys[from..];
                    self.shared.count_asked(keys.len(), self.lookup);
                    tell(self.ask_many(kind::EXISTS, keys, until)?, &mut each)?
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Tells `each` what is known without the host of these keys, at most [`BATCH`].
    pub(super) fn probe_known(
        &self,
        keys: &[Key],
        each: &mut impl FnMut(bool) -> bool,
    ) -> Result<Probed, LookupError> {
        let (mut heard, mut goes_on) = (0, true);
        let known = self.probe_direct(keys, |is_there| {
            heard += 1;
            goes_on = each(is_there);
            goes_on
        })?;
        Ok(match known {
            Direct::Known(()) => Probed::Told { goes_on },
            Direct::AskHost => Probed::AskHost { from: heard },
        })
    }

    /// Unpublishes the block of this key; `false` when it was not there. Its slot is reused after
    /// its last lease.
    ///
    /// # Errors
    /// [`DeleteError::Busy`] while anybody has it pinned.
    pub fn delete(&self, key: &Key) -> Result<bool, DeleteError> {
        deleted(key, self.change_key(kind::DELETE, key))
    }

    /// Deletes each of these keys. An answer that did not come is an error of each key that it
    /// was for; keys before it have been deleted all the same.
    pub fn delete_many(&self, keys: &[Key]) -> Vec<Result<bool, DeleteError>> {
        self.ask_each(kind::DELETE, keys, deleted)
    }

    /// Keeps the block of this key from being evicted or deleted until it is unpinned as often, or
    /// this guest ends. Returns how often this guest has it pinned now.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn pin(&self, key: &Key) -> Result<u32, PinError> {
        pinned(key, self.change_key(kind::PIN, key))
    }

    /// Pins each of these keys.
    pub fn pin_many(&self, keys: &[Key]) -> Vec<Result<u32, PinError>> {
        self.ask_each(kind::PIN, keys, pinned)
    }

    /// Takes one pin of this guest away. Returns how often it still has it pinned.
    ///
    /// # Errors
    /// [`UnpinError`].
    pub fn unpin(&self, key: &Key) -> Result<u32, UnpinError> {
        unpinned(key, self.change_key(kind::UNPIN, key))
    }

    /// Unpins each of these keys.
    pub fn unpin_many(&self, keys: &[Key]) -> Vec<Result<u32, UnpinError>> {
        self.ask_each(kind::UNPIN, keys, unpinned)
    }

    /// A request that must not be carried out twice.
    fn change_key(&self, kind: u8, key: &Key) -> Result<KeyOutcome, AskError> {
        let answers = self.change_keys(kind, std::slice::from_ref(key), self.until())?;
        // As many answers as keys came, or it would be an error.
        answers.first().map_or(Ok(KeyOutcome::NotFound), |answer| decode(kind, *answer))
    }

    fn change_keys(
        &self,
        kind: u8,
        keys: &[Key],
        until: Instant,
    ) -> Result<Vec<KeyAnswer>, AskError> {
        match kind {
            kind::PIN | kind::UNPIN => self.ask_pins(kind, keys, until),
            _ => self.once(until, |guest| self.ask_frame_on(guest, kind, 0, keys, until)),
        }
    }

    /// An outcome for each key; a frame that got no answer fails its keys and all behind them.
    fn ask_each<T, E: From<AskError>>(
        &self,
        kind: u8,
        keys: &[Key],
        outcome: impl Fn(&Key, Result<KeyOutcome, AskError>) -> Result<T, E>,
    ) -> Vec<Result<T, E>> {
        let until = self.until();
        let frame_keys = match self.entries_max(kind) {
            Ok(count) => count,
            Err(error) => return keys.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let mut outcomes = Vec::with_capacity(keys.len());
        let mut failed: Option<AskError> = None;
        for frame in keys.chunks(frame_keys) {
            let answers = match &failed {
                Some(error) => Err(error.clone()),
                None => self.change_keys(kind, frame, until),
            };
            match answers {
                Ok(answers) => outcomes.extend(
                    frame
                        .iter()
                        .zip(answers)
                        .map(|(key, answer)| outcome(key, decode(kind, answer))),
                ),
                Err(error) => {
                    outcomes.extend(frame.iter().map(|key| outcome(key, Err(error.clone()))));
                    failed = Some(error);
                }
            }
        }
        outcomes
    }
}

/// Tells `each` what the host said of keys; whether it wants to hear more.
pub(super) fn tell(
    answers: Vec<KeyAnswer>,
    each: &mut impl FnMut(bool) -> bool,
) -> Result<bool, AskError> {
    for answer in answers {
        if !each(exists(decode(kind::EXISTS, answer)?)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn decode(kind: u8, answer: KeyAnswer) -> Result<KeyOutcome, AskError> {
    answer.decode().ok_or(AskError::AnswerCode { kind, code: answer.code.get().into() })
}

/// The error for an outcome that this kind of request does not have.
fn unexpected(kind: u8, outcome: KeyOutcome) -> AskError {
    AskError::AnswerCode { kind, code: outcome.encode().code.get().into() }
}

fn exists(outcome: KeyOutcome) -> Result<bool, AskError> {
    match outcome {
        KeyOutcome::Done { .. } => Ok(true),
        KeyOutcome::NotFound => Ok(false),
        other => Err(unexpected(kind::EXISTS, other)),
    }
}

pub(super) fn deleted(
    key: &Key,
    outcome: Result<KeyOutcome, AskError>,
) -> Result<bool, DeleteError> {
    match outcome? {
        KeyOutcome::Done { .. } => Ok(true),
        KeyOutcome::NotFound => Ok(false),
        KeyOutcome::Busy { pins } => Err(DeleteError::Busy { key: *key, pins }),
        KeyOutcome::Guarded => Err(DeleteError::Guarded { key: *key }),
        other => Err(unexpected(kind::DELETE, other).into()),
    }
}

pub(super) fn pinned(key: &Key, outcome: Result<KeyOutcome, AskError>) -> Result<u32, PinError> {
    match outcome? {
        KeyOutcome::Done { pins } => Ok(pins),
        KeyOutcome::NotFound => Err(PinError::NotFound { key: *key }),
        KeyOutcome::PinQuota { pins_max } => Err(PinError::Quota { key: *key, pins_max }),
        other => Err(unexpected(kind::PIN, other).into()),
    }
}

pub(super) fn unpinned(
    key: &Key,
    outcome: Result<KeyOutcome, AskError>,
) -> Result<u32, UnpinError> {
    match outcome? {
        KeyOutcome::Done { pins } => Ok(pins),
        KeyOutcome::NotFound => Err(UnpinError::NotFound { key: *key }),
        KeyOutcome::NotPinned => Err(UnpinError::NotPinned { key: *key }),
        other => Err(unexpected(kind::UNPIN, other).into()),
    }
}
