//! Writes the configuration back as YAML: the same order always, so that a change shows as few lines of difference.

use std::fmt::Write as _;

use weir_appliance_flags::plain;

use super::*;

impl Config {
    /// The configuration as YAML. [`Config::parse`] reads it back to an equal one.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        list(out, "interfaces", &self.interfaces, |spec| {
            let InterfaceSpec { name, queues, mode, placement } = spec;
            let plain = *placement == PlacementSpec::default();
            let placement = if plain { String::new() } else { format!(", placement: {placement}") };
            format!("{{name: {}, queues: {queues}, mode: {mode}{placement}}}", quoted(name.as_str()))
        })?;
        let MemorySpec { frame_size, rx_ring, hugepages } = self.memory;
        writeln!(out, "memory: {{frame_size: {frame_size}, rx_ring: {rx_ring}, hugepages: {hugepages}}}")?;
        let CoreSpec { critical, batch } = &self.cores;
        writeln!(out, "cores: {{critical: {}, batch: {}}}", quoted(&critical.to_string()), quoted(&batch.to_string()))?;
        writeln!(out, "resources: {}", self.resources)?;
        writeln!(out, "wait: {}", self.wait)?;
        writeln!(out, "features:")?;
        for (name, spec) in &self.features {
            writeln!(out, "  {name}: {}", feature(spec))?;
        }
        list(out, "rules", &self.rules, |spec| {
            let to = if spec.to.is_empty() { String::new() } else { format!(", to: {}", names(&spec.to)) };
            let (name, matches) = (quoted(spec.name.as_str()), quoted(&spec.matches.to_string()));
            let durable = if spec.durable { ", durable: true" } else { "" };
            format!("{{name: {name}, match: {matches}, action: {}{to}, share: {}{durable}}}", spec.action, spec.share)
        })?;
        list(out, "flags", &self.flags, flag)?;
        if let Some(flags) = &self.program_flags {
            writeln!(out, "program_flags: {}", quoted(flags.as_str()))?;
        }
        list(out, "agents", &self.agents, |spec| {
            let AgentSpec { id, address, mac, interface, kind, weight, modality, draining } = spec;
            let draining = if *draining { ", draining: true" } else { "" };
            let modality = modality.map(|set| format!(", modality: {}", quoted(&set.to_string()))).unwrap_or_default();
            let (address, interface) = (quoted(&address.to_string()), quoted(interface.as_str()));
            format!(
                "{{id: {id}, address: {address}, mac: \"{mac}\", interface: {interface}, type: {kind}, weight: {weight}{modality}{draining}}}"
            )
        })?;
        list(out, "services", &self.services, service)?;
        let LogSpec { folder, segment_mib, keep_mib, keep_hours, when_full } = &self.log;
        let folder = quoted(&folder.to_string_lossy());
        let hours = keep_hours.map(|hours| format!(", keep_hours: {hours}")).unwrap_or_default();
        writeln!(
            out,
            "log: {{folder: {folder}, segment_mib: {segment_mib}, keep_mib: {keep_mib}{hours}, when_full: {when_full}}}"
        )?;
        let TcpSpec { listen, connections, buffers_mib, credit, stall_seconds } = &self.tcp;
        let listen = listen.iter().map(|address| quoted(&address.to_string())).collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "tcp: {{listen: [{listen}], connections: {connections}, buffers_mib: {buffers_mib}, credit: {credit}, stall_seconds: {stall_seconds}}}"
        )?;
        let SuperviseSpec {
            stall_seconds,
            start_seconds,
            park_deaths,
            park_within_seconds,
            restart_first_ms,
            restart_most_ms,
        } = self.supervise;
        writeln!(out, "supervise:")?;
        writeln!(out, "  stall_seconds: {stall_seconds}")?;
        writeln!(out, "  start_seconds: {start_seconds}")?;
        writeln!(out, "  park_deaths: {park_deaths}")?;
        writeln!(out, "  park_within_seconds: {park_within_seconds}")?;
        writeln!(out, "  restart_first_ms: {restart_first_ms}")?;
        writeln!(out, "  restart_most_ms: {restart_most_ms}")?;
        self.write_preservation(out)?;
        writeln!(out, "control: {{socket: {}}}", quoted(&self.control.socket.to_string_lossy()))?;
        let ManagementSpec { addresses, ports } = &self.management;
        let addresses = flow(addresses, |address| quoted(&address.to_string()));
        writeln!(out, "management: {{addresses: {addresses}, ports: {}}}", flow(ports, ToString::to_string))
    }

    fn write_preservation(&self, out: &mut String) -> std::fmt::Result {
        let PreservationSpec { watch, gate, window_seconds, every_minutes, .. } = self.preservation;
        let PreservationSpec { most_frames_per_second, throughput_loss, late_more, .. } = self.preservation;
        writeln!(
            out,
            "preservation: {{watch: {watch}, gate: {gate}, window_seconds: {window_seconds}, every_minutes: {every_minutes}, most_frames_per_second: {most_frames_per_second}, throughput_loss: {throughput_loss}, late_more: {late_more}}}"
        )
    }
}

fn flag(spec: &FlagSpec) -> String {
    let FlagSpec { name, state, to, share, matches, requires, variants, schedule } = spec;
    let mut text = format!("{{name: {}, state: {state}", quoted(name.as_str()));
    let mut add = |key: &str, value: String| text += &format!(", {key}: {value}");
    if !to.is_empty() {
        add("to", names(to));
    }
    add("share", share.to_string());
    if !matches.is_any() {
        add("match", quoted(&matches.to_string()));
    }
    if !requires.is_empty() {
        add("requires", flow(requires, |name| quoted(name.as_str())));
    }
    if !variants.is_empty() {
        let variant = |VariantSpec { name, to, weight }: &VariantSpec| {
            let to = if to.is_empty() { String::new() } else { format!(", to: {}", names(to)) };
            format!("{{name: {}{to}, weight: {weight}}}", quoted(name.as_str()))
        };
        add("variants", flow(variants, variant));
    }
    if !schedule.is_empty() {
        let step = |step: &FlagStep| format!("{{at: {}, share: {}}}", quoted(&step.at.to_string()), step.share);
        add("schedule", flow(schedule, step));
    }
    text + "}"
}

/// A list in one line.
fn flow<T>(items: &[T], item: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
}

fn service(spec: &ServiceSpec) -> String {
    let ServiceSpec { name, address, protocol, port, agents, kind, encapsulation, source, health } = spec;
    let port = port.map(|port| format!(", port: {port}")).unwrap_or_default();
    let agents = match kind {
        Some(kind) => format!("type: {kind}"),
        None => format!("agents: [{}]", agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let source = source.map(|source| format!(", source: {}", quoted(&source.to_string()))).unwrap_or_default();
    let HealthSpec { check, port: asked, ask, answer, every_ms, timeout_ms, rise, fall } = health;
    let asked = asked.map(|port| format!(", port: {port}")).unwrap_or_default();
    let bytes = |key: &str, bytes: &Option<ProbeBytes>| {
        bytes.as_ref().map(|bytes| format!(", {key}: {}", quoted(&bytes.to_string()))).unwrap_or_default()
    };
    let (ask, answer) = (bytes("ask", ask), bytes("answer", answer));
    let health = format!(
        "{{check: {check}{asked}{ask}{answer}, every_ms: {every_ms}, timeout_ms: {timeout_ms}, rise: {rise}, fall: {fall}}}"
    );
    let (name, address) = (quoted(name.as_str()), quoted(&address.to_string()));
    format!(
        "{{name: {name}, address: {address}, protocol: {protocol}{port}, {agents}, encapsulation: {encapsulation}{source}, health: {health}}}"
    )
}

/// One item a line, so that a change of one item is a change of one line.
fn list<T>(out: &mut String, key: &str, items: &[T], line: impl Fn(&T) -> String) -> std::fmt::Result {
    if items.is_empty() {
        return writeln!(out, "{key}: []");
    }
    writeln!(out, "{key}:")?;
    items.iter().try_for_each(|item| writeln!(out, "  - {}", line(item)))
}

fn feature(spec: &FeatureSpec) -> String {
    let FeatureSpec { enabled, wait, send_mbit, run, program } = spec;
    let cap = send_mbit.map(|mbit| format!(", send_mbit: {mbit}")).unwrap_or_default();
    let program = program.as_ref().map(|path| format!(", program: {}", quoted(&path.to_string_lossy())));
    format!("{{enabled: {enabled}, wait: {wait}{cap}, run: {run}{}}}", program.unwrap_or_default())
}

fn names(features: &[FeatureName]) -> String {
    flow(features, ToString::to_string)
}

/// A YAML double-quoted scalar (YAML 1.2, section 7.3.1), so that no name can be read as a number, a date or null.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if plain(c) != c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}
