//! Tables that fit where they are shown: a terminal's columns, or a serial line's 80; in a pipe nothing is cut.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use weir_appliance_flags::plain;

/// A serial line's width.
const SERIAL: usize = 80;
/// A terminal that is narrower breaks the lines itself.
const NARROWEST: usize = 40;
/// What no line is as long as.
const ENDLESS: usize = 1 << 20;

static WIDTH: AtomicUsize = AtomicUsize::new(SERIAL);

/// The width that every table and sentence fits.
pub(crate) fn width() -> usize {
    WIDTH.load(Ordering::Relaxed)
}

/// From here on lines are as long as standard output has room for: a terminal has its columns, and what reads a pipe or a file
/// gets every line whole. Until then there are 80 columns.
pub fn fit_output() {
    let width = if !io::stdout().is_terminal() {
        ENDLESS
    } else {
        crossterm::terminal::size().map_or(SERIAL, |(columns, _)| usize::from(columns).max(NARROWEST))
    };
    WIDTH.store(width, Ordering::Relaxed);
}

/// A column: its head and how it gives way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Text, cut with `…` when there is not enough room.
    Text(&'static str),
    /// A number, to the right and never cut.
    Number(&'static str),
    /// A name, never cut.
    Name(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Self::Text(head) | Self::Number(head) | Self::Name(head) => head,
        }
    }
}

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// One row more; one text for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Writes the table, or `otherwise` if it has no row.
    pub(crate) fn write(&self, otherwise: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "{otherwise}");
        }
        let widths = self.widths();
        let heads: Vec<String> = self.columns.iter().map(|column| column.head().to_owned()).collect();
        std::iter::once(&heads).chain(&self.rows).try_for_each(|row| writeln!(out, "{}", self.line(row, &widths)))
    }

    /// Each column as wide as its widest cell; text columns share what is too much, the widest first.
    fn widths(&self) -> Vec<usize> {
        let widest = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| length(cell));
            cells.chain([length(column.head())]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width() {
            let texts = self.columns.iter().zip(&mut widths).filter(|(column, _)| matches!(column, Column::Text(_)));
            let Some((_, width)) = texts.max_by_key(|(_, width)| **width).filter(|(_, width)| **width > 4) else {
                break;
            };
            *width -= 1;
        }
        widths
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((column, width), cell) in self.columns.iter().zip(widths).zip(row) {
            let cell = cut(cell, *width);
            line += &match column {
                Column::Number(_) => format!("{cell:>width$}  "),
                Column::Text(_) | Column::Name(_) => format!("{cell:<width$}  "),
            };
        }
        line.trim_end().to_owned()
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// The text in at most so many characters, each as [`plain`] has it.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.chars().map(plain).collect();
    }
    text.chars().take(width.saturating_sub(1)).map(plain).chain(['…']).collect()
}

/// The text in lines of at most so many characters, broken at spaces where there are some.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => {
                let chars: Vec<char> = word.chars().collect();
                lines.extend(chars.chunks(width.max(1)).map(|chunk| chunk.iter().collect()));
            }
        }
    }
    lines
}

/// Prints a sentence whole, in lines that fit: what stands at its end is often the cure. Later lines are indented.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn say(out: &mut dyn Write, text: &str) -> io::Result<()> {
    const INDENT: usize = 8;
    // The first line keeps its columns; `wrap` would close up their gaps.
    let chars: Vec<char> = text.chars().map(plain).collect();
    let width = width();
    if chars.len() <= width {
        return writeln!(out, "{}", chars.iter().collect::<String>());
    }
    let (first, rest) = match chars[..=width].iter().rposition(|c| *c == ' ').filter(|at| *at > INDENT) {
        Some(space) => (&chars[..space], &chars[space + 1..]),
        None => chars.split_at(width),
    };
    writeln!(out, "{}", first.iter().collect::<String>().trim_end())?;
    let rest = wrap(&rest.iter().collect::<String>(), width - INDENT);
    rest.iter().try_for_each(|line| writeln!(out, "{:INDENT$}{line}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table) -> String {
        let mut out = Vec::new();
        table.write("nothing", &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_line_up_and_the_widest_text_gives_way() {
        let mut table = Table::new([Column::Name("name"), Column::Number("frames"), Column::Text("why")]);
        assert_eq!(text(&table), "nothing\n");
        table.row(["eth0".into(), "12".into(), "x".repeat(200)]);
        table.row(["veth-long".into(), "1234567".into(), "a\nb".into()]);
        let text = text(&table);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "name        frames  why");
        assert_eq!(lines[1].chars().count(), width());
        assert!(lines[1].starts_with("eth0            12  xxx") && lines[1].ends_with("x…"));
        assert_eq!(lines[2], "veth-long  1234567  a b");
    }

    #[test]
    fn long_text_wraps_at_spaces() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert!(wrap("", 4).is_empty());
    }

    #[test]
    fn a_long_sentence_is_said_whole() {
        let said = |text: &str| {
            let mut out = Vec::new();
            say(&mut out, text).expect("written");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(said("log     STANDS\tSTILL"), "log     STANDS STILL\n");
        let long = said(&format!("log     stands still: {}; free space", "word ".repeat(30).trim_end()));
        assert!(long.lines().all(|line| length(line) <= width()), "{long}");
        assert!(long.starts_with("log     stands still: word") && long.ends_with("; free space\n"), "{long}");
        assert_eq!(long.matches("word").count(), 30);
        assert!(long.lines().skip(1).all(|line| line.starts_with("        w")), "{long}");
        let unbroken = said(&"x".repeat(200));
        assert_eq!(unbroken.matches('x').count(), 200);
        assert!(unbroken.lines().all(|line| length(line) <= width()), "{unbroken}");
    }
}
