//! The table, and the file that others read.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Row;

/// One row, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Unit of the figures.
    pub unit: String,
    /// Median of ours.
    pub ours: f64,
    /// Median of the thing itself; none when there is nothing to compare with.
    pub reference: Option<f64>,
    /// What that is.
    pub reference_name: String,
    /// Ours by reference.
    pub ratio: Option<f64>,
    /// Counted rounds of each.
    pub runs: usize,
    /// What has to be known to read it.
    pub note: String,
}

impl Entry {
    /// Makes a row from its medians.
    pub fn new(row: Row, ours: f64, reference: Option<f64>, runs: usize) -> Self {
        let ratio = reference.filter(|it| *it != 0.0).map(|it| ours / it);
        Self {
            id: row.id.to_owned(),
            unit: row.unit.to_owned(),
            ours,
            reference,
            reference_name: row.reference_name.to_owned(),
            ratio,
            runs,
            note: row.note.to_owned(),
        }
    }
}

/// All rows of a run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Report(Vec<Entry>);

impl Report {
    /// Adds a row.
    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// Writes the file. Rows of other programs that are in it already stay.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut rows: Vec<serde_json::Value> = std::fs::read(path)
            .ok()
            .and_then(|it| serde_json::from_slice(&it).ok())
            .unwrap_or_default();
        rows.retain(|row| {
            let id = row.get("id").and_then(serde_json::Value::as_str);
            !self.0.iter().any(|it| Some(it.id.as_str()) == id)
        });
        for entry in &self.0 {
            rows.push(serde_json::to_value(entry).context("encode a row")?);
        }
        let text = serde_json::to_string_pretty(&rows).context("encode the rows")?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).context("make the folder")?;
        }
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }

    /// The table, for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<22} {:>12} {:>12} {:<5} {:>7}  {}\n",
            "id", "ours", "reference", "unit", "ratio", "against"
        );
        for it in &self.0 {
            let reference = it.reference.map_or_else(|| "-".to_owned(), figure);
            let ratio = it.ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
            let ours = figure(it.ours);
            let against = if it.note.is_empty() {
                it.reference_name.clone()
            } else {
                format!("{}; {}", it.reference_name, it.note)
            };
            let written = writeln!(
                text,
                "{:<22} {ours:>12} {reference:>12} {:<5} {ratio:>7}  {against}",
                it.id, it.unit
            );
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }
}

fn figure(it: f64) -> String {
    if it.abs() >= 1_000.0 { format!("{it:.0}") } else { format!("{it:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_agreed_fields_and_keeps_the_rows_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bench.json");
        std::fs::write(&path, r#"[{"id": "switch.drops", "ours": 0}, {"id": "a", "ours": 9}]"#)
            .unwrap();
        let row = Row { id: "a", unit: "ms", reference_name: "docker", note: "n" };
        let mut report = Report::default();
        report.push(Entry::new(row, 3.0, Some(2.0), 5));
        report.write(&path).unwrap();
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["id"], "switch.drops");
        let keys: Vec<_> = rows[1].as_object().unwrap().keys().cloned().collect();
        let mut expected =
            ["id", "unit", "ours", "reference", "reference_name", "ratio", "runs", "note"];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(rows[1]["ratio"], 1.5);
    }
}
