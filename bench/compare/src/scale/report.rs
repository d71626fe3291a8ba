//! What was found out about scaling: tables, JSON and plots.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::{Subject, Way};
use crate::directory::Directory;
use crate::error::CompareError;
use crate::figures::{Figure, Figures, Row};
use crate::machine::Setting;
use crate::plot::{Line, Plot};
use crate::report::{Table, json_line, table};
use crate::text;

pub(super) struct Report<'a> {
    pub(super) setting: &'a Setting,
    pub(super) load_at_end: String,
    pub(super) figures: &'a Figures<Subject>,
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "machine")]
    setting: &'a Setting,
    load_at_end: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    subject: &'a Subject,
    /// Blocks; where the subject tells the blocks, guests.
    number: u64,
    unit: &'static str,
    #[serde(flatten)]
    figure: Figure,
}

const BY_BLOCKS: &str = "one guest: time of a lookup";
const BY_GUESTS: &str = "guests that look up at the same time: lookups of all of them";

impl Report<'_> {
    pub(super) fn tables(&self) -> String {
        let mut out = self.setting.machine.text();
        let _ = writeln!(out, ", {} at the end\ncommit {}", self.load_at_end, self.setting.commit);
        let rows = named(self.by_blocks());
        let number_text = |blocks| format!("{} blocks", text::count(blocks));
        let value_text = text::time;
        table(&Table { title: BY_BLOCKS, rows, number_text: &number_text, value_text }, &mut out);
        let rows = named(self.by_guests());
        let value_text = text::rate;
        table(&Table { title: BY_GUESTS, rows, number_text: &text::guests, value_text }, &mut out);
        out
    }

    pub(super) fn json(&self) -> Result<String, CompareError> {
        let Report { setting, load_at_end, .. } = self;
        let mut lines = vec![json_line(&Header { setting, load_at_end })?];
        for (subject, row) in self.by_blocks().iter().chain(&self.by_guests()) {
            let unit = if subject.among.is_none() { "ns" } else { "lookups/s" };
            for (number, figure) in row {
                let (number, figure) = (*number, *figure);
                lines.push(json_line(&Entry { subject, number, unit, figure })?);
            }
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// Writes the JSON and the plots to a directory.
    pub(super) fn write(&self, directory: &Path) -> Result<(), CompareError> {
        let directory = Directory::make(directory)?;
        directory.write("scale.json", Some(self.json()?))?;
        let blocks = Plot {
            title: BY_BLOCKS.to_owned(),
            across: "blocks in the cache",
            lines: lines(self.by_blocks(), |subject| subject.way == Way::Chase),
            number_text: text::count,
            value_text: text::time,
        };
        directory.write("lookup-by-blocks.svg", blocks.svg())?;
        let by_guests = self.by_guests();
        let fewest = by_guests.iter().filter_map(|(subject, _)| subject.among).min();
        let guests = Plot {
            title: BY_GUESTS.to_owned(),
            across: "guests",
            lines: lines(by_guests, |subject| subject.among > fewest),
            number_text: |guests| guests.to_string(),
            value_text: text::rate,
        };
        directory.write("lookup-by-guests.svg", guests.svg())
    }

    fn by_blocks(&self) -> Vec<(Subject, Row)> {
        self.figures.of(|subject| subject.among.is_none())
    }

    fn by_guests(&self) -> Vec<(Subject, Row)> {
        self.figures.of(|subject| subject.among.is_some())
    }
}

fn named(rows: Vec<(Subject, Row)>) -> Vec<(String, Row)> {
    rows.into_iter().map(|(subject, row)| (name(subject), row)).collect()
}

fn lines(rows: Vec<(Subject, Row)>, is_dashed: impl Fn(&Subject) -> bool) -> Vec<Line> {
    let lines = rows.into_iter().map(|(subject, row)| Line {
        name: name(subject),
        colour: subject.way as usize,
        is_dashed: is_dashed(&subject),
        points: row.into_iter().collect(),
    });
    lines.collect()
}

fn name(subject: Subject) -> String {
    let way = match subject.way {
        Way::Chase => "one line of memory",
        Way::One => "direct",
        Way::Read => "direct, and read",
        Way::Batch => "direct, 64 a batch",
        Way::Prefix => "prefix of 1000",
        Way::Ring => "over the ring",
    };
    match subject.among {
        Some(blocks) => format!("{way}, {}", text::count(blocks)),
        None => way.to_owned(),
    }
}
