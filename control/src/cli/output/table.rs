//! Columns that fit the terminal: the widest ones give way, the first never does.

use super::{Paint, painted};

/// Between two columns.
const GAP: usize = 3;
/// No column is made narrower than this.
const LEAST: usize = 8;

/// A cell: its text, and how it is painted.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        // Names come from servers; none may move the cursor.
        Self { text: super::text::harmless(&text.into(), false), paint: None }
    }
}

impl Cell {
    /// A painted cell.
    pub(in crate::cli) fn painted(paint: Paint, text: impl Into<String>) -> Self {
        Self { paint: Some(paint), ..Self::from(text) }
    }
}

/// A table. The first column names the row.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(in crate::cli) fn new<const N: usize>(heads: [&'static str; N]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(in crate::cli) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Whether it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What `-q` prints: the first cell of each row.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| row.first()).map(|it| it.text.as_str())
    }

    /// The lines, no wider than `width`.
    pub(super) fn render(&self, width: Option<usize>, color: bool) -> Vec<String> {
        let heads: Vec<Cell> = self.heads.iter().map(|it| Cell::painted(Paint::Dim, *it)).collect();
        let widths = self.widths(width);
        std::iter::once(&heads).chain(&self.rows).map(|row| line(row, &widths, color)).collect()
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let natural = |column: usize| {
            let head = self.heads.get(column).map_or(0, |it| it.len());
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|it| length(&it.text));
            cells.chain([head]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.heads.len()).map(natural).collect();
        let Some(limit) = limit else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
        while over > 0 {
            // One by one from the widest, which ends with equally wide ones.
            let widest = widths.iter_mut().skip(1).filter(|it| **it > LEAST).max();
            let Some(widest) = widest else { break };
            *widest -= 1;
            over -= 1;
        }
        widths
    }
}

fn line(row: &[Cell], widths: &[usize], color: bool) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let text = cut(&cell.text, *width);
        let room = width.saturating_sub(length(&text));
        match cell.paint {
            Some(paint) => line.push_str(&painted(color, paint, &text)),
            None => line.push_str(&text),
        }
        if index + 1 < widths.len() {
            line.extend(std::iter::repeat_n(' ', room + GAP));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn apps() -> Table {
        let mut table = Table::new(["APP", "STATE", "URL"]);
        table.row([
            "web".into(),
            Cell::painted(Paint::Good, "running"),
            "http://127.0.0.1:20000".into(),
        ]);
        table.row([
            "blog.staging".into(),
            "stopped".into(),
            "https://a-rather-long-name.example.com".into(),
        ]);
        table
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        expect![[r#"
            APP            STATE     URL
            web            running   http://127.0.0.1:20000
            blog.staging   stopped   https://a-rather-long-name.example.com"#]]
        .assert_eq(&apps().render(None, false).join("\n"));
    }

    #[test]
    fn the_widest_column_gives_way() {
        let lines = apps().render(Some(50), false);
        assert!(lines.iter().all(|it| it.chars().count() <= 50), "{lines:#?}");
        assert!(lines[2].ends_with('…'), "{lines:#?}");
    }

    #[test]
    fn only_painted_cells_carry_color() {
        let lines = apps().render(None, true);
        assert!(lines[1].contains("\x1b[32mrunning\x1b[0m"), "{lines:#?}");
        assert!(!lines[2].contains('\x1b'), "{lines:#?}");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let mut table = Table::new(["APP"]);
        table.row(["a\x1b[2Jb".into()]);
        assert_eq!(table.render(None, true)[1], "a\\x1b[2Jb");
    }
}
