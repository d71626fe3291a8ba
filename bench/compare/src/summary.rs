//! The few figures that tell most, in one table.

use std::fmt::Write;

use crate::figures::{Figures, Subject};
use crate::plan::Measure;
use crate::system::{Placement, System};
use crate::text;

/// What stands in the columns.
const COLUMNS: [(&str, Measure, u64); 6] = [
    ("get 4 KiB", Measure::GetEnds, 4 << 10),
    ("get 1 MiB", Measure::GetEnds, 1 << 20),
    ("get and read 1 MiB", Measure::GetSum, 1 << 20),
    ("put 4 KiB", Measure::Put, 4 << 10),
    ("4 KiB, 64 a batch", Measure::Batch, 64),
    ("4 KiB, 8 guests", Measure::Guests, 8),
];

/// A row for each system; with its two sides on two cores / on one core, where it has two sides. The
/// columns that were not measured are left out, and without any there is no table.
pub(crate) fn table(systems: &[System], figures: &Figures<Subject>, out: &mut String) {
    let value = |system, measure, placement, number| {
        let subject = Subject { measure, system: measured(system, measure), placement };
        figures.of(|found| found == subject).first()?.1.get(&number).map(|figure| figure.median)
    };
    let is_measured = |column: &(&str, Measure, u64)| {
        let (_, measure, number) = *column;
        let placements = [Placement::Apart, Placement::Together, Placement::Free];
        let mut values =
            systems.iter().flat_map(|system| placements.map(|placement| (*system, placement)));
        values.any(|(system, placement)| value(system, measure, placement, number).is_some())
    };
    let columns: Vec<_> = COLUMNS.into_iter().filter(is_measured).collect();
    if columns.is_empty() {
        return;
    }
    let heads: Vec<&str> = columns.iter().map(|(head, ..)| *head).collect();
    let _ = writeln!(out, "\n| | {} |", heads.join(" | "));
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(heads.len()));
    for system in systems.iter().copied() {
        let _ = write!(out, "| {system} |");
        for (_, measure, number) in columns.iter().copied() {
            let text = if measure.is_rate() { text::rate } else { text::time };
            let placements = [Placement::Apart, Placement::Together, Placement::Free];
            let values = placements
                .into_iter()
                .filter_map(|placement| value(system, measure, placement, number));
            let _ = write!(out, " {} |", values.map(text).collect::<Vec<_>>().join(" / "));
        }
        out.push('\n');
    }
}

/// By which system it is measured: a put does not depend on how blocks are looked up.
fn measured(system: System, measure: Measure) -> System {
    match (system, measure) {
        (System::OnecopyDirect, Measure::Put) => System::OnecopyRing,
        _ => system,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_placements_stand_in_one_cell() {
        let mut figures = Figures::new();
        let mut add = |system, measure, placement, number, value| {
            figures.add(Subject { measure, system, placement }, number, value);
        };
        let (ring, direct) = (System::OnecopyRing, System::OnecopyDirect);
        add(ring, Measure::GetEnds, Placement::Apart, 4096, 1500.0);
        add(ring, Measure::GetEnds, Placement::Together, 4096, 20_000.0);
        add(direct, Measure::GetEnds, Placement::Apart, 4096, 50.0);
        add(ring, Measure::Put, Placement::Apart, 4096, 3000.0);
        let mut out = String::new();
        table(&[direct, ring], &figures, &mut out);
        let expected = "\n| | get 4 KiB | put 4 KiB |\n| --- | ---: | ---: |\n\
            | onecopy direct | 50 ns | 3 us |\n| onecopy ring | 1.5 us / 20 us | 3 us |\n";
        assert_eq!(out, expected);
        let mut nothing = String::new();
        table(&[System::Redis], &figures, &mut nothing);
        assert_eq!(nothing, "");
    }
}
