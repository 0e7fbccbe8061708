//! `weir service`: virtual addresses whose connections are shared among agents.

use std::io::Write;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use weir_appliance_control::config::{Check, Encapsulation, HealthSpec, ProbeBytes, ServiceProtocol, ServiceSpec};
use weir_appliance_control::message::{Answer, Request, ServiceAgentStatus, ServiceStatus};
use weir_appliance_control::name::{AgentId, ServiceName};
use weir_appliance_control::problem::Problem;

use crate::answer::{Ask, Exit, Outcome, json, one, unexpected};
use crate::config::MannerArgs;
use crate::numbers::{bytes, exact, percent};
use crate::table::{Column, Table};

/// Services: list, show, add, remove, drain, undrain.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// List the services with their counters.
    List(Ask),
    /// Show one service with its agents. Exit code 1 if there is none of this name.
    Show(NamedArgs),
    /// Add a service; it works from the next frame.
    Add(Box<AddArgs>),
    /// Remove a service; frames to its address are then like any other.
    Remove(RemoveArgs),
    /// Give an agent no new connections; those that it has stay with it.
    Drain(AgentArgs),
    /// Give an agent new connections again.
    Undrain(AgentArgs),
}

/// One service, by its name.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The service's name.
    pub name: ServiceName,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// A service to remove.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Which.
    #[command(flatten)]
    pub named: NamedArgs,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
}

/// One agent, by its number.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// The agent's number.
    pub id: AgentId,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// A new service.
#[derive(Args, Clone, Debug)]
#[group(id = "members", required = true, multiple = false, args = ["agents", "kind"])]
pub struct AddArgs {
    /// Its name.
    pub name: ServiceName,
    /// The virtual address.
    #[arg(long, value_parser = address)]
    pub address: IpAddr,
    /// tcp or udp.
    #[arg(long)]
    pub protocol: ServiceProtocol,
    /// Its port; any port if there is none.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Its agents by number; several with commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub agents: Vec<AgentId>,
    /// All agents of this type instead.
    #[arg(long = "type", value_name = "N")]
    pub kind: Option<u32>,
    /// How frames travel to the agents: none, ipip or geneve.
    #[arg(long, default_value_t = Encapsulation::None)]
    pub encapsulation: Encapsulation,
    /// Source address of the outer header.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub source: Option<IpAddr>,
    /// How the agents' health is found out: none, tcp or udp.
    #[arg(long, default_value_t = Check::None)]
    pub check: Check,
    /// The port that is checked; the service's own if there is none.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub check_port: Option<u16>,
    /// What a UDP check sends: text, or 0x and hexadecimal digits.
    #[arg(long, value_name = "BYTES")]
    pub check_ask: Option<ProbeBytes>,
    /// What the answer to it has to begin with; any answer will do if there is none.
    #[arg(long, value_name = "BYTES")]
    pub check_answer: Option<ProbeBytes>,
    /// Milliseconds from one check to the next.
    #[arg(long, value_name = "MS", default_value_t = HealthSpec::default().every_ms)]
    pub every_ms: u32,
    /// Milliseconds that an answer may take.
    #[arg(long, value_name = "MS", default_value_t = HealthSpec::default().timeout_ms)]
    pub timeout_ms: u32,
    /// Answers in a row until an agent is up again.
    #[arg(long, value_name = "N", default_value_t = HealthSpec::default().rise)]
    pub rise: u32,
    /// Failures in a row until an agent is down.
    #[arg(long, value_name = "N", default_value_t = HealthSpec::default().fall)]
    pub fall: u32,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

fn address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::new(text, "this is not an IP address", "write one address, for example 10.9.0.9"))
}

impl AddArgs {
    /// What is asked of the running weir.
    pub fn request(&self) -> Request {
        let health = HealthSpec {
            check: self.check,
            port: self.check_port,
            ask: self.check_ask.clone(),
            answer: self.check_answer.clone(),
            every_ms: self.every_ms,
            timeout_ms: self.timeout_ms,
            rise: self.rise,
            fall: self.fall,
        };
        let service = ServiceSpec {
            name: self.name.clone(),
            address: self.address,
            protocol: self.protocol,
            port: self.port,
            agents: self.agents.clone(),
            kind: self.kind,
            encapsulation: self.encapsulation,
            source: self.source,
            health,
        };
        Request::ServiceAdd { service }
    }
}

impl ServiceCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        let drain =
            |agent: &AgentArgs, draining| agent.manner.around(Request::ServiceDrain { agent: agent.id, draining });
        match self {
            Self::List(ask) => list(ask, None, out),
            Self::Show(named) => list(&named.ask, Some(&named.name), out),
            Self::Add(add) => add.ask.change(&add.manner.around(add.request()), out),
            Self::Remove(RemoveArgs { named, manner }) => {
                named.ask.change(&manner.around(Request::ServiceRemove { name: named.name.clone() }), out)
            }
            Self::Drain(agent) => agent.ask.change(&drain(agent, true), out),
            Self::Undrain(agent) => agent.ask.change(&drain(agent, false), out),
        }
    }
}

fn list(ask: &Ask, only: Option<&ServiceName>, out: &mut dyn Write) -> Outcome {
    let services = match ask.call(&Request::ServiceList)? {
        Answer::Services(services) => services,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    let Some(name) = only else {
        return if ask.json { json(&services, out) } else { render(&services, out) };
    };
    let found = services.iter().find(|service| service.name == *name);
    one(found, || format!("no service is called {name}"), ask.json, out, show)
}

/// `10.9.0.100:443/tcp`.
fn virtual_end(service: &ServiceStatus) -> String {
    match service.port {
        Some(port) => format!("{}/{}", std::net::SocketAddr::new(service.address, port), service.protocol),
        None => format!("{}/{}, any port", service.address, service.protocol),
    }
}

fn up(service: &ServiceStatus) -> String {
    let up = service.agents.iter().filter(|agent| agent.state.as_str() == "up").count();
    format!("{up} of {}", service.agents.len())
}

/// The services as a table.
pub(crate) fn table(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new([
        Column::Name("service"),
        Column::Text("address"),
        Column::Name("agents up"),
        Column::Number("picks"),
        Column::Number("known"),
        Column::Number("unserved"),
    ]);
    for service in services {
        table.row([
            service.name.to_string(),
            virtual_end(service),
            up(service),
            exact(service.picks),
            exact(service.known),
            exact(service.unserved),
        ]);
    }
    table
}

/// Prints the services as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(services: &[ServiceStatus], out: &mut dyn Write) -> Outcome {
    table(services).write("no service; add one with weir service add", out)?;
    Ok(Exit::Done)
}

/// Prints one service with its agents.
///
/// # Errors
/// The output cannot be written.
pub fn show(service: &ServiceStatus, out: &mut dyn Write) -> Outcome {
    writeln!(out, "service  {}", service.name)?;
    writeln!(out, "address  {}", virtual_end(service))?;
    writeln!(out, "travel   encapsulation {}", service.encapsulation)?;
    let (picks, known) = (exact(service.picks), exact(service.known));
    writeln!(out, "frames   {picks} picked, {known} of known connections, {} unserved", exact(service.unserved))?;
    writeln!(out)?;
    let mut table = Table::new([
        Column::Number("agent"),
        Column::Name("state"),
        Column::Number("weight"),
        Column::Number("share"),
        Column::Number("frames"),
        Column::Number("bytes"),
        Column::Text("health"),
    ]);
    for agent in &service.agents {
        let ServiceAgentStatus { id, state, weight, share, frames, bytes: size, health, .. } = agent;
        table.row([
            id.to_string(),
            state.as_str().to_owned(),
            weight.to_string(),
            percent(*share),
            exact(*frames),
            bytes(*size),
            health.clone().unwrap_or_else(|| "not checked".to_owned()),
        ]);
    }
    table.write("no agent", out)?;
    Ok(Exit::Done)
}
