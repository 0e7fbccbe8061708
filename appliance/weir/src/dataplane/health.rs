//! Health checks: who of a service's agents answers. One thread, far from any frame; it sleeps until a check is due.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use weir_appliance_control::config::{AgentSpec, Config, HealthSpec, MAX_PROBE, ProbeBytes, ServiceSpec};
use weir_appliance_control::name::{AgentId, ServiceName};

use super::{Dataplane, lock, services};

/// Checks under way at the same time; more wait for their turn.
const AT_ONCE: usize = 32;
/// Stack of a thread that makes one connection.
const STACK: usize = 64 << 10;
/// Longest sleep while nothing is to be checked.
const IDLE: Duration = Duration::from_secs(3600);

type Who = (ServiceName, AgentId);

/// What is known of one agent of a service.
#[derive(Clone, Debug)]
struct Known {
    up: bool,
    /// Checks in a row that said otherwise.
    otherwise: u32,
    /// When it is checked next.
    due: Instant,
    /// What the last check said.
    last: String,
}

/// What is known of all agents that are checked.
#[derive(Default)]
pub(crate) struct Health {
    known: Mutex<BTreeMap<Who, Known>>,
    /// The configuration has changed and was not looked at since.
    news: AtomicBool,
    changed: Condvar,
}

impl Health {
    /// Whether an agent counts as healthy: it does until its checks say otherwise.
    pub(super) fn is_up(&self, service: &ServiceSpec, agent: &AgentSpec) -> bool {
        service.asks(agent).is_none() || self.find(service, agent).is_none_or(|known| known.up)
    }

    /// What its last check said, if it is checked.
    pub(super) fn last(&self, service: &ServiceSpec, agent: &AgentSpec) -> Option<String> {
        service.asks(agent)?;
        Some(self.find(service, agent).map_or_else(|| "not checked yet".to_owned(), |known| known.last))
    }

    fn find(&self, service: &ServiceSpec, agent: &AgentSpec) -> Option<Known> {
        lock(&self.known).get(&(service.name.clone(), agent.id)).cloned()
    }

    /// Says that the configuration has changed.
    pub(super) fn look_again(&self) {
        // Under the lock, so that a watcher that is about to sleep has seen it or is woken.
        let _known = lock(&self.known);
        self.news.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Takes one answer in; true when the agent's state has changed.
    fn take(&self, check: &Check, answer: &Result<Duration, String>) -> bool {
        let mut all = lock(&self.known);
        let Some(known) = all.get_mut(&check.who) else { return false };
        known.last = match answer {
            Ok(took) => format!("{} answered in {} ms", check.asked, took.as_millis()),
            Err(error) => format!("{}: {error}", check.asked),
        };
        if answer.is_ok() == known.up {
            known.otherwise = 0;
            return false;
        }
        known.otherwise += 1;
        let enough = if known.up { check.spec.fall } else { check.spec.rise };
        if known.otherwise < enough {
            return false;
        }
        (known.up, known.otherwise) = (!known.up, 0);
        true
    }

    /// Forgets who is gone, gets to know who is new, and gives the checks that are due and when the next one is.
    fn due(&self, config: &Config, now: Instant) -> (Vec<Check>, Instant) {
        let mut wanted = Vec::new();
        for service in config.services() {
            for agent in config.agents_of(service) {
                if let Some(asked) = service.asks(agent) {
                    wanted.push(Check { who: (service.name.clone(), agent.id), asked, spec: service.health.clone() });
                }
            }
        }
        let mut all = lock(&self.known);
        all.retain(|who, _| wanted.iter().any(|check| check.who == *who));
        let mut next = now + IDLE;
        wanted.retain(|check| {
            let known = all.entry(check.who.clone()).or_insert_with(|| Known {
                up: true,
                otherwise: 0,
                due: now,
                last: "not checked yet".to_owned(),
            });
            let is_due = known.due <= now;
            if is_due {
                known.due = now + Duration::from_millis(check.spec.every_ms.into());
            }
            next = next.min(known.due);
            is_due
        });
        (wanted, next)
    }
}

/// One question.
#[derive(Clone, Debug)]
struct Check {
    who: Who,
    asked: SocketAddr,
    spec: HealthSpec,
}

impl Check {
    fn ask(&self) -> Result<Duration, String> {
        let begun = Instant::now();
        let within = Duration::from_millis(self.spec.timeout_ms.into());
        match &self.spec.ask {
            Some(words) => self.ask_datagram(words, begun + within)?,
            // Dropped at once: the agent sees a connection that says nothing.
            None => drop(TcpStream::connect_timeout(&self.asked, within).map_err(|error| error.to_string())?),
        }
        Ok(begun.elapsed())
    }

    /// Sends one datagram and waits until `end` for one from the agent that begins as it has to. Others are passed over:
    /// they may be late answers to earlier questions.
    fn ask_datagram(&self, words: &ProbeBytes, end: Instant) -> Result<(), String> {
        let say = |error: std::io::Error| match error.kind() {
            // The agent's host says so itself (ICMP), which is worth more than silence.
            ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            _ => error.to_string(),
        };
        let any = match self.asked {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).map_err(say)?;
        socket.connect(self.asked).map_err(say)?;
        socket.send(words.as_bytes()).map_err(say)?;
        let wanted = self.spec.answer.as_ref().map_or(&[][..], ProbeBytes::as_bytes);
        let (mut got, mut other) = ([0; MAX_PROBE], false);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = if other { "no answer in time that begins as it has to" } else { "no answer in time" };
                return Err(what.to_owned());
            }
            socket.set_read_timeout(Some(left)).map_err(say)?;
            match socket.recv(&mut got) {
                Ok(length) if got.get(..length).is_some_and(|answer| answer.starts_with(wanted)) => return Ok(()),
                Ok(_) => other = true,
                // Round again: the time is over, or the loop says how much is left.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(say(error)),
            }
        }
    }
}

/// Checks for as long as the process lives.
pub(super) fn watch(dataplane: &Arc<Dataplane>) {
    loop {
        let (checks, next) = dataplane.health.due(&lock(&dataplane.config), Instant::now());
        let mut changed = false;
        for some in checks.chunks(AT_ONCE) {
            for (check, answer) in some.iter().zip(ask_all(some)) {
                let turned = dataplane.health.take(check, &answer);
                if turned {
                    let (service, agent) = &check.who;
                    let state = if answer.is_ok() { "up" } else { "down" };
                    tracing::warn!("service {service}: agent {agent} is {state}");
                }
                changed |= turned;
            }
        }
        if changed && let Err(error) = install(dataplane) {
            tracing::error!("services stay as they were although an agent's health has changed: {error}");
        }
        let guard = lock(&dataplane.health.known);
        let left = next.saturating_duration_since(Instant::now());
        if !left.is_zero() && !dataplane.health.news.swap(false, Ordering::Relaxed) {
            drop(dataplane.health.changed.wait_timeout(guard, left));
        }
    }
}

/// Asks some at the same time, in their order.
fn ask_all(checks: &[Check]) -> Vec<Result<Duration, String>> {
    std::thread::scope(|scope| {
        let ask = |check| {
            std::thread::Builder::new()
                .name("check".into())
                .stack_size(STACK)
                .spawn_scoped(scope, move || Check::ask(check))
        };
        let asked: Vec<_> = checks.iter().map(ask).collect();
        let answer = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err("the check panicked".to_owned())),
            Err(error) => Err(format!("no thread for the check: {error}")),
        };
        asked.into_iter().map(answer).collect()
    })
}

/// Puts the services in force as the agents' health is now.
fn install(dataplane: &Dataplane) -> anyhow::Result<()> {
    let config = lock(&dataplane.config);
    let made = services::services(&config, &dataplane.ports, &dataplane.health)
        .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    lock(&dataplane.classifier).install_services(&made)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "agents:\n  - {{id: 1, address: 10.9.0.1, mac: \"02:00:00:00:00:01\", interface: eth0}}\n  \
             - {{id: 2, address: 10.9.0.2, mac: \"02:00:00:00:00:02\", interface: eth0}}\n\
             services:\n  - {{name: web, address: 10.9.9.9, protocol: tcp, port: 80, type: 1, health: {{check: tcp, rise: 2, fall: 3}}}}\n{more}"
        );
        Config::parse(&text).expect("a good file")
    }

    #[test]
    fn a_state_turns_after_so_many_answers_in_a_row() {
        let (config, health, now) = (config(""), Health::default(), Instant::now());
        let (checks, _) = health.due(&config, now);
        assert_eq!(
            checks.iter().map(|check| check.asked.to_string()).collect::<Vec<_>>(),
            ["10.9.0.1:80", "10.9.0.2:80"]
        );
        let (service, agent) = (&config.services()[0], &config.agents()[0]);
        let turns = |answers: &[bool]| {
            let answer = |is_ok: &bool| if *is_ok { Ok(Duration::ZERO) } else { Err("refused".to_owned()) };
            answers.iter().map(|is_ok| health.take(&checks[0], &answer(is_ok))).collect::<Vec<_>>()
        };
        assert!(health.is_up(service, agent), "until its checks say otherwise");
        assert_eq!(turns(&[false, false, true, false, false, false]), [false, false, false, false, false, true]);
        assert!(!health.is_up(service, agent));
        assert_eq!(health.last(service, agent).as_deref(), Some("10.9.0.1:80: refused"));
        assert_eq!(turns(&[true, false, true, true]), [false, false, false, true]);
        assert!(health.is_up(service, agent));
    }

    #[test]
    fn checks_are_due_in_their_time_and_forgotten_with_their_service() {
        let (all, health, now) = (config(""), Health::default(), Instant::now());
        assert_eq!(health.due(&all, now).0.len(), 2);
        let (none, next) = health.due(&all, now);
        assert_eq!((none.len(), next), (0, now + Duration::from_secs(1)));
        assert_eq!(health.due(&all, next).0.len(), 2);
        let without = all.remove_service(&all.services()[0].name).expect("removed");
        let (none, next) = health.due(&without, next);
        assert!(none.is_empty() && next >= now + IDLE);
        assert!(lock(&health.known).is_empty());
    }

    /// Asks an agent that answers each datagram with these, one after the other, and gives what the check says.
    fn asked(wanted: Option<&str>, answers: &'static [&'static [u8]]) -> Result<(), String> {
        let agent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let asked = agent.local_addr().expect("an address");
        let serve = std::thread::spawn(move || {
            let mut buffer = [0; MAX_PROBE];
            let (length, from) = agent.recv_from(&mut buffer).expect("a question");
            assert_eq!(&buffer[..length], b"\0ping");
            for answer in answers {
                agent.send_to(answer, from).expect("the check listens");
            }
            agent
        });
        let bytes = |text: &str| text.parse::<ProbeBytes>().expect("good bytes");
        let spec = HealthSpec { ask: Some(bytes("0x0070696e67")), answer: wanted.map(bytes), ..HealthSpec::default() };
        let who = ("dns".parse().expect("a name"), 1.try_into().expect("a number"));
        let said = Check { who, asked, spec }.ask().map(drop);
        drop(serve.join());
        said
    }

    #[test]
    fn a_datagram_is_answered_as_it_has_to_be() {
        assert_eq!(asked(None, &[b""]), Ok(()));
        assert_eq!(asked(Some("pong"), &[b"pong and more"]), Ok(()));
        assert_eq!(asked(Some("pong"), &[b"an older answer", b"pong"]), Ok(()));
        assert_eq!(
            asked(Some("pong"), &[b"pon"]).expect_err("too short"),
            "no answer in time that begins as it has to"
        );
        assert_eq!(asked(None, &[]).expect_err("silence"), "no answer in time");
    }

    #[test]
    fn a_closed_port_is_told_from_silence() {
        let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let spec = HealthSpec { ask: "ping".parse().ok(), ..HealthSpec::default() };
        let who = ("dns".parse().expect("a name"), 1.try_into().expect("a number"));
        assert_eq!(Check { who, asked: closed, spec }.ask().expect_err("closed"), "nobody listens there");
    }
}
