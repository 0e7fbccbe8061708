//! `weir steer`: which frames go where.

use std::io::Write;

use clap::{Args, Subcommand};
use weir_appliance_control::config::{RuleAction, RuleSpec};
use weir_appliance_control::matching::MatchExpression;
use weir_appliance_control::message::{Answer, NewRule, Request, RuleStatus};
use weir_appliance_control::name::RuleName;
use weir_appliance_control::share::Share;
use weir_appliance_control::taker::FeatureName;

use crate::answer::{Ask, Exit, Outcome, json, one, unexpected};
use crate::config::MannerArgs;
use crate::numbers::{bytes, exact};
use crate::table::{Column, Table};

/// Steer frames by rules: list, show, add, remove.
#[derive(Clone, Debug, Subcommand)]
pub enum SteerCommand {
    /// List the rules with their counters, first match first.
    List(Ask),
    /// Show one rule. Exit code 1 if there is none of this name.
    Show(NamedArgs),
    /// Add a rule; it works from the next frame.
    Add(AddArgs),
    /// Remove a rule.
    Remove(RemoveArgs),
}

/// One rule, by its name.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The rule's name, as `weir steer list` prints it.
    pub name: RuleName,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// One rule that goes.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Which.
    #[command(flatten)]
    pub named: NamedArgs,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// A new rule.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// What it matches: udp:5004, or conditions such as "tcp src 10.0.0.0/8 dport 80-90", or any.
    ///
    /// Conditions: udp, tcp, proto N, src PREFIX, dst PREFIX, sport RANGE, dport RANGE, vlan RANGE, type RANGE,
    /// modality text|audio|image|sensor. All must hold.
    #[arg(long = "match", value_name = "MATCH")]
    pub matches: MatchExpression,
    /// Who takes the frames; several with commas.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub to: Vec<FeatureName>,
    /// Which share of the matching flows; the others go on to the next rule.
    #[arg(long, default_value_t = Share::ALL)]
    pub share: Share,
    /// Write the frames to the durable log as well.
    #[arg(long)]
    pub durable: bool,
    /// deliver, mirror (deliver and forward), drop, pass or forward.
    #[arg(long, default_value_t = RuleAction::Deliver)]
    pub action: RuleAction,
    /// A name for the rule; a free one if there is none.
    #[arg(long)]
    pub name: Option<RuleName>,
    /// Its place, 1 to be asked first; last if there is none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub priority: Option<u32>,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl AddArgs {
    /// What is asked of the running weir.
    pub fn request(&self) -> Request {
        let rule = NewRule {
            name: self.name.clone(),
            matches: self.matches,
            action: self.action,
            to: self.to.clone(),
            share: self.share,
            durable: self.durable,
        };
        Request::SteerAdd { rule, place: self.priority }
    }
}

impl SteerCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::List(ask) => list(ask, None, out),
            Self::Show(named) => list(&named.ask, Some(&named.name), out),
            Self::Add(add) => add.ask.change(&add.manner.around(add.request()), out),
            Self::Remove(RemoveArgs { named, manner }) => {
                named.ask.change(&manner.around(Request::SteerRemove { name: named.name.clone() }), out)
            }
        }
    }
}

fn list(ask: &Ask, only: Option<&RuleName>, out: &mut dyn Write) -> Outcome {
    let rules = match ask.call(&Request::SteerList)? {
        Answer::Rules(rules) => rules,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    let Some(name) = only else {
        return if ask.json { json(&rules, out) } else { render(&rules, out) };
    };
    let found = rules.iter().find(|rule| rule.rule.name == *name);
    one(found, || format!("no rule is called {name}"), ask.json, out, show)
}

/// Prints the rules as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(rules: &[RuleStatus], out: &mut dyn Write) -> Outcome {
    let mut table = Table::new([
        Column::Number("#"),
        Column::Text("rule"),
        Column::Text("match"),
        Column::Name("action"),
        Column::Text("to"),
        Column::Number("share"),
        Column::Number("frames"),
    ]);
    for RuleStatus { place, rule, packets, .. } in rules {
        table.row([
            place.to_string(),
            rule.name.to_string(),
            rule.matches.to_string(),
            rule.action.to_string(),
            takers(rule),
            rule.share.to_string(),
            exact(*packets),
        ]);
    }
    table.write("no rule: every frame passes, unless a flag or an agent says otherwise", out)?;
    Ok(Exit::Done)
}

fn takers(rule: &RuleSpec) -> String {
    let log = rule.durable.then_some("log");
    let names: Vec<_> = rule.to.iter().map(|name| name.as_str()).chain(log).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn show(status: &RuleStatus, out: &mut dyn Write) -> Outcome {
    let RuleStatus { place, rule, class, packets, bytes: size } = status;
    writeln!(out, "rule    {} (place {place})", rule.name)?;
    writeln!(out, "match   {}", rule.matches)?;
    writeln!(
        out,
        "action  {} {}",
        rule.action,
        if rule.to.is_empty() { String::new() } else { format!("to {}", takers(rule)) }
    )?;
    writeln!(out, "share   {} of the matching flows", rule.share)?;
    if let Some(class) = class {
        writeln!(out, "class   {class}")?;
    }
    writeln!(out, "so far  {} frames, {}", exact(*packets), bytes(*size))?;
    Ok(Exit::Done)
}
