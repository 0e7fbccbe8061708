//! `weir doctor --passport`: what the box is, and what it was measured to do.

use std::io::{self, Write};

use weir_appliance_control::config::CoreSet;
use weir_appliance_control::message::{CacheFacts, CardFacts, NodeFacts, Passport};

use crate::answer::{Exit, Outcome, json};
use crate::figures::host;
use crate::numbers::bytes;
use crate::table::{Column, Table, width, wrap};

/// Columns of the names at the left.
const NAMES: usize = 14;

fn list(cpus: &[u32]) -> String {
    CoreSet::List(cpus.to_vec()).to_string()
}

fn cache(it: &CacheFacts) -> String {
    let kind = match it.kind.as_str() {
        "Data" => "d",
        "Instruction" => "i",
        _ => "",
    };
    format!("L{}{kind} {} of CPU {}", it.level, bytes(it.bytes), list(&it.cpus))
}

fn node(it: &NodeFacts) -> String {
    format!("node {}: CPU {}, {} of {} hugepages free", it.id, list(&it.cpus), it.hugepages_free, it.hugepages)
}

fn card(it: &CardFacts) -> String {
    let node = it.node.map(|node| format!(", node {node}")).unwrap_or_default();
    let driver = if it.driver.is_empty() { "no driver".to_owned() } else { format!("driver {}", it.driver) };
    format!("{}: {driver}, {} queues, MTU {}{node}; XDP: {}", it.name, it.queues, it.mtu, it.xdp)
}

/// Prints the passport, as a page or as JSON.
///
/// # Errors
/// The output cannot be written.
pub fn answer(passport: &Passport, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(passport, out);
    }
    render(passport, out)?;
    Ok(Exit::Done)
}

/// Prints the passport as a page.
///
/// # Errors
/// The output cannot be written.
pub fn render(passport: &Passport, out: &mut dyn Write) -> io::Result<()> {
    let mut say = |name: &str, texts: Vec<String>, otherwise: &str| -> io::Result<()> {
        let texts = if texts.is_empty() { vec![otherwise.to_owned()] } else { texts };
        for (place, line) in texts.iter().flat_map(|text| wrap(text, width() - NAMES)).enumerate() {
            writeln!(out, "{:<NAMES$}{line}", if place == 0 { name } else { "" })?;
        }
        Ok(())
    };
    say("passport of", vec![passport.host.name.clone(), host(&passport.host)], "")?;
    say("made by", vec![passport.weir.clone()], "")?;
    let processor = &passport.processor;
    let named = [&processor.model, &processor.vendor, &processor.numbers].map(String::as_str);
    let named: Vec<&str> = named.into_iter().filter(|part| !part.is_empty()).collect();
    say("processor", vec![format!("{}; {} CPUs", named.join(", "), processor.cpus)], "")?;
    let having = |has: bool| {
        let names = processor.features.iter().filter(|(_, it)| **it == has).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    say("  has", vec![having(true)], "none of what weir could use")?;
    say("  has not", vec![having(false)], "-")?;
    say("caches", passport.caches.iter().map(cache).collect(), "the kernel does not say")?;
    say("memory", vec![bytes(passport.host.memory_bytes)], "")?;
    say("", passport.nodes.iter().map(node).collect(), "the kernel knows no memory nodes")?;
    say("cores", vec![passport.cores.clone()], "")?;
    say("cards", passport.cards.iter().map(card).collect(), "none found: no interface here has a device")?;
    say("accelerators", passport.accelerators.clone(), "none found")?;
    say("power", passport.power.clone(), "not there: the machine shows no power counters")?;
    let controller = |it: &weir_appliance_control::message::Check| format!("{}: {}", it.name, it.found);
    say("control", passport.controllers.iter().map(controller).collect(), "-")?;
    writeln!(out)?;
    writeln!(out, "measured here and now; nothing on this page is a projection")?;
    let columns = [
        Column::Name("rate"),
        Column::Number("median"),
        Column::Number("min"),
        Column::Number("max"),
        Column::Name("unit"),
        Column::Number("n"),
        Column::Number("s"),
    ];
    let mut table = Table::new(columns);
    for rate in &passport.rates {
        let figure = |value: f64| format!("{value:.2}");
        table.row([
            rate.name.clone(),
            figure(rate.median),
            figure(rate.min),
            figure(rate.max),
            rate.unit.clone(),
            rate.n.to_string(),
            figure(rate.seconds),
        ]);
    }
    table.write("nothing was measured", out)?;
    let lines = passport.rates.iter().map(|rate| format!("{}: {}", rate.name, rate.how));
    let not = passport.not_measured.iter().map(|it| format!("not measured: {}: {}", it.name, it.because));
    for line in lines.chain(not).flat_map(|text| wrap(&text, width())) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
