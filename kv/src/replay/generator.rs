//! Conversations made up from a seed: several turns each, interleaved, each turn's prompt holding all
//! that was said before, behind one of a few system prompts that many conversations share.
//!
//! The same options give the same trace on every machine.

use std::ops::RangeInclusive;

use super::payload::mix;
use super::trace::{BLOCK_TOKENS, BlockCountError, Request, Trace, block_count};

#[cfg(test)]
mod tests;

/// What to make up. Ranges are inclusive and drawn from evenly; tokens are per item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Conversations in all.
    pub conversations: u32,
    /// Conversations that are under way at a time. At least 1.
    pub active: u32,
    /// Turns of a conversation: requests that it makes.
    pub turns: RangeInclusive<u32>,
    /// Number of system prompts. At least 1.
    pub system_prompts: u32,
    /// Tokens of a system prompt.
    pub system_tokens: RangeInclusive<u32>,
    /// Tokens of a question.
    pub question_tokens: RangeInclusive<u32>,
    /// Tokens of an answer.
    pub answer_tokens: RangeInclusive<u32>,
    /// Milliseconds between a request and the next.
    pub gap_ms: RangeInclusive<u32>,
}

/// Conversations whose shared cache is [`GeneratorOptions::CAPACITY_BLOCKS`] blocks.
impl Default for GeneratorOptions {
    fn default() -> GeneratorOptions {
        GeneratorOptions {
            seed: 1,
            conversations: 500,
            active: 64,
            turns: 4..=12,
            system_prompts: 6,
            system_tokens: 500..=2_500,
            question_tokens: 50..=1_200,
            answer_tokens: 50..=800,
            gap_ms: 0..=100,
        }
    }
}

impl GeneratorOptions {
    /// A capacity, in blocks, that holds the default conversations while they are under way: large
    /// enough when it is shared, too small when four processes have a quarter of it each.
    pub const CAPACITY_BLOCKS: u32 = 800;
}

/// Options that no trace can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// A range without a number in it, or a number that has to be at least 1.
    #[error("{name} is {min}..={max}, expected a range that begins at {least} or above")]
    Range {
        /// Name of the option.
        name: &'static str,
        /// Where the range begins.
        min: u32,
        /// Where it ends.
        max: u32,
        /// The least number that makes sense.
        least: u32,
    },
    /// A conversation with more tokens than a request can have.
    #[error("a prompt would have {tokens} tokens, at most {max} are possible", max = u32::MAX)]
    TooLong {
        /// Tokens it would have.
        tokens: u64,
    },
    /// A request that the trace does not take: a bug of the generator.
    #[error("the generator made a wrong request: {source}")]
    Request {
        /// What is wrong with it.
        #[from]
        source: BlockCountError,
    },
}

/// A conversation under way.
struct Conversation {
    /// What its own blocks' ids are made of.
    tag: u64,
    system: System,
    history_tokens: u64,
    turns_left: u32,
}

#[derive(Clone, Copy)]
struct System {
    tag: u64,
    tokens: u64,
}

/// Makes up a trace.
///
/// # Errors
/// [`GeneratorError`] for options that contradict themselves.
// r[impl replay.generator]
pub fn generate(options: &GeneratorOptions) -> Result<Trace, GeneratorError> {
    check(options)?;
    let mut random = Random { state: mix(options.seed) };
    let systems: Vec<_> = (0..options.system_prompts)
        .map(|_| System { tag: random.next(), tokens: random.pick(&options.system_tokens) })
        .collect();
    let mut started = 0;
    let mut active = Vec::new();
    let mut trace = Trace::new();
    let mut timestamp_ms = 0;
    let mut block_ids = Vec::new();
    loop {
        while started < options.conversations && active.len() < options.active as usize {
            active.push(Conversation::start(&systems, options, &mut random));
            started += 1;
        }
        let place = random.below(active.len() as u64) as usize;
        let Some(conversation) = active.get_mut(place) else { return Ok(trace) };
        let answer_tokens = random.pick(&options.answer_tokens);
        let prompt_tokens = conversation.ask(random.pick(&options.question_tokens))?;
        conversation.block_ids(prompt_tokens, &mut block_ids);
        trace.push(Request {
            timestamp_ms,
            input_tokens: prompt_tokens,
            output_tokens: answer_tokens as u32,
            block_ids: &block_ids,
        })?;
        if conversation.answered(answer_tokens) {
            active.swap_remove(place);
        }
        timestamp_ms += random.pick(&options.gap_ms);
    }
}

impl Conversation {
    fn start(systems: &[System], options: &GeneratorOptions, random: &mut Random) -> Conversation {
        let number = random.below(systems.len() as u64) as usize;
        Conversation {
            tag: random.next(),
            system: systems.get(number).copied().unwrap_or(System { tag: 0, tokens: 0 }),
            history_tokens: 0,
            turns_left: random.pick(&options.turns) as u32,
        }
    }

    /// Takes a question in and gives the tokens of the prompt that it makes.
    fn ask(&mut self, question_tokens: u64) -> Result<u32, GeneratorError> {
        self.history_tokens += question_tokens;
        let tokens = self.system.tokens + self.history_tokens;
        u32::try_from(tokens).map_err(|_| GeneratorError::TooLong { tokens })
    }

    /// Takes the answer in. Whether that was the last turn.
    fn answered(&mut self, answer_tokens: u64) -> bool {
        self.history_tokens += answer_tokens;
        self.turns_left = self.turns_left.saturating_sub(1);
        self.turns_left == 0
    }

    /// Ids of the prompt's blocks. What was said stays said, so a full block is named by its number
    /// alone; the last, begun block is another one in each turn.
    fn block_ids(&self, prompt_tokens: u32, block_ids: &mut Vec<u64>) {
        block_ids.clear();
        let prompt_tokens = u64::from(prompt_tokens);
        for number in 0..block_count(prompt_tokens as u32) {
            let end = (number + 1) * BLOCK_TOKENS;
            let id = if end <= self.system.tokens {
                mix(self.system.tag ^ number)
            } else if end <= prompt_tokens {
                mix(self.tag ^ number)
            } else {
                mix(mix(self.tag ^ number) ^ prompt_tokens)
            };
            block_ids.push(id);
        }
    }
}

fn check(options: &GeneratorOptions) -> Result<(), GeneratorError> {
    let ranges = [
        ("active", &(options.active..=options.active), 1),
        ("system_prompts", &(options.system_prompts..=options.system_prompts), 1),
        ("turns", &options.turns, 1),
        ("system_tokens", &options.system_tokens, 0),
        ("question_tokens", &options.question_tokens, 1),
        ("answer_tokens", &options.answer_tokens, 0),
        ("gap_ms", &options.gap_ms, 0),
    ];
    for (name, range, least) in ranges {
        let (min, max) = (*range.start(), *range.end());
        if min < least || max < min {
            return Err(GeneratorError::Range { name, min, max, least });
        }
    }
    Ok(())
}

/// splitmix64: a count, mixed.
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(1);
        mix(self.state)
    }

    /// A number below `limit`; 0 where there is none. The bias of the division is below 2^-32 for the
    /// limits used here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    fn pick(&mut self, range: &RangeInclusive<u32>) -> u64 {
        let (min, max) = (u64::from(*range.start()), u64::from(*range.end()));
        min + self.below(max - min + 1)
    }
}
