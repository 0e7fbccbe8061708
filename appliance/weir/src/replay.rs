//! `weir replay`: a capture through the kernel's own copy of the classifier and through the real feature, in this process.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use weir_appliance_control::class::classes;
use weir_appliance_control::config::Config;
use weir_appliance_control::message::ReplayReport;
use weir_appliance_control::taker::FeatureName;
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC, NO_RULE};
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_loader::{Classifier, LoadOptions};
use weir_features_streaming::Streaming;
use weir_features_worker::batch::FrameView;
use weir_features_worker::replay::Replay;

use crate::capture;
use crate::dataplane::classes::KernelClasses;
use crate::dataplane::steering;
use crate::instructions;
use crate::records;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// What steers a replay when no configuration is given: streaming takes everything.
pub(crate) const EVERYTHING: &str = "rules: [{name: everything, match: any, action: deliver, to: [streaming]}]\n";

/// Runs the capture at `path` under `config`. Agents of the configuration are not known here (their interfaces may not
/// exist on this host), so a message for one passes with the reason `unknown-agent`.
///
/// # Errors
/// When the capture cannot be read or the kernel refuses the program.
pub(crate) fn run(path: &Path, config: &Config) -> Result<ReplayReport> {
    let kernel_classes = KernelClasses::of(&classes(config), 1)?;
    let rules =
        steering::rules(config, config.not_running(), &kernel_classes).map_err(|problem| anyhow!("{problem}"))?;
    let mut classifier = Classifier::load(LoadOptions { pin_root: None }).context(
        "the capture is not replayed: the classifier cannot be loaded (`weir why --pcap` needs no privilege)",
    )?;
    classifier.install_rules(&rules.0, &rules.1)?;
    let mut report = ReplayReport::default();
    // A candidate is replayed by this program as well, whatever program its worker runs as.
    let settings = instructions::settings()?;
    let replayed = |name: &FeatureName| *name == FeatureName::STREAMING || config.enabled().any(|it| it == *name);
    let features = FeatureName::offered().filter(|name| name.base() == FeatureName::STREAMING).filter(replayed);
    let mut features: Vec<_> = features.map(|name| (name, Replay::<Streaming>::new(&settings))).collect();
    capture::for_each(path, |met| {
        if met.bytes.len() < ETHERNET {
            // No card gives such a frame to a program, and the kernel's test run takes none.
            count(&mut report, met, Action::Pass, Reason::TruncatedEthernet);
            return Ok(());
        }
        let explanation = classifier.explain(met.bytes)?;
        count(&mut report, met, explanation.action(), explanation.reason());
        let takers = kernel_classes.takers(explanation.class);
        if !explanation.action().takes_a_ring() {
            return Ok(());
        }
        for taker in takers.names() {
            *report.takers.entry(taker).or_default() += 1;
        }
        for (_, feature) in features.iter_mut().filter(|(name, _)| takers.contains(name.taker())) {
            feature.feed(met.time_ns, &[FrameView::whole(meta(&explanation), met.bytes, met.number - 1)]);
        }
        Ok(())
    })?;
    for (name, feature) in features {
        let records = feature.finish().records.iter().map(records::json).collect();
        report.records.insert(name.to_string(), records);
    }
    Ok(report)
}

fn count(report: &mut ReplayReport, met: &capture::Met<'_>, action: Action, reason: Reason) {
    report.frames += 1;
    report.bytes += u64::from(met.captured_length);
    *report.actions.entry(action.name().to_owned()).or_default() += 1;
    if reason != Reason::None {
        *report.reasons.entry(reason.name().to_owned()).or_default() += 1;
    }
}

/// The words that the classifier puts in front of a frame it delivers.
fn meta(explanation: &Explanation) -> FrameMeta {
    let decoded = &explanation.decoded;
    FrameMeta {
        flow: explanation.flow,
        received_ns: 0,
        rule: explanation.rule().unwrap_or(NO_RULE),
        class: explanation.class,
        kind: decoded.kind,
        payload_offset: decoded.payload_offset,
        payload_length: decoded.payload_length,
        agent_source: decoded.message.source_agent,
        bucket: explanation.bucket,
        magic: META_MAGIC,
    }
}
