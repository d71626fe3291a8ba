//! What a comparison says: tables for people, JSON for machines, plots for both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::directory::Directory;
use crate::error::{CompareError, Step};
use crate::figures::{Figure, Figures, Row, Subject};
use crate::machine::{Setting, Version};
use crate::plan::Measure;
use crate::plot::{Line, Plot};
use crate::summary;
use crate::system::{Placement, System};
use crate::text;

/// Whatever is said at the head.
pub(crate) struct Report<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) versions: &'a [Version],
    /// Load when all was measured.
    pub(crate) load_at_end: String,
    pub(crate) figures: &'a Figures<Subject>,
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "machine")]
    setting: &'a Setting,
    load_at_end: &'a str,
    versions: &'a [Version],
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    subject: &'a Subject,
    /// Bytes, batch or guests.
    number: u64,
    unit: &'static str,
    #[serde(flatten)]
    figure: Figure,
}

impl Report<'_> {
    /// All tables, as Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut out = self.setting.machine.text();
        let systems: Vec<System> = self.versions.iter().map(|version| version.system).collect();
        // The version of onecopy is the commit.
        let others = self.versions.iter().filter(|version| !version.system.is_onecopy());
        let versions = others.map(|Version { system, version }| format!("{system} {version}"));
        let versions: Vec<String> = versions.collect();
        let _ = writeln!(out, ", {} at the end", self.load_at_end);
        let _ = writeln!(out, "{}\ncommit {}", versions.join("; "), self.setting.commit);
        summary::table(&systems, self.figures, &mut out);
        for measure in Measure::ALL {
            self.table(measure, &mut out);
        }
        out
    }

    fn table(&self, measure: Measure, out: &mut String) {
        let rows = self.figures.of(|subject| subject.measure == measure);
        let rows = rows.into_iter().map(|(subject, row)| (name(subject), row)).collect();
        let value_text = if measure.is_rate() { text::rate } else { text::time };
        let number_text = |number| number_text(measure, number);
        table(&Table { title: measure.text(), rows, number_text: &number_text, value_text }, out);
    }

    /// The header and the figures, one to a line.
    pub(crate) fn json(&self) -> Result<String, CompareError> {
        let Report { setting, versions, load_at_end, .. } = self;
        let mut lines = vec![json_line(&Header { setting, load_at_end, versions })?];
        for measure in Measure::ALL {
            for (subject, row) in self.figures.of(|subject| subject.measure == measure) {
                for (number, figure) in row {
                    let unit = if measure.is_rate() { "blocks/s" } else { "ns" };
                    lines.push(json_line(&Entry { subject: &subject, number, unit, figure })?);
                }
            }
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// Writes the JSON and the plots to a directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), CompareError> {
        let directory = Directory::make(directory)?;
        directory.write("compare.json", Some(self.json()?))?;
        for (measure, file) in [
            (Measure::GetEnds, "get-by-size.svg"),
            (Measure::GetSum, "read-by-size.svg"),
            (Measure::Put, "put-by-size.svg"),
            (Measure::Batch, "get-by-batch.svg"),
            (Measure::Guests, "get-by-guests.svg"),
        ] {
            directory.write(file, self.plot(measure))?;
        }
        Ok(())
    }

    fn plot(&self, measure: Measure) -> Option<String> {
        let lines = self.figures.of(|subject| subject.measure == measure).into_iter().map(
            |(subject, row)| Line {
                name: name(subject),
                colour: subject.system as usize,
                is_dashed: subject.placement == Placement::Together,
                points: row.into_iter().collect(),
            },
        );
        let (across, number_text): (_, fn(u64) -> String) = match measure {
            Measure::Batch => ("blocks in a batch", |number| number.to_string()),
            Measure::Guests => ("processes that get", |number| number.to_string()),
            _ => ("bytes of a block", text::bytes),
        };
        let value_text = if measure.is_rate() { text::rate } else { text::time };
        let title = measure.text().to_owned();
        Plot { title, across, lines: lines.collect(), number_text, value_text }.svg()
    }
}

/// The system, and where its sides stood if there are two.
fn name(subject: Subject) -> String {
    let Subject { measure, system, placement } = subject;
    let is_told = !system.gets_alone() && measure != Measure::Guests;
    let place = if is_told { format!(", {}", placement.text()) } else { String::new() };
    let kind = match (system, measure) {
        (System::Iceoryx, Measure::Put) => " publish",
        (System::Iceoryx, _) => " request",
        (System::OnecopyRing, Measure::Put) => return format!("onecopy publish{place}"),
        _ => "",
    };
    format!("{system}{kind}{place}")
}

fn number_text(measure: Measure, number: u64) -> String {
    match measure {
        Measure::Batch => format!("batch {number}"),
        Measure::Guests => text::guests(number),
        _ => text::bytes(number),
    }
}

/// Rows of figures with what they are told by.
pub(crate) struct Table<'a> {
    pub(crate) title: &'a str,
    pub(crate) rows: Vec<(String, Row)>,
    pub(crate) number_text: &'a dyn Fn(u64) -> String,
    pub(crate) value_text: fn(f64) -> String,
}

/// Medians, and behind each the least and the greatest of the rounds, in Markdown.
pub(crate) fn table(table: &Table<'_>, out: &mut String) {
    let Table { title, rows, number_text, value_text } = table;
    let numbers: BTreeSet<u64> = rows.iter().flat_map(|(_, row)| row.keys().copied()).collect();
    if rows.is_empty() {
        return;
    }
    let heads: Vec<String> = numbers.iter().map(|number| number_text(*number)).collect();
    let _ = writeln!(out, "\n### {title}\n\n| | {} |", heads.join(" | "));
    let _ = writeln!(out, "| --- |{}", " ---: |".repeat(heads.len()));
    for (name, row) in rows {
        let cells: Vec<String> =
            numbers.iter().map(|number| cell(row.get(number), *value_text)).collect();
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
}

fn cell(figure: Option<&Figure>, text: fn(f64) -> String) -> String {
    let Some(Figure { median, min, max, .. }) = figure else { return "-".to_owned() };
    format!("**{}** ({} to {})", text(*median), text(*min), text(*max))
}

pub(crate) fn json_line(value: &impl Serialize) -> Result<String, CompareError> {
    serde_json::to_string(value).map_err(std::io::Error::from).step("put a figure in words")
}

/// The systems of a list that are there, and what is said of those that are not.
pub(crate) fn present(versions: &BTreeMap<System, Option<Version>>) -> (Vec<Version>, Vec<String>) {
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for (system, version) in versions {
        match (version, system.program()) {
            (Some(version), _) => found.push(version.clone()),
            (None, program) => {
                let program = program.unwrap_or("its library");
                missing.push(format!("{system} is skipped: {program} is not there"));
            }
        }
    }
    (found, missing)
}
