//! The table and the line of JSON that every benchmark ends with.

use std::io::Write;

use anyhow::{Context, Result};
use weir_appliance_console::figures;
use weir_appliance_control::message::{BenchReport, BenchRow};

/// Words on a benchmark's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Runs of each case: `--runs N`.
    pub runs: usize,
    /// What a shape's name has to hold to be measured, where a benchmark has several: `--only PART`.
    only: Option<String>,
}

impl Words {
    /// Reads the command line; `runs` unless it says otherwise. Words that cargo adds are passed over.
    ///
    /// # Errors
    /// `--runs` without a number, `--only` without a word.
    pub fn read(runs: usize) -> Result<Self> {
        let mut words = std::env::args().skip(1);
        let mut found = Self { runs, only: None };
        while let Some(word) = words.next() {
            if word == "--runs" {
                let number = words.next().context("--runs needs a number, for example --runs 5")?;
                found.runs = number.parse().with_context(|| format!("--runs {number} is no number"))?;
            } else if word == "--only" {
                found.only = Some(words.next().context("--only needs a part of a name, for example --only '70 B'")?);
            }
        }
        Ok(found)
    }

    /// Whether the shape of this name is to be measured.
    #[must_use]
    pub fn wants(&self, shape: &str) -> bool {
        self.only.as_deref().is_none_or(|part| shape.contains(part))
    }
}

/// Prints the report: notes, the table, the line of JSON.
///
/// # Errors
/// The output cannot be written.
pub fn print(bench: &str, rig: &str, rows: Vec<BenchRow>, notes: &[String]) -> Result<()> {
    let report =
        BenchReport { bench: bench.to_owned(), rig: rig.to_owned(), host: weir_appliance_lab::host::read(), rows };
    let mut out = std::io::stdout().lock();
    figures::render(&report, false, &mut out)?;
    for note in notes {
        writeln!(out, "{note}")?;
    }
    figures::render(&report, true, &mut out)?;
    Ok(())
}
