//! How measured figures are shown: benchmarks, load tools and the demo alike.

use std::io::{self, Write};

use weir_appliance_control::message::{BenchReport, BenchRow, Better, Host};

use crate::answer::{Exit, Outcome, json};
use crate::numbers::{bytes, short};
use crate::table::{Column, Table};

/// Prints the figures as a table, or as one line of JSON. Exit code 1 if a goal is missed.
///
/// # Errors
/// The output cannot be written.
pub fn render(report: &BenchReport, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        json(report, out)?;
    } else {
        writeln!(out, "{} on {}; {}", report.bench, report.rig, host(&report.host))?;
        table(&report.rows, out)?;
    }
    Ok(if report.rows.iter().any(|row| row.is_met() == Some(false)) { Exit::NotSo } else { Exit::Done })
}

/// The host beside the figures: `Xeon 6, 8 cores, 32 GiB, Linux 6.12, bare-metal`.
pub fn host(host: &Host) -> String {
    let Host { name: _, kernel, cpu, cores, memory_bytes, virtualization } = host;
    let parts = [
        cpu.clone(),
        format!("{cores} cores"),
        bytes(*memory_bytes),
        format!("Linux {kernel}"),
        virtualization.clone(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// What was measured, each case once, and then what it stood beside: a case's name finds room in both.
fn table(rows: &[BenchRow], out: &mut dyn Write) -> io::Result<()> {
    let mut measured = Table::new([
        Column::Text("case"),
        Column::Number("median"),
        Column::Name("unit"),
        Column::Number("min..max"),
        Column::Number("n"),
        Column::Name("goal"),
    ]);
    let mut compared = Table::new([
        Column::Text("case"),
        Column::Text("beside"),
        Column::Number("median"),
        Column::Number("ratio"),
        Column::Name("goal"),
    ]);
    let mut peers = false;
    for (place, row) in rows.iter().enumerate() {
        if rows.iter().position(|other| other.case == row.case && other.unit == row.unit) == Some(place) {
            measured.row([
                row.case.clone(),
                short(row.value),
                row.unit.clone(),
                format!("{}..{}", short(row.min), short(row.max)),
                row.n.to_string(),
                if row.peer.is_none() { goal(row) } else { "-".to_owned() },
            ]);
        }
        if let Some(peer) = &row.peer {
            peers = true;
            compared.row([
                row.case.clone(),
                peer.clone(),
                row.peer_value.map_or_else(|| "-".to_owned(), short),
                row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                goal(row),
            ]);
        }
    }
    measured.write("nothing was measured", out)?;
    if peers { compared.write("", out) } else { Ok(()) }
}

/// `>= 0.90 met`, `<= 50 missed`.
fn goal(row: &BenchRow) -> String {
    let Some(goal) = row.goal else { return "-".to_owned() };
    let bound = match (&row.peer, row.better) {
        (Some(_), _) => format!(">= {goal:.2}"),
        (None, Better::Higher) => format!(">= {}", short(goal)),
        (None, Better::Lower) => format!("<= {}", short(goal)),
    };
    let met = match row.is_met() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    };
    format!("{bound} {met}")
}
