//! `weir why` against the running box: the kernel's own program is asked, and live counters say what came of it.

use weir_appliance_control::class::takers;
use weir_appliance_control::config::{Config, RuleAction};
use weir_appliance_control::message::{FlowExplanation, FlowTuple, Verdict, WhyFrame, WhyStep};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::Taker;
use weir_dataplane_io::clock;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::flow::FlowVerdict;
use weir_ebpf_abi::maglev::SLOTS;
use weir_ebpf_abi::reason::Reason;

use super::control::internal;
use super::steering::is_taken;
use super::{Dataplane, counters, flags, lock};
use crate::capture::Met;
use crate::why;

/// Longest frame that is taken for a question: a jumbo frame.
const LONGEST: usize = 9_216;

/// Why the frame of these bytes goes where it goes.
///
/// # Errors
/// When the bytes are no frame, or the kernel refuses the test run.
pub(super) fn frame(dataplane: &Dataplane, bytes: &[u8]) -> Result<WhyFrame, Problem> {
    if bytes.is_empty() || bytes.len() > LONGEST {
        let cause = format!("a frame has 1 to {LONGEST} bytes");
        return Err(Problem::new(
            format!("{} bytes", bytes.len()),
            cause,
            "give the bytes from the Ethernet header on",
        ));
    }
    let explanation = lock(&dataplane.classifier).explain(bytes).map_err(internal)?;
    let verdict = verdict(dataplane, &explanation);
    let length = bytes.len() as u32; // a line of the control socket holds less than 4 GiB
    let met = Met {
        number: 1,
        bytes,
        length,
        captured_length: length,
        captured: length,
        is_presented: true,
        note: None,
        time_ns: 0,
    };
    Ok(why::frame(&met, &explanation, verdict))
}

/// What was decided, with the names that the configuration gives.
fn verdict(dataplane: &Dataplane, explanation: &Explanation) -> Verdict {
    let config = lock(&dataplane.config);
    let rule = explanation.rule().and_then(|index| config.rules().get(usize::from(index)));
    let rule = rule.map(|rule| rule.name.to_string());
    let service = why::service(explanation, &config, lock(&dataplane.classifier).placement());
    let verdict = why::verdict(explanation, rule, service, |class| dataplane.classes.takers(class).names());
    if !explanation.action().takes_a_ring() || is_taken_now(dataplane, &config, explanation) {
        return verdict;
    }
    // Only a verdict that a feature stored leads there: the class has no socket, and then the classifier lets the frame pass.
    Verdict { action: RuleAction::Pass, takers: Vec::new(), reason: Some(Reason::NoTaker.name().to_owned()), ..verdict }
}

/// Whether somebody who runs takes the frames of the class that was decided for.
fn is_taken_now(dataplane: &Dataplane, config: &Config, explanation: &Explanation) -> bool {
    is_taken(dataplane.classes.takers(explanation.class), dataplane.features.off(config))
}

/// Why the next frame of a flow goes where it goes, station by station.
///
/// # Errors
/// When the kernel refuses the test run or a counter.
pub(super) fn flow(dataplane: &Dataplane, flow: FlowTuple) -> Result<FlowExplanation, Problem> {
    let bytes = why::example(&flow);
    let explanation = lock(&dataplane.classifier).explain(&bytes).map_err(internal)?;
    let verdict = verdict(dataplane, &explanation);
    let mut steps = vec![
        map_write(dataplane, &explanation)?,
        rule(dataplane, &explanation, &verdict)?,
        bucket(dataplane, &explanation),
    ];
    if verdict.reason.as_deref() == Some(Reason::NoTaker.name()) {
        steps.push(WhyStep {
            stage: "ring".into(),
            found: "none".into(),
            because: "who takes the frames of this verdict does not run, so the host's own stack gets them: no-taker"
                .into(),
            decided: true,
        });
    } else if explanation.action().takes_a_ring() {
        steps.push(ring(dataplane, &explanation, &verdict)?);
        steps.extend(verdict.takers.iter().map(|taker| feature(dataplane, taker)));
    } else if let Some(name) = &verdict.service {
        steps.push(service(name, &explanation));
    } else if explanation.rule().is_none() && explanation.by_flag == 0 && explanation.by_verdict == 0 {
        steps.push(WhyStep {
            stage: "default".into(),
            found: verdict.action.to_string(),
            because: match &verdict.reason {
                Some(reason) => format!("nothing above decided; noted: {reason}"),
                None => "nothing above decided, so the host's own stack gets the frame".to_owned(),
            },
            decided: true,
        });
    }
    let fingerprint = format!("{:016x}", explanation.flow);
    Ok(FlowExplanation { flow, fingerprint, bucket: explanation.bucket, verdict, steps })
}

fn map_write(dataplane: &Dataplane, explanation: &Explanation) -> Result<WhyStep, Problem> {
    let held = lock(&dataplane.classifier).flow_verdict(explanation.flow).map_err(internal)?;
    let now_s = clock::monotonic_ns() / 1_000_000_000;
    let (found, because) = match held {
        Some(entry) => describe(entry, now_s),
        None => ("none".to_owned(), "no feature has written a verdict on this flow".to_owned()),
    };
    Ok(WhyStep { stage: "flow verdict".into(), found, because, decided: explanation.by_verdict != 0 })
}

fn describe(entry: FlowVerdict, now_s: u64) -> (String, String) {
    let action = entry.action().map_or("none", |action| action.name());
    let because = match u64::from(entry.expires_s()) {
        0 => "a feature wrote it into the mapped verdict table; it does not expire".to_owned(),
        expires if expires <= now_s => "a feature wrote it into the mapped verdict table; it has expired".to_owned(),
        expires => format!("a feature wrote it into the mapped verdict table; it expires in {} s", expires - now_s),
    };
    (action.to_owned(), because)
}

fn rule(dataplane: &Dataplane, explanation: &Explanation, verdict: &Verdict) -> Result<WhyStep, Problem> {
    let config = lock(&dataplane.config).clone();
    let (count, off) = (config.rules().len(), dataplane.features.off(&config).with(Taker::Sender));
    let (found, because) = match (explanation.rule(), &verdict.rule) {
        (Some(index), Some(name)) => {
            let counts = lock(&dataplane.classifier).rule_counters().map_err(internal)?;
            let packets = counts.get(usize::from(index)).map_or(0, |count| count.frames);
            let takers = config.rules().get(usize::from(index)).and_then(takers);
            let idle = takers.is_some_and(|set| !is_taken(set, off));
            let but = if idle { "; who takes its frames does not run" } else { "" };
            (name.clone(), format!("first of {count} rules that matches; it has decided {packets} frames{but}"))
        }
        _ => ("none".to_owned(), format!("none of {count} rules matches this flow")),
    };
    Ok(WhyStep { stage: "rule".into(), found, because, decided: explanation.rule().is_some() })
}

fn service(name: &str, explanation: &Explanation) -> WhyStep {
    let slot = format!("slot {} of {SLOTS}", explanation.slot);
    let (found, because) = match (explanation.agent(), explanation.known != 0) {
        (Some(agent), true) => (format!("{name}, agent {agent}"), "the connection is known and stays there".to_owned()),
        (Some(agent), false) => {
            (format!("{name}, agent {agent}"), format!("a new connection, and {slot} is that agent's"))
        }
        (None, _) => (name.to_owned(), format!("no agent gets it: {}", explanation.reason().sentence())),
    };
    WhyStep { stage: "service".into(), found, because, decided: true }
}

fn bucket(dataplane: &Dataplane, explanation: &Explanation) -> WhyStep {
    let theirs = flags::of(&lock(&dataplane.config), explanation);
    let because = match (explanation.by_flag != 0, theirs.as_slice()) {
        (true, names) if !names.is_empty() => format!("below the share of {}", names.join(", ")),
        (true, _) => "below the share of a flag that has changed just now".to_owned(),
        (false, []) => "no flag has this bucket of these flows".to_owned(),
        (false, names) => format!("{} would have it, but something before or a control arm decided", names.join(", ")),
    };
    let found = format!("{} of 10000", explanation.bucket);
    WhyStep { stage: "bucket".into(), found, because, decided: explanation.by_flag != 0 }
}

fn ring(dataplane: &Dataplane, explanation: &Explanation, verdict: &Verdict) -> Result<WhyStep, Problem> {
    let mut produced = 0;
    let mut dropped = 0;
    for ring in dataplane.rings.iter().filter(|ring| ring.class == explanation.class) {
        produced += ring.gauges.read().produced;
        dropped += counters::lost(ring, dataplane.mirrors(ring.class)).map_err(internal)?.by_kernel();
    }
    let because = format!("the kernel has put {produced} descriptors on its rings and dropped {dropped} frames there");
    let found = format!("class {} ({})", explanation.class, verdict.takers.join(" + "));
    Ok(WhyStep { stage: "ring".into(), found, because, decided: false })
}

fn feature(dataplane: &Dataplane, taker: &str) -> WhyStep {
    let attached = dataplane.takers.list().into_iter().find(|attached| attached.name == taker);
    let taken = dataplane.taken_of(taker).frames.load(std::sync::atomic::Ordering::Relaxed);
    let because = match attached {
        Some(worker) => format!("process {} has finished {taken} frames over all its lives", worker.pid),
        None if taker == "sender" => "the pool sends the frame on from its first descriptor to its last".to_owned(),
        None => format!("no worker is attached; {taken} frames were finished before"),
    };
    WhyStep { stage: "feature".into(), found: taker.to_owned(), because, decided: false }
}
