//! Placement in words: the node of a card and of the frames, and what cards were told.

use std::collections::BTreeMap;

use weir_appliance_control::message::{InterfaceStatus, MemoryStatus};

/// Where the frames are, behind what they are on; nothing where the card's node is not known.
pub(crate) fn node_of_frames(memory: &MemoryStatus) -> String {
    let Some(node) = memory.node else { return String::new() };
    match memory.on_node {
        Some(true) => format!(", on node {node} like the card"),
        Some(false) => {
            let asked: u32 = memory.pages.values().sum();
            let there = memory.pages.get(&node.to_string()).copied().unwrap_or(0);
            format!(", {there} of {asked} pages on node {node} like the card")
        }
        None => format!(", meant for node {node}"),
    }
}

/// One line on what an interface's card was told, and one for each refusal; none where there is nothing to say.
pub(crate) fn lines(port: &InterfaceStatus) -> Vec<String> {
    let node = port.numa_node.map(|node| format!("card on node {node}"));
    // Interrupts and threads come in dozens: they are counted.
    let mut counted = BTreeMap::<&str, u32>::new();
    let mut told = Vec::new();
    for set in port.placement.iter().filter(|set| set.refused.is_none()) {
        match (set.setting.split_once(':'), &set.before) {
            (Some((kind, _)), _) => *counted.entry(kind).or_default() += 1,
            (None, Some(before)) if *before != set.value => {
                told.push(format!("{} {} (was {before})", set.setting, set.value));
            }
            (None, _) => told.push(format!("{} {}", set.setting, set.value)),
        }
    }
    told.extend(counted.into_iter().map(|(kind, count)| format!("{count} {kind} placed")));
    let parts: Vec<String> = node.into_iter().chain(told).collect();
    let first = (!parts.is_empty()).then(|| format!("{}: {}", port.name, parts.join(", ")));
    let refused = port.placement.iter().filter_map(|set| set.refused.as_ref());
    first.into_iter().chain(refused.map(|why| format!("refused: {why}"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_told_and_what_was_refused() {
        let port: InterfaceStatus = serde_json::from_value(json!({
            "name": "eth0", "mode": "zero-copy", "why": "", "queues": 4, "numa_node": 1,
            "placement": [
                {"setting": "queues", "value": "4", "before": "2"},
                {"setting": "threaded", "value": "1", "before": "1"},
                {"setting": "irq:120", "value": "3", "before": "0-7"},
                {"setting": "irq:121", "value": "4", "before": "0-7"},
                {"setting": "busy_poll", "value": "50 us, 64 frames"},
                {"setting": "rss", "value": "even 4", "refused": "setting the RSS table of eth0: not supported; rss: keep"},
            ],
        }))
        .expect("an interface");
        assert_eq!(
            lines(&port),
            [
                "eth0: card on node 1, queues 4 (was 2), threaded 1, busy_poll 50 us, 64 frames, 2 irq placed",
                "refused: setting the RSS table of eth0: not supported; rss: keep",
            ]
        );
        let plain: InterfaceStatus =
            serde_json::from_value(json!({"name": "v", "mode": "generic", "why": "", "queues": 1})).expect("another");
        assert_eq!(lines(&plain), [""; 0]);
    }

    #[test]
    fn frames_elsewhere_are_said() {
        let mut memory = MemoryStatus { node: Some(1), on_node: Some(true), ..Default::default() };
        assert_eq!(node_of_frames(&memory), ", on node 1 like the card");
        memory.on_node = Some(false);
        memory.pages = [("0".to_owned(), 200), ("1".to_owned(), 56)].into();
        assert_eq!(node_of_frames(&memory), ", 56 of 256 pages on node 1 like the card");
        assert_eq!(node_of_frames(&MemoryStatus::default()), "");
    }
}
