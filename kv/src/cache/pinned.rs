//! What this guest has pinned, so that it can be pinned again under the next host: pins live in the
//! host's heap and die with it.

use super::Cache;
use crate::error::AskError;
use crate::key::Key;
use crate::protocol::{KeyAnswer, KeyOutcome, kind};
use onecopy_transport::Serial;
use onecopy_transport::guest::Guest;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Pins by key, as the host knows them.
#[derive(Debug, Default)]
pub(super) struct Pinned(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    /// The attach that has them; none while there are none.
    serial: Option<Serial>,
    counts: HashMap<Key, u32>,
    lost: u64,
}

impl Pinned {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Notes what came of a request.
    fn note(&mut self, kind: u8, keys: &[Key], answers: &[KeyAnswer]) {
        for (key, answer) in keys.iter().zip(answers) {
            match (kind, answer.decode()) {
                (kind::PIN, Some(KeyOutcome::Done { .. })) => {
                    *self.counts.entry(*key).or_default() += 1;
                }
                (_, Some(KeyOutcome::Done { .. })) => self.take_away(key),
                // There is no such block: pins on it are void.
                (_, Some(KeyOutcome::NotFound)) => {
                    self.counts.remove(key);
                }
                _ => {}
            }
        }
    }

    fn take_away(&mut self, key: &Key) {
        if let Some(count) = self.counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
    }
}

impl Cache {
    /// Pins that this guest had and that could not be asked for again when it came back to another
    /// host: their blocks were not there any more, or the quota has become less.
    pub fn pins_lost(&self) -> u64 {
        self.shared.pinned.lock().lost
    }

    /// Pins or unpins as many keys as one frame takes. When the host goes away meanwhile, its pins are
    /// gone with it and those that were noted are restored, so to ask once more counts once.
    // r[impl kv.reattach.pins]
    pub(super) fn ask_pins(
        &self,
        kind: u8,
        keys: &[Key],
        until: Instant,
    ) -> Result<Vec<KeyAnswer>, AskError> {
        loop {
            let guest = self.current();
            match self.ask_frame_on::<_, KeyAnswer>(&guest, kind, 0, keys, until) {
                Ok(answers) if self.note_pins(&guest, kind, keys, &answers, until) => {
                    return Ok(answers);
                }
                Ok(_) => {}
                Err(error) if self.came_back(&guest, &error, until) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// False: this attach is over, and the next one was made without knowing of this.
    pub(super) fn note_pins(
        &self,
        guest: &Guest,
        kind: u8,
        keys: &[Key],
        answers: &[KeyAnswer],
        until: Instant,
    ) -> bool {
        let pinned = &self.shared.pinned;
        let mut record = pinned.lock();
        if record.serial != Some(guest.serial()) {
            drop(record);
            if guest.is_superseded() {
                return false;
            }
            // The first pin, or an attach that somebody made without these handles.
            self.pin_again(guest, until);
            record = pinned.lock();
        }
        record.note(kind, keys, answers);
        true
    }

    /// Asks a new attach for everything that an earlier one had pinned.
    // r[impl kv.reattach.pins]
    pub(super) fn pin_again(&self, guest: &Guest, until: Instant) {
        let keys: Vec<Key> = {
            let mut record = self.shared.pinned.lock();
            record.serial = Some(guest.serial());
            let counts = record.counts.iter();
            counts.flat_map(|(key, &count)| std::iter::repeat_n(*key, count as usize)).collect()
        };
        let Ok(frame_keys) = self.entries_max_on(guest, kind::PIN) else { return };
        for frame in keys.chunks(frame_keys) {
            match self.ask_frame_on::<_, KeyAnswer>(guest, kind::PIN, 0, frame, until) {
                Ok(answers) => self.lose_pins(frame, &answers),
                // The attach has ended: the next one will ask for them.
                Err(error) => return tracing::warn!(%error, "pins were not restored"),
            }
        }
    }

    fn lose_pins(&self, keys: &[Key], answers: &[KeyAnswer]) {
        let is_done = |answer: &KeyAnswer| matches!(answer.decode(), Some(KeyOutcome::Done { .. }));
        let mut record = self.shared.pinned.lock();
        for (key, _) in keys.iter().zip(answers).filter(|(_, answer)| !is_done(answer)) {
            tracing::warn!(%key, "a pin could not be restored");
            record.take_away(key);
            record.lost += 1;
        }
    }
}
