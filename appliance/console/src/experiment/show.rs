//! `weir experiment show`: one experiment on a page that fits a terminal.

use std::io::{self, Write};

use weir_appliance_control::experiments::Ending;
use weir_appliance_control::message::{ExperimentShown, ExperimentStatus, ExperimentWindow};
use weir_appliance_experiment::{Arms, Decision, Evidence, Metric, SLICES, Stage};

use super::standing;
use crate::answer::Exit;
use crate::numbers::micros;
use crate::table::{Column, Table, width, wrap};

/// Marks of a sparkline, from the least to the most.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Windows of which a sparkline has a mark each.
const MARKED: usize = 48;

/// Whether it is well: not rolled back, not held.
pub(super) fn exit(shown: &ExperimentShown) -> Exit {
    match shown.experiment.outcome.as_ref().map(|outcome| outcome.ending) {
        Some(Ending::RolledBack | Ending::Held) => Exit::NotSo,
        _ => Exit::Done,
    }
}

pub(super) fn render(shown: &ExperimentShown, out: &mut dyn Write) -> io::Result<()> {
    let status = &shown.experiment;
    head(status, out)?;
    if let Some(latest) = &status.latest {
        writeln!(out)?;
        guardrails(latest, out)?;
    }
    if shown.windows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    for guardrail in &status.spec.guardrails {
        writeln!(out, "{:<12} loss by window  {}", guardrail.metric.as_str(), line(guardrail.metric, &shown.windows))?;
    }
    writeln!(out)?;
    windows(&shown.windows, out)
}

fn said(name: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    for (at, line) in wrap(text, width() - 11).iter().enumerate() {
        writeln!(out, "{:<11}{line}", if at == 0 { name } else { "" })?;
    }
    Ok(())
}

fn head(status: &ExperimentStatus, out: &mut dyn Write) -> io::Result<()> {
    let spec = &status.spec;
    let arms = match &spec.arms {
        Arms::OffOn => "flows with the flag beside flows without it".to_owned(),
        Arms::Variants { control, candidate } => format!("variant {candidate} beside variant {control}"),
    };
    said("experiment", &format!("{} on flag {}: {arms}", spec.name, spec.flag), out)?;
    said("state", &standing(status), out)?;
    if let Some(outcome) = &status.outcome {
        said("because", &outcome.reason, out)?;
    } else if let Some(waits) = &status.waits {
        said("waits", waits, out)?;
    }
    said("share", &format!("{} now; steps {}", status.share, steps(status)), out)?;
    let open = if status.outcome.is_none() {
        format!(", slice {} of {SLICES} of the next", status.slices)
    } else {
        String::new()
    };
    let seconds = spec.window_ms as f64 / 1000.0;
    said("windows", &format!("{} of at most {} closed, {seconds} s each{open}", status.windows, spec.windows), out)?;
    if let Some(latest) = &status.latest {
        let marked = if latest.no_data { "NO DATA: " } else { "" };
        said("latest", &format!("{marked}{}", latest.reason), out)?;
    }
    let why = if status.reason.is_empty() { String::new() } else { format!(": {}", status.reason) };
    said("asked by", &format!("{}{why}", status.author), out)
}

/// The ramp, with the step that is measured in brackets.
fn steps(status: &ExperimentStatus) -> String {
    let one = |(at, step): (u32, &u16)| {
        let text = format!("{}%", f64::from(*step) / 100.0);
        if status.stage == Stage::Step(at) { format!("[{text}]") } else { text }
    };
    (0..).zip(&status.spec.steps).map(one).collect::<Vec<_>>().join(" ")
}

/// A metric's value as people read it.
fn value(metric: Metric, value: Option<f64>) -> String {
    match value {
        None => "no data".to_owned(),
        Some(value) if metric.is_latency() => micros(Some(value / 1000.0)),
        Some(value) => format!("{:.2}%", value * 100.0),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:+.1}%", share * 100.0))
}

/// Evidence beside what it must reach.
fn evidence(value: f64, needs: f64) -> String {
    let short = |value: f64| if value >= 10_000.0 { format!("{value:.0e}") } else { format!("{value:.1}") };
    format!("{}/{}", short(value), needs.round())
}

fn guardrails(latest: &Decision, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        Column::Name("guardrail"),
        Column::Number("control"),
        Column::Number("candidate"),
        Column::Number("loss"),
        Column::Number("may"),
        Column::Number("floor"),
        Column::Number("worse"),
        Column::Number("fine"),
    ]);
    for found in &latest.evidence {
        let Evidence { metric, tolerance_ppm, floor, control, candidate, loss, .. } = found;
        table.row([
            metric.to_string(),
            value(*metric, *control),
            value(*metric, *candidate),
            percent(*loss),
            format!("{}%", f64::from(*tolerance_ppm) / 1e4),
            floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.1}%", floor * 100.0)),
            evidence(found.worse, found.worse_needs),
            evidence(found.fine, found.fine_needs),
        ]);
    }
    table.write("", out)
}

/// One mark for each window: how much worse the candidate was, from nothing to twice what is tolerated; `·` without data.
fn line(metric: Metric, windows: &[ExperimentWindow]) -> String {
    let mark = |window: &ExperimentWindow| {
        let found = window.decision.evidence.iter().find(|found| found.metric == metric);
        let Some((found, loss)) = found.and_then(|found| Some((found, found.loss?))) else { return '·' };
        let may = f64::from(found.tolerance_ppm) / 1e6 + found.floor.unwrap_or(0.0);
        let level = (loss.max(0.0) / (2.0 * may.max(1e-9)) * 7.0).round() as usize;
        MARKS.get(level.min(7)).copied().unwrap_or('·')
    };
    windows.iter().skip(windows.len().saturating_sub(MARKED)).map(mark).collect()
}

fn windows(windows: &[ExperimentWindow], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        Column::Number("window"),
        Column::Name("stage"),
        Column::Number("share"),
        Column::Name("verdict"),
        Column::Text("why"),
    ]);
    for window in windows {
        let stage = match window.stage {
            Stage::Noise => "noise".to_owned(),
            Stage::Step(step) => format!("step {}", step + 1),
            Stage::Ended => "ended".to_owned(),
        };
        let verdict = window.decision.verdict.as_str().to_owned();
        let row = [window.number.to_string(), stage, window.share.to_string(), verdict, window.decision.reason.clone()];
        table.row(row);
    }
    table.write("", out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_control::experiments::Outcome;
    use weir_appliance_control::resources::Revision;
    use weir_appliance_control::share::Share;
    use weir_appliance_experiment::{Spec, Verdict};

    fn decision(metric: Metric, loss: Option<f64>, reason: &str) -> Decision {
        let evidence = Evidence {
            metric,
            tolerance_ppm: 50_000,
            floor: Some(0.02),
            control: loss.map(|_| 123_456.0),
            candidate: loss.map(|_| 987_654_321.0),
            loss,
            slices: 40,
            worse: 1e12,
            worse_needs: 20.0,
            fine: 0.01,
            fine_needs: 20.0,
            no_data: None,
        };
        let (verdict, no_data) = (Verdict::Hold, loss.is_none());
        Decision { verdict, next: Stage::Step(1), reason: reason.to_owned(), no_data, evidence: vec![evidence] }
    }

    fn shown(losses: &[Option<f64>]) -> ExperimentShown {
        let arms = Arms::Variants { control: "o".repeat(40), candidate: "n".repeat(40) };
        let spec = Spec::new("e".repeat(40), "f".repeat(40), arms);
        let window = |(number, loss): (u32, &Option<f64>)| ExperimentWindow {
            number,
            stage: Stage::Step(0),
            share: Share::ALL,
            began_ms: 0,
            decision: decision(Metric::LatencyP99, *loss, &"why ".repeat(40)),
            revision: Revision(1),
        };
        let experiment = ExperimentStatus {
            spec,
            stage: Stage::Step(1),
            share: Share::ALL,
            windows: losses.len() as u32,
            slices: 3,
            waits: None,
            latest: losses.last().map(|loss| decision(Metric::LatencyP99, *loss, "no data: it came in too few")),
            outcome: None,
            author: "root (uid 0)".to_owned(),
            reason: "a reason ".repeat(30),
            created_ms: 0,
            bytes: 0,
        };
        ExperimentShown { experiment, windows: (1..).zip(losses).map(window).collect() }
    }

    fn text(shown: &ExperimentShown) -> String {
        let mut out = Vec::new();
        render(shown, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_page_fits_80_columns_and_says_where_there_is_no_data() {
        let text = text(&shown(&[Some(0.0), Some(0.07), Some(0.9), None]));
        assert!(text.lines().all(|line| line.chars().count() <= width()), "{text}");
        assert!(
            text.contains("NO DATA: no data: it came") && text.contains("latency_p99  loss by window  ▁▅█·"),
            "{text}"
        );
        assert!(text.contains("5% [25%] 50%") && text.contains("1e12/20"), "{text}");
        let long = self::text(&shown(&[Some(0.0); 96]));
        assert!(long.lines().all(|line| line.chars().count() <= width()), "{long}");
    }

    #[test]
    fn what_was_rolled_back_or_held_is_not_so() {
        let mut shown = shown(&[]);
        assert_eq!(exit(&shown), Exit::Done);
        for (ending, code) in [
            (Ending::Promoted, Exit::Done),
            (Ending::Stopped, Exit::Done),
            (Ending::RolledBack, Exit::NotSo),
            (Ending::Held, Exit::NotSo),
        ] {
            shown.experiment.outcome = Some(Outcome { ending, reason: "x".to_owned(), time_ms: 0 });
            assert_eq!(exit(&shown), code);
            assert!(text(&shown).contains(ending.as_str()));
        }
    }
}
