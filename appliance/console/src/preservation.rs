//! `weir preservation`: what changes and features do to the base path.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use weir_appliance_control::config::{Gate, Watch};
use weir_appliance_control::message::{Answer, PreservationRun, PreservationStatus, Request};
use weir_appliance_control::taker::FeatureName;
use weir_appliance_experiment::base::{Figure, Finding, Judged, Ruling, Sample, Trial, judge};

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::numbers::micros;
use crate::table::{Column, Table, width, wrap};

/// Marks of a sparkline, from the least to the most.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Places of a bar; the limit is in its middle.
const BAR: usize = 24;
/// Marks of one side of a comparison: each is of some slices.
const SIDE: usize = 25;

/// Preservation: show what changes and features did to the base path, or look at a feature now.
#[derive(Clone, Debug, Subcommand)]
pub enum PreservationCommand {
    /// Show what is watched and the last comparisons; with --json their raw slices too. Exit code 1 if the last one was worse.
    Show(Ask),
    /// Judge the kept comparisons again from their raw slices. Exit code 1 if one comes out otherwise than it is kept.
    Replay(Ask),
    /// Have the gate run now: a feature is parked for moments, and goes on.
    Run(RunArgs),
}

/// A feature to look at.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The feature; without one it is the next one's turn.
    pub feature: Option<FeatureName>,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl PreservationCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the request is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Show(ask) => match ask.call(&Request::PreservationShow { raw: true })? {
                Answer::Preservation(status) if ask.json => json(&status, out).map(|_| exit(&status)),
                Answer::Preservation(status) => Ok(render(&status, out).map(|()| exit(&status))?),
                other => Err(unexpected(&ask.socket, &other).into()),
            },
            Self::Replay(ask) => match ask.call(&Request::PreservationShow { raw: true })? {
                Answer::Preservation(status) => replay(&status.runs, ask.json, out),
                other => Err(unexpected(&ask.socket, &other).into()),
            },
            Self::Run(RunArgs { feature, ask }) => ask.change(&Request::PreservationRun { feature: *feature }, out),
        }
    }
}

fn exit(status: &PreservationStatus) -> Exit {
    let is_worse = status.runs.first().is_some_and(|run| run.judged.ruling == Ruling::Worse);
    if is_worse { Exit::NotSo } else { Exit::Done }
}

fn replay(runs: &[PreservationRun], as_json: bool, out: &mut dyn Write) -> Outcome {
    // What was given up was not judged.
    let judged = runs.iter().filter(|run| !run.judged.findings.is_empty());
    let again: Vec<(&PreservationRun, Judged)> =
        judged.filter_map(|run| Some((run, judge(&run.limits, run.trial.as_ref()?)))).collect();
    let exit = if again.iter().all(|(run, judged)| run.judged == *judged) { Exit::Done } else { Exit::NotSo };
    if as_json {
        let all: Vec<&Judged> = again.iter().map(|(_, judged)| judged).collect();
        return json(&all, out).map(|_| exit);
    }
    for (run, judged) in &again {
        let mark = if run.judged == *judged { "" } else { "  OTHERWISE THAN KEPT" };
        writeln!(out, "run {}: {}{mark}", run.number, judged.ruling.as_str())?;
    }
    writeln!(out, "{} comparisons judged again", again.len())?;
    Ok(exit)
}

fn said(name: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    for (at, line) in wrap(text, width() - 11).iter().enumerate() {
        writeln!(out, "{:<11}{line}", if at == 0 { name } else { "" })?;
    }
    Ok(())
}

/// Prints a page that fits a terminal.
///
/// # Errors
/// The output cannot be written.
pub fn render(status: &PreservationStatus, out: &mut dyn Write) -> io::Result<()> {
    let watch = match status.watch {
        Watch::Off => "not watched",
        Watch::Report => "watched, and told",
        Watch::RollBack => "watched, and taken back if they hurt",
    };
    let gate = match status.gate {
        Gate::Off => "not looked at",
        Gate::Report => "parked for moments in turn, and told",
        Gate::Park => "parked for moments in turn, and for good if they hurt",
    };
    said("changes", watch, out)?;
    said("features", gate, out)?;
    said("now", &status.now, out)?;
    said("reference", &format!("{} slices of the base path", status.reference), out)?;
    if let Some(open) = &status.open {
        writeln!(out)?;
        findings(open, out)?;
    }
    if let Some(last) = status.runs.first() {
        writeln!(out)?;
        said("last", &format!("{}: {}", last.compared, last.judged.ruling.as_str()), out)?;
        said("because", &last.judged.reason, out)?;
        if !last.done.is_empty() {
            said("done", &last.done, out)?;
        }
        findings(&last.judged, out)?;
        if let Some(trial) = &last.trial {
            picture(trial, out)?;
        }
    }
    writeln!(out)?;
    runs(&status.runs, out)
}

fn value(figure: Figure, value: Option<f64>) -> String {
    match (figure, value) {
        (_, None) => "no data".to_owned(),
        (Figure::Forwarded, Some(value)) => format!("{:.2}%", value * 100.0),
        (Figure::Cost, Some(value)) => format!("{value:.0} ns"),
        (Figure::LateP99, Some(value)) => micros(Some(value / 1000.0)),
    }
}

/// The loss as a bar from nothing to twice what is tolerated: `█` the mean, `░` up to its bound, `│` the limit.
fn bar(finding: &Finding) -> String {
    let limit = (finding.tolerance + finding.floor.unwrap_or(0.0)).max(1e-9);
    let place = |loss: f64| ((loss / (2.0 * limit)).clamp(0.0, 1.0) * BAR as f64).round() as usize;
    let (mean, bound) = (place(finding.loss.unwrap_or(0.0)), place(finding.bound.unwrap_or(0.0)));
    let mark = |at: usize| match at {
        at if at < mean => '█',
        at if at < bound => '░',
        at if at == BAR / 2 => '│',
        _ => '·',
    };
    (0..BAR).map(mark).collect()
}

fn findings(judged: &Judged, out: &mut dyn Write) -> io::Result<()> {
    if judged.findings.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        Column::Name("figure"),
        Column::Number("without"),
        Column::Number("with"),
        Column::Number("loss"),
        Column::Number("bound"),
        Column::Number("limit"),
        Column::Name("0 ── loss ── limit ── 2x"),
    ]);
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:+.1}%", share * 100.0));
    for finding in &judged.findings {
        let Finding { figure, reference, subject, loss, bound, floor, tolerance, .. } = finding;
        table.row([
            figure.to_string(),
            value(*figure, *reference),
            value(*figure, *subject),
            percent(*loss),
            percent(*bound),
            floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.1}%", (tolerance + floor) * 100.0)),
            bar(finding),
        ]);
    }
    table.write("", out)
}

/// Figures over the slices, without beside with, on one scale; `·` where there was too little.
fn picture(trial: &Trial, out: &mut dyn Write) -> io::Result<()> {
    for figure in [Figure::Cost, Figure::LateP99] {
        let side = |samples: &[Sample]| -> Vec<Option<f64>> {
            let some = samples.len().div_ceil(SIDE).max(1);
            let sum =
                |part: &[Sample]| part.iter().fold(Sample::default(), |sum, sample| sum.with(sample)).value(figure);
            samples.chunks(some).map(sum).collect()
        };
        let (before, after) = (side(&trial.reference), side(&trial.subject));
        let most = before.iter().chain(&after).flatten().fold(0.0_f64, |most, value| most.max(*value)).max(1e-9);
        let mark = |value: &Option<f64>| {
            value.map_or('·', |value| MARKS.get((value / most * 7.0).round() as usize).copied().unwrap_or('·'))
        };
        let line = |values: &[Option<f64>]| values.iter().map(mark).collect::<String>();
        writeln!(out, "{:<9}without {} with {}", figure.as_str(), line(&before), line(&after))?;
    }
    Ok(())
}

fn runs(all: &[PreservationRun], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        Column::Number("run"),
        Column::Text("compared"),
        Column::Name("verdict"),
        Column::Text("done"),
        Column::Text("why"),
    ]);
    for run in all {
        let done = if run.done.is_empty() { "-".to_owned() } else { run.done.clone() };
        let (compared, verdict) = (run.compared.to_string(), run.judged.ruling.as_str().to_owned());
        table.row([run.number.to_string(), compared, verdict, done, run.judged.reason.clone()]);
    }
    table.write("nothing was compared yet", out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_control::message::Compared;
    use weir_appliance_control::resources::Revision;
    use weir_appliance_experiment::base::{Limits, SLICES};

    fn status(cost_ns: u64) -> PreservationStatus {
        let slice = |cost_ns| Sample { forwarded: 500, costed: 500, cost_ns: 500 * cost_ns, ..Sample::default() };
        let trial = Trial { reference: vec![slice(1_000); SLICES], subject: vec![slice(cost_ns); SLICES] };
        let run = PreservationRun {
            number: 1,
            compared: Compared::Change { revision: Revision(12), author: "root (uid 0)".repeat(8) },
            began_ms: 1,
            ended_ms: 2,
            limits: Limits::default(),
            judged: judge(&Limits::default(), &trial),
            done: "taken back as revision 13".to_owned(),
            trial: Some(trial),
        };
        let feature = PreservationRun {
            compared: Compared::Feature { name: FeatureName::STREAMING },
            trial: None,
            ..run.clone()
        };
        PreservationStatus {
            watch: Watch::RollBack,
            gate: Gate::Park,
            now: "the gate runs in 12 s".to_owned(),
            reference: 100,
            open: Some(run.judged.clone()),
            runs: vec![run, feature],
        }
    }

    fn text(status: &PreservationStatus) -> String {
        let mut out = Vec::new();
        render(status, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_page_fits_80_columns_and_draws_what_was_lost() {
        let worse = status(1_100);
        let page = text(&worse);
        assert!(page.lines().all(|line| line.chars().count() <= width()), "{page}");
        for part in
            ["cost 1100 ns instead of 1000 ns", "████████████████████████", "taken back as revision 13", "without ▇▇"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(exit(&worse), Exit::NotSo);
    }

    #[test]
    fn what_was_kept_otherwise_is_told() {
        let mut status = status(1_100);
        let said = |status: &PreservationStatus| {
            let mut out = Vec::new();
            let exit = replay(&status.runs, false, &mut out).expect("written");
            (exit, String::from_utf8(out).expect("text"))
        };
        assert_eq!(said(&status), (Exit::Done, "run 1: worse\n1 comparisons judged again\n".to_owned()));
        status.runs[0].judged.ruling = Ruling::Kept;
        let (exit, text) = said(&status);
        assert!(exit == Exit::NotSo && text.contains("OTHERWISE"), "{text}");
    }

    #[test]
    fn what_is_no_worse_is_below_its_limit() {
        let fine = status(1_000);
        let page = text(&fine);
        assert!(page.contains("············│···········"), "{page}");
        assert_eq!(exit(&fine), Exit::Done);
        let none = PreservationStatus { open: None, runs: Vec::new(), ..fine };
        assert!(text(&none).contains("nothing was compared"));
        assert_eq!(exit(&none), Exit::Done);
    }
}
