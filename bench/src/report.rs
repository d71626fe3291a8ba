//! What a benchmark says, to people or to machines.

use std::time::Duration;

use onecopy_machine::{Machine, commit};
use serde::Serialize;

use crate::pin::Cores;
use crate::rounds::Comparison;

/// One figure beside its baseline.
#[derive(Debug, Serialize)]
struct Figure<'a> {
    name: &'a str,
    baseline: &'a str,
    baseline_ns: f64,
    ns: f64,
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
    rounds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slept_percent: Option<f64>,
    #[serde(flatten)]
    crowd: Option<Crowd>,
    #[serde(flatten)]
    looks: Option<Looks>,
}

/// What a host spends on looking through lease tables.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Looks {
    /// Blocks that were evicted for each look.
    pub(crate) evictions_per_look: f64,
    /// Words of lease tables that a look has read.
    pub(crate) words_per_look: f64,
    /// Nanoseconds of a look.
    pub(crate) ns_per_look: f64,
    /// Nanoseconds of looking for each block that was evicted.
    pub(crate) ns_per_eviction: f64,
}

/// Guests that ask at the same time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Crowd {
    /// How many.
    pub(crate) guests: u64,
    /// What the guest that got least was answered, as a part of what the one that got most was.
    pub(crate) least_to_most: f64,
    /// How often the host woke a guest, for each 1,000 requests that it carried out.
    pub(crate) wakes_per_1000: f64,
}

/// What a figure is called and compared with, and what else it says.
#[derive(Debug, Default)]
pub(crate) struct Label<'a> {
    /// Its name for machines.
    pub(crate) name: &'a str,
    /// What it measures, for people.
    pub(crate) text: &'a str,
    /// What the baseline does, for people.
    pub(crate) baseline: &'a str,
    /// Whether an operation is one of many in flight, so that its rate says more than its time.
    pub(crate) is_rate: bool,
    /// In how many operations of a hundred the other side was asleep.
    pub(crate) slept_percent: Option<f64>,
    /// For a figure of many guests together.
    pub(crate) crowd: Option<Crowd>,
    /// For a figure of a host that evicts.
    pub(crate) looks: Option<Looks>,
}

/// A span of time that has no baseline, measured many times.
pub(crate) struct Span<'a> {
    /// Its name for machines.
    pub(crate) name: &'a str,
    /// From what to what, for people.
    pub(crate) text: &'a str,
    /// Slots that the process held.
    pub(crate) slots: u64,
    /// Memory of the process that was mapped, and that it had touched, where that matters.
    pub(crate) memory: Option<Memory>,
    /// Every time that was measured.
    pub(crate) times: Vec<Duration>,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) mapped_bytes: u64,
    pub(crate) touched_bytes: u64,
}

#[derive(Debug, Serialize)]
struct SpanFigure<'a> {
    name: &'a str,
    slots: u64,
    count: usize,
    p50_ns: u64,
    p99_ns: u64,
    max_ns: u64,
    #[serde(flatten)]
    memory: Option<Memory>,
}

#[derive(Debug, Serialize)]
struct Header {
    machine: Pinned,
    commit: &'static str,
}

#[derive(Debug, Serialize)]
struct Pinned {
    #[serde(flatten)]
    machine: Machine,
    /// The cores of the two processes, if they were pinned.
    pinned: Option<(usize, usize)>,
}

/// Where the figures go.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    /// Tells the machine and the commit.
    pub(crate) fn new(json: bool, cores: &Cores) -> Report {
        let (machine, pinned, commit) = (Machine::this(cores.count()), cores.pair(), commit());
        if json {
            print_json(&Header { machine: Pinned { machine, pinned }, commit });
        } else {
            println!("{}", machine.text());
            match pinned {
                Some((first, second)) => println!("pinned to cores {first} and {second}"),
                None => println!("not pinned: there is one core, which both processes share"),
            }
            println!("commit {commit}\n");
        }
        Report { json }
    }

    /// Tells one figure.
    pub(crate) fn figure(&mut self, label: &Label<'_>, comparison: &Comparison) {
        let Comparison { baseline_ns, ns, ratio, ratio_min, ratio_max, rounds } = *comparison;
        let requests_per_second = label.is_rate.then_some(1e9 / ns);
        if self.json {
            let (name, baseline, slept_percent) = (label.name, label.baseline, label.slept_percent);
            return print_json(&Figure {
                name,
                baseline,
                baseline_ns: rounded(baseline_ns),
                ns: rounded(ns),
                ratio: rounded(ratio),
                ratio_min: rounded(ratio_min),
                ratio_max: rounded(ratio_max),
                rounds,
                requests_per_second: requests_per_second.map(f64::round),
                slept_percent: slept_percent.map(rounded),
                crowd: label.crowd.map(|crowd| Crowd {
                    least_to_most: rounded(crowd.least_to_most),
                    wakes_per_1000: rounded(crowd.wakes_per_1000),
                    ..crowd
                }),
                looks: label.looks.map(|looks| Looks {
                    evictions_per_look: rounded(looks.evictions_per_look),
                    words_per_look: rounded(looks.words_per_look),
                    ns_per_look: rounded(looks.ns_per_look),
                    ns_per_eviction: rounded(looks.ns_per_eviction),
                }),
            });
        }
        println!("{}: {ns:.1} ns", label.text);
        if let Some(rate) = requests_per_second {
            println!("  {:.2} million requests/s", rate / 1e6);
        }
        println!("  {ratio:.2} times {}, {baseline_ns:.1} ns", label.baseline);
        println!("  {ratio_min:.2} to {ratio_max:.2} in {rounds} rounds");
        if let Some(slept) = label.slept_percent {
            println!("  the peer was asleep in {slept:.1} % of the wakes");
        }
        if let Some(Crowd { least_to_most, wakes_per_1000, .. }) = label.crowd {
            println!("  who got least got {least_to_most:.2} of what who got most did");
            println!("  the host woke a guest {wakes_per_1000:.1} times for 1,000 requests");
        }
        if let Some(looks) = label.looks {
            let Looks { evictions_per_look, words_per_look, ns_per_look, ns_per_eviction } = looks;
            println!(
                "  a look read {words_per_look:.0} words of lease tables in {ns_per_look:.0} ns"
            );
            println!("  it served {evictions_per_look:.1} evictions, {ns_per_eviction:.1} ns each");
        }
    }
}

impl Report {
    /// Tells one span.
    pub(crate) fn span(&mut self, span: Span<'_>) {
        let Span { name, text, slots, memory, mut times } = span;
        times.sort_unstable();
        let count = times.len();
        let at = |percent: usize| {
            let place = count.saturating_sub(1) * percent / 100;
            times.get(place).copied().unwrap_or_default()
        };
        let (p50, p99, max) = (at(50), at(99), at(100));
        if self.json {
            let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let (p50_ns, p99_ns, max_ns) = (ns(p50), ns(p99), ns(max));
            let figure = SpanFigure { name, slots, count, p50_ns, p99_ns, max_ns, memory };
            return print_json(&figure);
        }
        println!("{text}, {slots} slots, {count} times");
        println!("  median {p50:?}, 99 % within {p99:?}, longest {max:?}");
        if let Some(Memory { mapped_bytes, touched_bytes }) = memory {
            let mib = |bytes: u64| bytes >> 20;
            println!("  {} MiB mapped, {} MiB touched", mib(mapped_bytes), mib(touched_bytes));
        }
    }
}

/// Thousandths are more than the clock can tell.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("onecopy-bench: a figure that JSON cannot tell: {error}"),
    }
}
