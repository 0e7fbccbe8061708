//! `weir doctor`: what this host can do, and why not.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use weir_appliance_control::message::{CheckState, DoctorReport};
use weir_appliance_control::name::InterfaceName;

use crate::answer::{Exit, Outcome, json};
use crate::figures::host;
use crate::table::{cut, width, wrap};

/// Show what this host can do, and why not. Exit code 1 if weir cannot start here.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Look at these interfaces too; several with commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub interface: Vec<InterfaceName>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Show what this box is and what it is measured to do, within some seconds: the passport.
    #[arg(long)]
    pub passport: bool,
    /// Write it to this file instead.
    #[arg(long, value_name = "FILE", requires = "passport")]
    pub out: Option<PathBuf>,
}

/// Prints the checks.
///
/// # Errors
/// The output cannot be written.
pub fn render(report: &DoctorReport, as_json: bool, out: &mut dyn Write) -> Outcome {
    let exit = if report.worst() == CheckState::Bad { Exit::NotSo } else { Exit::Done };
    if as_json {
        return json(report, out).map(|_| exit);
    }
    writeln!(out, "{}", cut(&host(&report.host), width()))?;
    let name = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).min(24);
    for check in &report.checks {
        let line = format!("{}  {:<name$}  {}", check.state.as_str(), cut(&check.name, name), check.found);
        writeln!(out, "{}", cut(&line, width()))?;
        let more = [check.because.clone(), check.cure.as_ref().map(|cure| format!("cure: {cure}"))];
        for line in more.into_iter().flatten().flat_map(|text| wrap(&text, width() - name - 8)) {
            writeln!(out, "{:indent$}{line}", "", indent = name + 8)?;
        }
    }
    let verdict = match report.worst() {
        CheckState::Good => "weir runs here with all it has",
        CheckState::Less => "weir runs here, with less than it could have",
        CheckState::Bad => "weir cannot start here",
    };
    writeln!(out, "{verdict}")?;
    Ok(exit)
}
