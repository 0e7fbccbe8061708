//! Signs for bars and lines, with and without Unicode.

/// Which signs the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symbols {
    /// Blocks and lines of Unicode.
    #[default]
    Unicode,
    /// Seven-bit characters, for serial consoles without Unicode.
    Ascii,
}

impl Symbols {
    /// Unicode if the locale says UTF-8 and the terminal is not one that is known to have no blocks.
    pub fn of_terminal() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
        let terminal = std::env::var("TERM").unwrap_or_default();
        Self::of(locale.as_deref().unwrap_or_default(), &terminal)
    }

    fn of(locale: &str, terminal: &str) -> Self {
        let locale = locale.to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        if unicode && !terminal.starts_with("vt") && terminal != "dumb" { Self::Unicode } else { Self::Ascii }
    }

    /// Eight heights of a bar one cell wide, the least first.
    pub(super) const fn heights(self) -> [&'static str; 8] {
        match self {
            Self::Unicode => ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
            Self::Ascii => [".", ":", "-", "=", "+", "*", "%", "#"],
        }
    }

    /// A bar for each number, the greatest as high as the line; nothing for zero.
    pub(crate) fn sparkline(self, numbers: impl Iterator<Item = f64>) -> String {
        let numbers: Vec<f64> = numbers.collect();
        let most = numbers.iter().copied().fold(0.0, f64::max);
        let bar = |number: &f64| match *number {
            number if number <= 0.0 => " ",
            // At most 7, since no number is above the greatest.
            number => self.heights()[((number / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        };
        numbers.iter().map(bar).collect()
    }

    /// A gauge's full and empty cell.
    pub(super) const fn gauge(self) -> (&'static str, &'static str) {
        match self {
            Self::Unicode => ("█", "░"),
            Self::Ascii => ("#", "."),
        }
    }

    /// A line across.
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::Unicode => "─",
            Self::Ascii => "-",
        }
    }

    /// The mark of what was cut.
    pub(super) const fn more(self) -> char {
        match self {
            Self::Unicode => '…',
            Self::Ascii => '~',
        }
    }

    /// Between two things on a line.
    pub(super) const fn dot(self) -> &'static str {
        match self {
            Self::Unicode => " · ",
            Self::Ascii => " | ",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicode_needs_a_locale_and_a_terminal_that_have_it() {
        let cases = [
            ("C.UTF-8", "xterm", true),
            ("en_US.utf8", "linux", true),
            ("", "xterm", false),
            ("C.UTF-8", "vt220", false),
        ];
        for (locale, terminal, unicode) in cases {
            assert_eq!(Symbols::of(locale, terminal) == Symbols::Unicode, unicode, "{locale} {terminal}");
        }
    }
}
