use proptest::prelude::*;

use super::{SERIAL_MAX, SlotRef, SlotState, SlotWord};
use crate::error::{IllegalTransition, SlotWordFault};

/// A word in the given state, of generation 7.
fn word_in(state: SlotState) -> SlotWord {
    let owner = u64::from(state.has_owner()) * 42;
    SlotWord::decode(7 << 32 | (state as u64) << 28 | owner).unwrap()
}

type Transition = fn(SlotWord) -> Result<SlotWord, IllegalTransition>;

/// Every transition there is, with the states it may start from and where it leads.
fn transitions() -> [(Transition, &'static [SlotState], SlotState); 11] {
    use SlotState::{Free, Granted, Published, Quarantined, Retired, Uncarved};
    [
        (SlotWord::carve, &[Uncarved], Free),
        (SlotWord::uncarve, &[Free], Uncarved),
        (|word| word.grant(42), &[Free], Granted),
        (SlotWord::give_back, &[Granted], Free),
        (SlotWord::publish, &[Granted], Published),
        (SlotWord::retire, &[Published], Retired),
        (SlotWord::free, &[Retired], Free),
        (SlotWord::quarantine, &[Granted], Quarantined),
        (SlotWord::write_off, &[Granted, Retired, Quarantined], Quarantined),
        (|word| word.adopt(42), &[Granted, Quarantined], Granted),
        (SlotWord::release, &[Quarantined], Free),
    ]
}

// r[verify slot.transitions]
#[test]
fn nothing_but_the_listed_transitions_is_legal() {
    for (transition, starts, end) in transitions() {
        for from in SlotState::ALL {
            match transition(word_in(from)) {
                Ok(word) => {
                    assert!(starts.contains(&from), "{from} became {}", word.state());
                    assert_eq!(word.state(), end);
                    assert_eq!(SlotWord::decode(word.bits()), Ok(word));
                }
                Err(error) => {
                    assert!(!starts.contains(&from), "{error}");
                    assert_eq!(error, IllegalTransition::State { from, wanted: end });
                }
            }
        }
    }
}

// r[verify slot.generation]
#[test]
fn a_slot_that_becomes_free_again_is_of_a_new_generation() {
    for (transition, starts, end) in transitions() {
        for &from in starts {
            let next = transition(word_in(from)).unwrap();
            let reused = end == SlotState::Free && from != SlotState::Uncarved;
            assert_eq!(next.generation(), if reused { 8 } else { 7 }, "{from} to {end}");
        }
    }
}

// r[verify slot.generation]
#[test]
fn generations_begin_at_one_and_pass_over_zero() {
    let free = SlotWord::decode(0).unwrap().carve().unwrap();
    assert_eq!(free.generation(), 1);
    let last = SlotWord::decode(u64::from(u32::MAX) << 32 | 1 << 28).unwrap();
    let next = last.grant(1).unwrap().give_back().unwrap();
    assert_eq!((next.generation(), next.state()), (1, SlotState::Free));
    assert_eq!(last.uncarve().unwrap().carve().unwrap().generation(), u32::MAX);
}

#[test]
fn an_owner_is_kept_as_long_as_the_slot_is_its_own() {
    let granted = word_in(SlotState::Free).grant(SERIAL_MAX).unwrap();
    assert_eq!(granted.owner(), SERIAL_MAX);
    assert_eq!(granted.quarantine().unwrap().owner(), SERIAL_MAX);
    assert_eq!(granted.quarantine().unwrap().release().unwrap().owner(), 0);
    assert_eq!(granted.quarantine().unwrap().adopt(9).unwrap().owner(), 9);
    assert_eq!(granted.publish().unwrap().owner(), 0);
    assert_eq!(granted.give_back().unwrap().owner(), 0);
}

// r[verify slot.written-off]
#[test]
fn what_is_written_off_belongs_to_nobody_and_is_never_free() {
    use SlotState::{Granted, Quarantined, Retired};
    for state in [Granted, Retired, Quarantined] {
        let written_off = word_in(state).write_off().unwrap();
        assert_eq!((written_off.state(), written_off.owner()), (Quarantined, 0));
        assert!(written_off.is_written_off());
        assert_eq!(SlotWord::decode(written_off.bits()), Ok(written_off));
        assert_eq!(written_off.release(), Err(IllegalTransition::WrittenOff));
        for (transition, _, end) in transitions() {
            let next = transition(written_off);
            assert!(next.is_err() || next == Ok(written_off), "it became {end}");
        }
    }
    assert!(!word_in(Quarantined).is_written_off());
}

#[test]
fn a_serial_that_does_not_fit_is_refused() {
    let serial = SERIAL_MAX + 1;
    let error = word_in(SlotState::Free).grant(serial).unwrap_err();
    assert_eq!(error, IllegalTransition::Serial { serial, serial_max: SERIAL_MAX });
    assert_eq!(word_in(SlotState::Granted).adopt(serial).unwrap_err(), error);
}

// r[verify slot.corrupt]
#[test]
fn what_no_host_writes_is_corrupt() {
    let fault = |bits| SlotWord::decode(bits).unwrap_err().fault;
    for state in 6..16_u8 {
        let bits = 1 << 32 | u64::from(state) << 28;
        assert_eq!(fault(bits), SlotWordFault::UnknownState { state });
    }
    assert_eq!(fault(1 << 28), SlotWordFault::GenerationZero { state: SlotState::Free });
    for state in [SlotState::Free, SlotState::Published, SlotState::Retired] {
        let bits = 1 << 32 | (state as u64) << 28 | 9;
        assert_eq!(fault(bits), SlotWordFault::Owner { owner: 9, state });
    }
    let state = SlotState::Uncarved;
    assert_eq!(fault(9), SlotWordFault::Owner { owner: 9, state });
}

#[test]
fn a_reader_compares_with_the_published_word() {
    let published = word_in(SlotState::Granted).publish().unwrap();
    assert_eq!(published, SlotWord::published(7));
    assert_eq!(SlotWord::UNCARVED.bits(), 0);
}

// r[verify slot.reference]
#[test]
fn slot_zero_is_no_slot() {
    assert_eq!(SlotRef::from_u64(0), None);
    assert_eq!(SlotRef::from_u64(u64::from(u32::MAX)), None);
    let first = SlotRef { slot: 1, generation: 1 };
    assert_eq!(first.to_u64(), 1 << 32 | 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // r[verify slot.corrupt]
    #[test]
    fn any_bits_are_a_word_or_corrupt(
        bits in any::<u64>(),
        state in 0..8_u64,
        owner in prop::sample::select(vec![0_u64, 1, u64::from(SERIAL_MAX)]),
        generation in prop::sample::select(vec![0_u64, 1, u64::from(u32::MAX)]),
    ) {
        for bits in [bits, generation << 32 | state << 28 | owner] {
            match SlotWord::decode(bits) {
                Ok(word) => prop_assert_eq!(word.bits(), bits),
                Err(corrupt) => prop_assert_eq!(corrupt.bits, bits),
            }
        }
    }

    // r[verify slot.reference]
    #[test]
    fn references_come_back_from_their_word(slot in 1..=u32::MAX, generation in any::<u32>()) {
        let reference = SlotRef { slot, generation };
        prop_assert_eq!(SlotRef::from_u64(reference.to_u64()), Some(reference));
    }

    /// No walk through the transitions leaves what `decode` accepts, nor comes back to a reference
    /// that a former holder may still have.
    #[test]
    fn any_life_of_a_slot_stays_decodable(steps in prop::collection::vec(0..11_usize, 0..200)) {
        let mut word = SlotWord::UNCARVED;
        let mut granted = Vec::new();
        for step in steps {
            let (transition, _, end) = transitions()[step];
            let Ok(next) = transition(word) else { continue };
            prop_assert_eq!(SlotWord::decode(next.bits()), Ok(next));
            if end == SlotState::Granted && word.state() == SlotState::Free {
                prop_assert!(!granted.contains(&next.generation()));
                granted.push(next.generation());
            }
            word = next;
        }
    }
}
