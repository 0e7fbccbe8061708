//! `weir flag`: which share of the flows features see, and flags that programs ask.

pub mod eval;
mod exchange;
mod set;

use std::io::Write;

use clap::{Args, Subcommand};
use weir_appliance_control::message::{Answer, FlagStatus, Request};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::share::Share;

use crate::answer::{Ask, Exit, Outcome, json, one, unexpected};
use crate::config::MannerArgs;
use crate::table::{Column, Table};

pub use exchange::ImportArgs;
pub use set::SetArgs;

/// Flags that act on packets: list, show, set, kill, remove, export, import; flags that programs ask: publish, document, ask, eval,
/// check.
#[derive(Clone, Debug, Subcommand)]
pub enum FlagCommand {
    /// List the flags with the share of the flows that each has.
    List(Ask),
    /// Show one flag. Exit code 1 if there is none of this name.
    Show(NamedArgs),
    /// Make a flag, or change what is named of it; it works from the next frame.
    Set(Box<SetArgs>),
    /// Turn a flag off at once, also while another change waits for its confirmation.
    Kill(KillArgs),
    /// Remove a flag.
    Remove(RemoveArgs),
    /// Print all flags on packets as a document in flagd's schema.
    Export(Ask),
    /// Take over the flags on packets of such a document, in one change.
    Import(ImportArgs),
    /// Have the box keep the flags that programs ask: a document in flagd's schema.
    Publish(eval::PublishArgs),
    /// Print the document of the flags that programs ask. Exit code 1 if there is none.
    Document(Ask),
    /// Ask the box which variant of a flag somebody gets.
    ///
    /// Exit code 1 if its document has no such flag, or its rule gives no answer.
    Ask(eval::AskArgs),
    /// Say which variant of a flag a key gets, by a document in flagd's schema. Needs no running weir.
    ///
    /// Exit code 1 if the document has no such flag, or its rule gives no answer.
    Eval(eval::EvalArgs),
    /// Judge a document in flagd's schema. Needs no running weir.
    Check(eval::CheckArgs),
}

/// One flag, by its name.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The flag's name.
    pub name: FlagName,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// A flag to turn off.
#[derive(Args, Clone, Debug)]
pub struct KillArgs {
    /// Which.
    #[command(flatten)]
    pub named: NamedArgs,
    /// Why, in a few words: it stands in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

/// A flag to remove.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Which.
    #[command(flatten)]
    pub named: NamedArgs,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
}

impl FlagCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::List(ask) => list(ask, None, out),
            Self::Show(named) => list(&named.ask, Some(&named.name), out),
            Self::Export(ask) => exchange::export(ask, out),
            Self::Import(args) => args.run(out),
            Self::Publish(args) => args.run(out),
            Self::Document(ask) => eval::published(ask, out),
            Self::Ask(args) => args.run(out),
            Self::Eval(args) => args.run(out),
            Self::Check(args) => args.run(out),
            Self::Set(set) => set.ask.change(&set.manner.around(set.request()), out),
            Self::Kill(KillArgs { named, reason }) => {
                named.ask.change(&Request::FlagKill { name: named.name.clone(), reason: reason.clone() }, out)
            }
            Self::Remove(RemoveArgs { named, manner }) => {
                named.ask.change(&manner.around(Request::FlagRemove { name: named.name.clone() }), out)
            }
        }
    }
}

fn list(ask: &Ask, only: Option<&FlagName>, out: &mut dyn Write) -> Outcome {
    let flags = match ask.call(&Request::FlagList)? {
        Answer::Flags(flags) => flags,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    let Some(name) = only else {
        return if ask.json { json(&flags, out) } else { render(&flags, out) };
    };
    let found = flags.iter().find(|status| status.flag.name == *name);
    one(found, || format!("no flag is called {name}"), ask.json, out, show)
}

/// What becomes of a flag, in a word or two.
fn standing(status: &FlagStatus) -> String {
    match &status.waits_for {
        Some(name) => format!("waits for {name}"),
        None => status.flag.state.to_string(),
    }
}

fn takers(status: &FlagStatus) -> String {
    let flag = &status.flag;
    if flag.variants.is_empty() {
        return flag.to.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
    }
    flag.variants.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>().join("|")
}

/// The flags as a table.
pub(crate) fn table(flags: &[FlagStatus]) -> Table {
    let mut table = Table::new([
        Column::Name("flag"),
        Column::Text("state"),
        Column::Text("match"),
        Column::Text("to"),
        Column::Number("share"),
        Column::Number("has"),
    ]);
    for status in flags {
        table.row([
            status.flag.name.to_string(),
            standing(status),
            status.flag.matches.to_string(),
            takers(status),
            status.flag.share.to_string(),
            status.has.to_string(),
        ]);
    }
    table
}

/// Prints the flags as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(flags: &[FlagStatus], out: &mut dyn Write) -> Outcome {
    table(flags).write("no flag; make one with weir flag set", out)?;
    Ok(Exit::Done)
}

fn show(status: &FlagStatus, out: &mut dyn Write) -> Outcome {
    let FlagStatus { flag, has, .. } = status;
    writeln!(out, "flag      {}", flag.name)?;
    writeln!(out, "state     {}", standing(status))?;
    writeln!(out, "match     {}", flag.matches)?;
    let bar = bar(*has);
    writeln!(out, "share     {} wanted, {has} had  {bar}", flag.share)?;
    if !flag.requires.is_empty() {
        let names: Vec<&str> = flag.requires.iter().map(FlagName::as_str).collect();
        writeln!(out, "requires  {}", names.join(", "))?;
    }
    if flag.variants.is_empty() {
        writeln!(out, "to        {}", takers(status))?;
    }
    let all: u32 = flag.variants.iter().map(|variant| variant.weight).sum();
    for variant in &flag.variants {
        let to: Vec<&str> = variant.to.iter().map(|name| name.as_str()).collect();
        let to = if to.is_empty() { "nobody".to_owned() } else { to.join(", ") };
        let part = 100.0 * f64::from(variant.weight) / f64::from(all.max(1));
        writeln!(out, "variant   {} to {to}: weight {}, {part:.1} % of its flows", variant.name, variant.weight)?;
    }
    for step in &flag.schedule {
        writeln!(out, "planned   {} at {}", step.share, step.at)?;
    }
    Ok(Exit::Done)
}

/// A share drawn over twenty cells.
fn bar(share: Share) -> String {
    const CELLS: usize = 20;
    let full = (usize::from(share.basis_points()) * CELLS).div_ceil(usize::from(Share::ALL.basis_points()));
    format!("[{}{}]", "#".repeat(full), ".".repeat(CELLS - full))
}
