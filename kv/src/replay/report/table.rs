//! Two columns of plain text.

use std::fmt;

/// Rows of a name and a value, the values aligned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    /// A table without rows.
    pub fn new() -> Table {
        Table::default()
    }

    /// Appends a row. A value of several lines takes as many.
    pub fn row(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.rows.push((name.into(), value.into()));
    }
}

/// One line for each row, without a newline behind the last.
impl fmt::Display for Table {
    // r[impl replay.report.table]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let lines = self.rows.iter().flat_map(|(name, value)| {
            let names = std::iter::once(name.as_str()).chain(std::iter::repeat(""));
            // A value of no lines is one empty line.
            let rest = if value.is_empty() { Some("") } else { None };
            names.zip(value.lines().chain(rest))
        });
        for (number, (name, value)) in lines.enumerate() {
            if number > 0 {
                out.write_str("\n")?;
            }
            let line = format!("{name:width$}  {value}");
            out.write_str(line.trim_end())?;
        }
        Ok(())
    }
}
