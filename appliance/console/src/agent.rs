//! `weir agent`: where frames to an agent go.

use std::io::Write;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use weir_appliance_control::config::AgentSpec;
use weir_appliance_control::matching::ModalitySet;
use weir_appliance_control::message::{AgentStatus, Answer, Request};
use weir_appliance_control::name::{AgentId, InterfaceName, Mac};
use weir_appliance_control::problem::Problem;

use crate::answer::{Ask, Exit, Outcome, json, one, unexpected};
use crate::config::MannerArgs;
use crate::table::{Column, Table};

/// Agents: list, show, set, remove.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// List the agents.
    List(Ask),
    /// Show one agent. Exit code 1 if there is none of this number.
    Show(NumberedArgs),
    /// Set an agent: a new one, or new values for a known one.
    Set(SetArgs),
    /// Remove an agent; frames to it then pass to the network stack.
    Remove(RemoveArgs),
}

/// One agent, by its number.
#[derive(Args, Clone, Debug)]
pub struct NumberedArgs {
    /// The agent's number.
    pub id: AgentId,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// One agent that goes.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Which.
    #[command(flatten)]
    pub numbered: NumberedArgs,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// An agent's values.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// The agent's number in message headers.
    pub id: AgentId,
    /// Its IP address.
    #[arg(long, value_parser = address)]
    pub address: IpAddr,
    /// Its Ethernet address, or its gateway's.
    #[arg(long)]
    pub mac: Mac,
    /// The interface it is behind.
    #[arg(long)]
    pub interface: InterfaceName,
    /// Its type: services pick among agents of one type.
    #[arg(long = "type", value_name = "N", default_value_t = 1)]
    pub kind: u32,
    /// Its weight among agents of its type, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub weight: u32,
    /// Give it no new connections of services; see also weir service drain.
    #[arg(long)]
    pub draining: bool,
    /// What it prefers: text, audio, image, sensor; several with commas.
    #[arg(long, value_parser = modality)]
    pub modality: Option<ModalitySet>,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::new(text, "this is not an IP address", "write one address, for example 10.9.0.2"))
}

/// Commas as well as the bar of the configuration, which a shell would take for a pipe.
fn modality(text: &str) -> Result<ModalitySet, Problem> {
    text.replace(',', "|").parse().map_err(|problem| Problem { value: text.to_owned(), ..problem })
}

impl SetArgs {
    /// What is asked of the running weir.
    pub fn request(&self) -> Request {
        let agent = AgentSpec {
            id: self.id,
            address: self.address,
            mac: self.mac,
            interface: self.interface.clone(),
            kind: self.kind,
            weight: self.weight,
            modality: self.modality,
            draining: self.draining,
        };
        Request::AgentSet { agent }
    }
}

impl AgentCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::List(ask) => list(ask, None, out),
            Self::Show(numbered) => list(&numbered.ask, Some(numbered.id), out),
            Self::Set(set) => set.ask.change(&set.manner.around(set.request()), out),
            Self::Remove(RemoveArgs { numbered, manner }) => {
                numbered.ask.change(&manner.around(Request::AgentRemove { id: numbered.id }), out)
            }
        }
    }
}

fn list(ask: &Ask, only: Option<AgentId>, out: &mut dyn Write) -> Outcome {
    let agents = match ask.call(&Request::AgentList)? {
        Answer::Agents(agents) => agents,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    let Some(id) = only else {
        return if ask.json { json(&agents, out) } else { render(&agents, out) };
    };
    let found = agents.iter().find(|agent| agent.agent.id == id);
    one(found, || format!("no agent has number {id}"), ask.json, out, show)
}

/// Prints the agents as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(agents: &[AgentStatus], out: &mut dyn Write) -> Outcome {
    let mut table = Table::new([
        Column::Number("agent"),
        Column::Text("address"),
        Column::Name("mac"),
        Column::Text("interface"),
        Column::Number("type"),
        Column::Number("weight"),
        Column::Text("prefers"),
        Column::Name("now"),
    ]);
    for AgentStatus { agent, reachable } in agents {
        table.row([
            agent.id.to_string(),
            agent.address.to_string(),
            agent.mac.to_string(),
            agent.interface.to_string(),
            agent.kind.to_string(),
            agent.weight.to_string(),
            agent.modality.map_or_else(|| "-".to_owned(), |set| set.to_string()),
            if *reachable { "up" } else { "down" }.to_owned(),
        ]);
    }
    table.write("no agent: messages pass to the network stack; add one with weir agent set", out)?;
    Ok(Exit::Done)
}

fn show(status: &AgentStatus, out: &mut dyn Write) -> Outcome {
    let AgentStatus { agent, reachable } = status;
    writeln!(out, "agent      {}", agent.id)?;
    writeln!(out, "address    {}", agent.address)?;
    writeln!(out, "mac        {}", agent.mac)?;
    writeln!(out, "interface  {} ({})", agent.interface, if *reachable { "up" } else { "not there, or down" })?;
    writeln!(out, "type       {}", agent.kind)?;
    writeln!(out, "weight     {}", agent.weight)?;
    if let Some(modality) = agent.modality {
        writeln!(out, "prefers    {modality}")?;
    }
    Ok(Exit::Done)
}
