//! A terminal's screen: the bytes a full-screen program writes become cells, and the cells become an SVG picture.
//!
//! It understands what crossterm sends: moving, erasing, colours and bold. Anything else is read over.

use std::fmt::Write;

/// Width and height of one character in the picture, in SVG units.
const CELL: (usize, usize) = (8, 17);
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d8dce4";
/// The 16 named colours, dark enough and light enough to be read on the background.
const PALETTE: [&str; 16] = [
    "#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dce4", "#6b7280", "#f28b93",
    "#b5e08f", "#f5d99b", "#8cc8ff", "#dda0f0", "#7fd6e0", "#ffffff",
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Style {
    colour: Option<String>,
    ground: Option<String>,
    bold: bool,
    reversed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cell {
    letter: char,
    style: Style,
}

const EMPTY: Cell = Cell { letter: ' ', style: Style { colour: None, ground: None, bold: false, reversed: false } };

/// What the screen shows now.
pub(crate) struct Screen {
    width: usize,
    height: usize,
    cells: Vec<Cell>,
    column: usize,
    row: usize,
    style: Style,
    /// Bytes of a sequence or letter whose end has not arrived yet.
    pending: Vec<u8>,
}

impl Screen {
    /// An empty screen.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let cells = vec![EMPTY; width * height];
        Self { width, height, cells, column: 0, row: 0, style: Style::default(), pending: Vec::new() }
    }

    /// Takes what the program wrote.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let taken = std::mem::take(&mut self.pending);
        let mut rest = taken.as_slice();
        while let Some(length) = self.step(rest) {
            rest = &rest[length..];
        }
        self.pending = rest.to_vec();
    }

    /// Handles one letter or sequence and says how long it was; `None` when more bytes are needed.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.first()? {
            0x1b => self.escape(bytes),
            b'\r' => {
                self.column = 0;
                Some(1)
            }
            b'\n' => {
                self.line_feed();
                Some(1)
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                Some(1)
            }
            byte if byte < 0x20 => Some(1),
            byte => {
                let length = match byte {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let letter = bytes.get(..length)?;
                self.put(std::str::from_utf8(letter).ok().and_then(|text| text.chars().next()).unwrap_or('?'));
                Some(length)
            }
        }
    }

    fn escape(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes.get(1)? {
            b'[' => {
                let end = 2 + bytes[2..].iter().position(|byte| (0x40..=0x7e).contains(byte))?;
                let text = String::from_utf8_lossy(&bytes[2..end]).into_owned();
                if !text.starts_with(['?', '>', '<', '=']) {
                    self.control(&text, bytes[end]);
                } else if text == "?1049" {
                    self.cells.fill(EMPTY);
                }
                Some(end + 1)
            }
            // A title or other string, ended by BEL or ESC \.
            b']' => bytes.iter().position(|byte| *byte == 0x07).map(|end| end + 1),
            b'(' | b')' => bytes.get(2).map(|_| 3),
            _ => Some(2),
        }
    }

    fn control(&mut self, text: &str, kind: u8) {
        let numbers: Vec<usize> = text.split([';', ':']).map(|number| number.parse().unwrap_or(0)).collect();
        let first = numbers[0];
        let count = first.max(1);
        let here = self.row * self.width + self.column;
        match kind {
            b'H' | b'f' => {
                self.row = (count - 1).min(self.height - 1);
                self.column = (numbers.get(1).copied().unwrap_or(1).max(1) - 1).min(self.width - 1);
            }
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row = (self.row + count).min(self.height - 1),
            b'C' => self.column = (self.column + count).min(self.width - 1),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.column = (count - 1).min(self.width - 1),
            b'd' => self.row = (count - 1).min(self.height - 1),
            b'J' if first == 0 => self.erase(here, self.cells.len()),
            b'J' if first == 1 => self.erase(0, here + 1),
            b'J' => self.erase(0, self.cells.len()),
            b'K' if first == 0 => self.erase(here, (self.row + 1) * self.width),
            b'K' if first == 1 => self.erase(self.row * self.width, here + 1),
            b'K' => self.erase(self.row * self.width, (self.row + 1) * self.width),
            b'm' => self.attributes(&numbers),
            _ => {}
        }
    }

    fn attributes(&mut self, numbers: &[usize]) {
        let mut at = 0;
        while let Some(number) = numbers.get(at).copied() {
            match number {
                0 => self.style = Style::default(),
                1 => self.style.bold = true,
                22 => self.style.bold = false,
                7 => self.style.reversed = true,
                27 => self.style.reversed = false,
                30..=37 => self.style.colour = Some(PALETTE[number - 30].to_owned()),
                90..=97 => self.style.colour = Some(PALETTE[number - 82].to_owned()),
                40..=47 => self.style.ground = Some(PALETTE[number - 40].to_owned()),
                100..=107 => self.style.ground = Some(PALETTE[number - 92].to_owned()),
                39 => self.style.colour = None,
                49 => self.style.ground = None,
                38 | 48 => {
                    let (colour, used) = extended(&numbers[at + 1..]);
                    if number == 38 {
                        self.style.colour = colour;
                    } else {
                        self.style.ground = colour;
                    }
                    at += used;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn erase(&mut self, from: usize, to: usize) {
        let to = to.min(self.cells.len());
        if let Some(cells) = self.cells.get_mut(from..to) {
            cells.fill(EMPTY);
        }
    }

    fn put(&mut self, letter: char) {
        if self.column == self.width {
            self.column = 0;
            self.line_feed();
        }
        let at = self.row * self.width + self.column;
        self.cells[at] = Cell { letter, style: self.style.clone() };
        self.column += 1;
    }

    fn line_feed(&mut self) {
        if self.row + 1 < self.height {
            self.row += 1;
        } else {
            self.cells.drain(..self.width);
            self.cells.resize(self.width * self.height, EMPTY);
        }
    }

    /// The letters alone, one line per row.
    pub(crate) fn text(&self) -> String {
        let rows = self.cells.chunks(self.width).map(|row| row.iter().map(|cell| cell.letter).collect::<String>());
        rows.map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// The screen as a picture: one rectangle per run of ground colour, one text per run of style.
    pub(crate) fn svg(&self, title: &str) -> String {
        let (width, height) = ((self.width + 2) * CELL.0, (self.height + 1) * CELL.1 + 8);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" \
             fill=\"{BACKGROUND}\"/>\n<g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
             font-size=\"13\" xml:space=\"preserve\">\n",
            escaped(title)
        );
        for (row, cells) in self.cells.chunks(self.width).enumerate() {
            let mut column = 0;
            while let Some(first) = cells.get(column) {
                let run = cells[column..].iter().take_while(|cell| cell.style == first.style).count();
                draw(&mut svg, (column, row), &cells[column..column + run]);
                column += run;
            }
        }
        svg.push_str("</g>\n</svg>\n");
        svg
    }
}

/// Draws cells of one style that stand beside one another.
fn draw(svg: &mut String, (column, row): (usize, usize), cells: &[Cell]) {
    let Some(style) = cells.first().map(|cell| &cell.style) else { return };
    let (x, y) = ((column + 1) * CELL.0, row * CELL.1 + 12);
    let width = cells.len() * CELL.0;
    let colour = style.colour.as_deref().unwrap_or(FOREGROUND);
    let ground = style.ground.as_deref().unwrap_or(BACKGROUND);
    let (colour, ground) = if style.reversed { (ground, colour) } else { (colour, ground) };
    if ground != BACKGROUND {
        let height = CELL.1;
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{ground}\"/>");
    }
    let text: String = cells.iter().map(|cell| cell.letter).collect();
    if !text.trim().is_empty() {
        let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
        let base = y + CELL.1 - 4;
        // A font of another width must not break the columns: the length is given.
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{base}\" fill=\"{colour}\"{weight} textLength=\"{width}\" \
             lengthAdjust=\"spacingAndGlyphs\">{}</text>",
            escaped(&text)
        );
    }
}

/// The colour after 38 or 48, and how many numbers it took: `5;N` or `2;R;G;B`.
fn extended(numbers: &[usize]) -> (Option<String>, usize) {
    match *numbers {
        [5, number, ..] => (Some(indexed(number)), 2),
        [2, red, green, blue, ..] => (Some(format!("#{red:02x}{green:02x}{blue:02x}")), 4),
        _ => (None, numbers.len()),
    }
}

/// A colour of the 256: 16 named, a cube of 6 × 6 × 6, 24 greys.
fn indexed(number: usize) -> String {
    match number {
        0..=15 => PALETTE[number].to_owned(),
        16..=231 => {
            let level = |part: usize| if part == 0 { 0 } else { 55 + part * 40 };
            let cube = number - 16;
            format!("#{:02x}{:02x}{:02x}", level(cube / 36), level(cube / 6 % 6), level(cube % 6))
        }
        _ => {
            let grey = (8 + number.min(255).saturating_sub(232) * 10).min(255);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_and_erasing_leave_what_a_terminal_shows() {
        let mut screen = Screen::new(10, 3);
        screen.feed(b"\x1b[?1049h\x1b[2;3Hrings\x1b[1;1Hweir\x1b[2;5H\x1b[K\x1b[3;1H12345678901");
        assert_eq!(screen.text(), "  ri\n1234567890\n1", "the eleventh letter scrolls the screen by one line");
    }

    #[test]
    fn a_sequence_cut_in_two_is_put_together() {
        let mut screen = Screen::new(4, 1);
        for byte in "\x1b[1;2H─é".bytes() {
            screen.feed(&[byte]);
        }
        assert_eq!(screen.text(), " ─é");
    }

    #[test]
    fn colours_and_letters_reach_the_picture() {
        let mut screen = Screen::new(12, 1);
        screen.feed(b"\x1b[31;1ma<b\x1b[0m\x1b[38;2;1;2;3mc\x1b[48;5;196md\x1b[7me");
        let svg = screen.svg("R & D");
        for part in ["a&lt;b", PALETTE[1], "font-weight", "#010203", "#ff0000", "R &amp; D"] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut screen = Screen::new(3, 2);
        let mut state = 7u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            screen.feed(&[if state >> 30 == 0 { 0x1b } else { (state >> 16) as u8 }, b'[']);
        }
    }
}
