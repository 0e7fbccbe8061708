//! `weir why`: why a flow or a captured frame goes where it goes.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use weir_appliance_control::message::{
    Answer, FlowExplanation, FlowTuple, Ip, MessageFields, Ports, Request, Verdict, WhyFrame, WhyQuestion,
};

use crate::answer::{Ask, Exit, Failure, Outcome, json, unexpected};
use crate::status::sentence;
use crate::table::wrap;

/// Explain a live flow, or every frame of a capture.
///
/// FLOW is written 10.0.0.1:5000-10.0.0.2:48100/udp. A capture is judged by the file given with --config, and without one as a
/// box without rules would: a weir that runs is not asked.
#[derive(Args, Clone, Debug)]
#[group(id = "what", required = true, multiple = false, args = ["flow", "pcap"])]
pub struct WhyArgs {
    /// A live flow.
    pub flow: Option<FlowTuple>,
    /// A capture instead: pcap or pcapng.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Only this frame of the capture, counted from 1.
    #[arg(long, value_name = "N", requires = "pcap", value_parser = clap::value_parser!(u64).range(1..))]
    pub frame: Option<u64>,
    /// The configuration to judge the capture by.
    #[arg(long, value_name = "FILE", requires = "pcap")]
    pub config: Option<PathBuf>,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl WhyArgs {
    /// Asks the running weir about a live flow and prints its answer.
    ///
    /// # Errors
    /// Nobody answers, or the output cannot be written.
    pub fn run_flow(&self, flow: FlowTuple, out: &mut dyn Write) -> Outcome {
        match self.ask.call(&Request::Why(WhyQuestion::Flow(flow)))? {
            Answer::Flow(explanation) if self.ask.json => json(&explanation, out),
            Answer::Flow(explanation) => Ok(render_flow(&explanation, out).map(|()| Exit::Done)?),
            other => Err(unexpected(&self.ask.socket, &other).into()),
        }
    }

    /// Prints the frames that the caller has judged, one by one as they come; [`WhyArgs::frame`] picks one. Exit code 1 if
    /// there is no such frame.
    ///
    /// # Errors
    /// The first frame that could not be judged, or the output cannot be written.
    pub fn render_frames<E: Into<Failure>>(
        &self,
        frames: impl IntoIterator<Item = Result<WhyFrame, E>>,
        out: &mut dyn Write,
    ) -> Outcome {
        let mut shown = false;
        for frame in frames {
            let frame = frame.map_err(Into::into)?;
            match self.frame {
                Some(wanted) if frame.frame < wanted => continue,
                Some(wanted) if frame.frame > wanted => break,
                _ => {}
            }
            shown = true;
            if self.ask.json {
                json(&frame, out)?;
            } else {
                render_frame(&frame, out)?;
            }
        }
        if !shown && !self.ask.json {
            writeln!(out, "the capture has no such frame")?;
        }
        Ok(if shown { Exit::Done } else { Exit::NotSo })
    }
}

/// Prints one frame: a line for what it is, one for what became of it.
///
/// # Errors
/// The output cannot be written.
pub fn render_frame(frame: &WhyFrame, out: &mut dyn Write) -> io::Result<()> {
    let mut layers = vec![layer(&frame.ethertype, &frame.vlans, frame.ip.as_ref(), frame.ports)];
    if let (Some(tunnel), Some(inner)) = (frame.tunnel, &frame.inner) {
        let name =
            serde_json::to_value(tunnel).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        layers.push(format!("in {name}: {}", layer(&inner.ethertype, &inner.vlans, inner.ip.as_ref(), inner.ports)));
    }
    layers.extend(frame.message.as_ref().map(message));
    let first = format!("frame {}, {} bytes: {}", frame.frame, frame.length, layers.join("; "));
    block(&first, "", out)?;
    if let Some(note) = &frame.note {
        block(note, "    ", out)?;
    }
    if let Some(reason) = &frame.malformed {
        block(&format!("malformed ({reason}): {}", sentence(reason)), "    ", out)?;
    }
    // What is wrong was said a line above; the verdict need not say it again.
    let reason = frame.verdict.reason.as_ref().filter(|reason| frame.malformed.as_ref() != Some(*reason));
    block(&verdict(&frame.verdict, reason), "    ", out)
}

fn block(text: &str, indent: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut indent = indent.to_owned();
    for line in wrap(text, crate::table::width() - 6) {
        writeln!(out, "{indent}{line}")?;
        indent = "      ".to_owned();
    }
    Ok(())
}

fn layer(ethertype: &str, vlans: &[u16], ip: Option<&Ip>, ports: Option<Ports>) -> String {
    let vlans: String = vlans.iter().map(|vlan| format!("vlan {vlan} ")).collect();
    let Some(ip) = ip else {
        return format!("{vlans}{}", if ethertype.is_empty() { "no ethertype" } else { ethertype });
    };
    let end = |address: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let source = end(ip.source, ports.map(|ports| ports.source));
    let destination = end(ip.destination, ports.map(|ports| ports.destination));
    let protocol = match ip.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        number => format!("proto {number}"),
    };
    let fragment = ip
        .fragment
        .as_ref()
        .map(|part| format!(" fragment at {}{}", part.offset, if part.more { ", more follow" } else { ", the last" }));
    format!("{vlans}{source} > {destination} {protocol}{}", fragment.unwrap_or_default())
}

fn message(fields: &MessageFields) -> String {
    let kind = match (fields.modality_mask, fields.event_count) {
        (Some(mask), _) => format!("multi-modal message (modalities {mask:#x})"),
        (None, Some(events)) => format!("batch of {events} events"),
        (None, None) => "message".to_owned(),
    };
    let MessageFields { message_type, source_agent_id, dest_agent_id, sequence_number, .. } = fields;
    format!("{kind} type {message_type} from agent {source_agent_id} to {dest_agent_id}, number {sequence_number}")
}

/// `rule telemetry: deliver to streaming (bucket 42)`.
fn verdict(verdict: &Verdict, reason: Option<&String>) -> String {
    let by = verdict.rule.as_ref().map_or_else(|| "no rule".to_owned(), |rule| format!("rule {rule}"));
    let to = if verdict.takers.is_empty() { String::new() } else { format!(" to {}", verdict.takers.join(" + ")) };
    let bucket = verdict.bucket.map(|bucket| format!(", bucket {bucket}")).unwrap_or_default();
    let reason = reason.map(|reason| format!(" ({reason}: {})", sentence(reason))).unwrap_or_default();
    let by = verdict.service.as_ref().map_or(by, |service| format!("service {service}"));
    let agent = verdict.agent.map(|agent| format!(" to agent {agent}")).unwrap_or_default();
    format!("{by}{bucket}: {}{to}{agent}{reason}", verdict.action)
}

/// Prints the stations of a live flow; the one that decided is marked.
///
/// # Errors
/// The output cannot be written.
pub fn render_flow(explanation: &FlowExplanation, out: &mut dyn Write) -> io::Result<()> {
    let FlowExplanation { flow, fingerprint, bucket, verdict: end, steps } = explanation;
    writeln!(out, "{flow}  bucket {bucket}  fingerprint {fingerprint}")?;
    for step in steps {
        let mark = if step.decided { '>' } else { ' ' };
        let mut lines = wrap(&format!("{}: {}", step.found, step.because), 62).into_iter();
        writeln!(out, "{mark} {:<13} {}", step.stage, lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| writeln!(out, "{:16}{line}", ""))?;
    }
    writeln!(out, "= {}", verdict(end, end.reason.as_ref()))
}
