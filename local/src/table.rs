//! Plain tables that fit a narrow terminal.

use std::fmt::Write as _;

use console::{Style, Term};

/// Columns assumed where the width of the terminal is not known.
const DEFAULT_WIDTH: usize = 80;

/// Side of a cell that its text keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under one heading each, with columns as wide as their content.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(name, align)| (name.to_owned(), align))
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty, surplus ones are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// The table with its headings in `heading` style, each line ending in a newline.
    pub fn render(&self, heading: &Style) -> String {
        let widths = self.widths();
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut out = String::new();
        // Infallible: writing into a String.
        let _ = writeln!(out, "{}", heading.apply_to(self.line(&headings, &widths)));
        for row in &self.rows {
            let _ = writeln!(out, "{}", self.line(row, &widths));
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let cells = |c: usize| self.rows.iter().filter_map(move |row| row.get(c));
        self.columns
            .iter()
            .enumerate()
            .map(|(c, (name, _))| {
                cells(c)
                    .chain([name])
                    .map(|s| s.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded =
            cells
                .iter()
                .zip(&self.columns)
                .zip(widths)
                .map(|((cell, (_, align)), width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Names and values below each other; a value too long for `width` columns goes on in lines of its own.
pub fn list<'a>(entries: impl IntoIterator<Item = (&'a str, String)>, width: usize) -> String {
    let entries: Vec<_> = entries.into_iter().collect();
    let indent = entries
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 2;
    let room = width.saturating_sub(indent).max(16);
    let mut out = String::new();
    for (name, value) in entries {
        for (i, line) in wrap(&value, room).into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            let _ = writeln!(out, "{name:<indent$}{line}");
        }
    }
    out
}

/// Lines of at most `width` characters: broken at spaces, and inside words that are longer than that.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        for (i, piece) in pieces(word, width).into_iter().enumerate() {
            let last = lines.last_mut().expect("begins with a line");
            let space = usize::from(!last.is_empty());
            let fits = last.chars().count() + space + piece.chars().count() <= width;
            if last.is_empty() || (fits && i == 0) {
                last.push_str(if space == 1 { " " } else { "" });
                last.push_str(&piece);
            } else {
                lines.push(piece);
            }
        }
    }
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    chars
        .chunks(width.max(1))
        .map(|piece| piece.iter().collect())
        .collect()
}

/// Columns of standard output.
pub fn terminal_width() -> usize {
    match Term::stdout().size_checked() {
        Some((_, columns)) if columns > 0 => usize::from(columns),
        _ => DEFAULT_WIDTH,
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes with a unit that keeps it below 1024.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.row(["a", "1"]);
        table.row(["longer", "1,000"]);
        table.row(["x"]);
        let plain = table.render(&Style::new());
        assert_eq!(plain, "name        n\na           1\nlonger  1,000\nx\n");
    }

    #[test]
    fn long_values_go_on_under_themselves() {
        let text = list([("digest", "a".repeat(40)), ("n", "1".into())], 28);
        let expected = format!(
            "digest  {}\n        {}\nn       1\n",
            "a".repeat(20),
            "a".repeat(20)
        );
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.len() <= 28));
    }

    #[test]
    fn wrapping_loses_no_word_and_keeps_to_the_width() {
        let text = "a row as the payload knows it, aaaaaaaaaaaaaaaaaaaaaaa, and as hosts saw it";
        for width in 1..40 {
            let lines = wrap(text, width);
            assert!(
                lines.iter().all(|l| l.chars().count() <= width),
                "{width}: {lines:?}"
            );
            let joined: String = lines.concat().split_whitespace().collect();
            assert_eq!(joined, text.split_whitespace().collect::<String>());
        }
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
