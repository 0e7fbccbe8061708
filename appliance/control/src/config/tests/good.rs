//! Files that are taken, and what they mean.

use super::super::*;
use crate::name::InterfaceName;
use crate::share::Share;

/// The example of the README, every key once.
pub(super) const WHOLE: &str = include_str!("../../../example.yaml");

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "# nothing\n", "{}", "rules: []\n", "rules:\nagents:\nfeatures:\n  streaming:\n"] {
        assert_eq!(Config::parse(text), Ok(Config::default()), "{text:?}");
    }
    let config = Config::default();
    assert_eq!(config.memory(), MemorySpec { frame_size: 2048, rx_ring: 2048, hugepages: HugePages::Prefer });
    assert_eq!(config.control().socket.to_str(), Some("/run/weir/control.sock"));
    assert_eq!(config.enabled().collect::<Vec<_>>(), [FeatureName::STREAMING]);
    assert_eq!((config.wait(), config.cores()), (WaitMode::Poll, &CoreSpec::default()));
}

#[test]
fn the_example_is_typed_whole() {
    let config = Config::parse(WHOLE).expect("the example");
    let names: Vec<_> = config.interfaces().iter().map(|spec| (spec.name.as_str(), spec.queues, spec.mode)).collect();
    assert_eq!(names, [("eth0", Queues::All, ModeWish::Best), ("eth1", Queues::First(4), ModeWish::Native)]);
    assert_eq!(config.cores().batch, CoreSet::List(vec![1, 2, 3]));
    let rules: Vec<_> =
        config.rules().iter().map(|rule| format!("{} {} {}", rule.name, rule.matches, rule.share)).collect();
    assert_eq!(
        rules,
        ["telemetry udp dport 48102 100%", "video-sample udp dport 5004 5%", "no-telnet tcp dport 23 100%"]
    );
    let [flag] = config.flags() else { panic!("{:?}", config.flags()) };
    assert_eq!(
        (flag.name.as_str(), flag.share.to_string(), flag.to.as_slice()),
        ("flag-1", "5%".into(), [FeatureName::STREAMING].as_slice())
    );
    let agent = &config.agents()[0];
    assert_eq!(
        (agent.id.get(), agent.mac.octets()[5], agent.weight, agent.modality.map(crate::matching::ModalitySet::bits)),
        (7, 7, 1, Some(1))
    );
}

#[test]
fn resources_are_typed_and_live_but_for_the_limit() {
    let config = Config::parse(WHOLE).expect("the example");
    let streaming = FeatureResources {
        critical: Some(1),
        batch: Some(2),
        memory: Some(512 << 20),
        cpu_weight: Some(200),
        class: Some(PriorityClass::Critical),
        accelerator: Some(AcceleratorUse { name: AcceleratorName::Npu, share: "50%".parse().expect("a share") }),
        borrow: Some(false),
    };
    assert_eq!(config.resources().features[&FeatureName::STREAMING], streaming);
    assert!(
        !config.resources().borrows(FeatureName::STREAMING) && ResourceSpec::default().borrows(FeatureName::STREAMING)
    );
    let said = "resources: {memory_limit: \"rlimit\", borrow: true, features: {streaming: {cores: {critical: 1, batch: 2}, \
                memory: 512MiB, cpu_weight: 200, class: critical, accelerator: {name: npu, share: 50%}, borrow: false}}}\n";
    assert!(config.to_yaml().contains(said), "{}", config.to_yaml());
    let next = WHOLE.replace("512MiB", "2048MiB").replace("memory_limit: rlimit", "memory_limit: off");
    let next = Config::parse(&next).expect("another");
    let differences: Vec<_> = config.differences(&next).into_iter().map(|it| (it.path, it.after, it.live)).collect();
    assert_eq!(
        differences,
        [
            ("resources.features.streaming.memory".to_owned(), Some("2GiB".to_owned()), true),
            ("resources.memory_limit".to_owned(), Some("off".to_owned()), false),
        ]
    );
    let live = config.with_live_part_of(&next).resources;
    assert_eq!((live.memory_limit, live.features), (MemoryLimit::Rlimit, next.resources.features));
    let nothing = Config::parse("resources: {features: {streaming: {cores: {}}, test1: }}").expect("nothing said");
    assert_eq!(nothing, Config::default());
}

#[test]
fn placement_is_typed_and_left_out_where_it_changes_nothing() {
    let config = Config::parse(WHOLE).expect("the example");
    assert_eq!(config.interfaces()[0].placement, PlacementSpec::default());
    let placement = &config.interfaces()[1].placement;
    assert_eq!((placement.strength, placement.channels), (Strength::Prefer, ChannelWish::Count(4)));
    assert_eq!((placement.rss, placement.threaded_napi), (Spread::Even, Switch::On));
    assert_eq!((&placement.irqs, &placement.napi_cores), (&CpuWish::Auto, &CpuWish::List(vec![2, 3])));
    assert_eq!(placement.busy_poll, Some(BusyPollSpec::default()));
    let text = "interfaces: [{name: e, placement: {channels: all, threaded_napi: off, busy_poll: {usecs: 7}}}]";
    let config = Config::parse(text).expect("a placement");
    let wanted = "placement: {channels: all, threaded_napi: \"off\", \
        busy_poll: {usecs: 7, budget: 64, defer_hard_irqs: 2, flush_timeout_us: 200}}}";
    assert!(config.to_yaml().contains(wanted), "{}", config.to_yaml());
    assert_eq!(Config::parse(&config.to_yaml()), Ok(config));
    let nothing = Config::parse("interfaces: [{name: e, placement: {channels: keep, irqs: keep}}]").expect("keeps");
    assert_eq!(nothing, Config::parse("interfaces: [{name: e, placement: {}}]").expect("empty"));
    assert!(!nothing.to_yaml().contains("placement"));
}

#[test]
fn a_file_reads_back_from_its_own_text() {
    let config = Config::parse(WHOLE).expect("the example");
    let text = config.to_yaml();
    assert_eq!(Config::parse(&text), Ok(config));
    assert_eq!(Config::parse(&Config::default().to_yaml()), Ok(Config::default()));
}

#[test]
fn one_more_rule_is_one_more_line() {
    let config = Config::parse(WHOLE).expect("the example");
    let rule = RuleSpec {
        name: config.free_rule_name(),
        matches: "udp:9".parse().expect("a match"),
        action: RuleAction::Drop,
        to: vec![],
        share: Share::ALL,
        durable: false,
    };
    let changed = config.add_rule(rule.clone(), Some(2)).expect("a good rule");
    assert_eq!(changed.rules()[1], rule);
    let (before, after) = (config.to_yaml(), changed.to_yaml());
    let new: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
    assert_eq!(new, ["  - {name: \"rule-4\", match: \"udp dport 9\", action: drop, share: 100%}"]);
    assert_eq!(changed.remove_rule(&rule.name), Ok(config.clone()));
    for place in [None, Some(4), Some(u32::MAX)] {
        assert_eq!(config.add_rule(rule.clone(), place).expect("a good rule").rules().last(), Some(&rule));
    }
}

#[test]
fn changes_are_judged_as_the_file_is() {
    let config = Config::parse(WHOLE).expect("the example");
    let again = config.rules()[0].clone();
    assert_eq!(config.add_rule(again.clone(), None).expect_err("twice").cause, "another rule has this name");
    let nobody = RuleSpec { to: vec![], name: config.free_rule_name(), ..again };
    assert!(config.add_rule(nobody, None).expect_err("nobody takes").cause.contains("needs somebody"));
    assert!(config.remove_rule(&"absent".parse().expect("a name")).is_err());
    let agent = AgentSpec { weight: 9, ..config.agents()[0].clone() };
    let changed = config.set_agent(agent.clone()).expect("a good agent");
    assert_eq!((changed.agents().len(), &changed.agents()[0]), (config.agents().len(), &agent));
    assert!(config.set_agent(AgentSpec { weight: 0, ..agent.clone() }).is_err());
    assert!(changed.remove_agent(agent.id).expect("removed").agents().iter().all(|other| other.id != agent.id));
}

#[test]
fn an_interface_from_the_command_line_keeps_its_settings() {
    let config = Config::parse(WHOLE).expect("the example");
    let name = |text: &str| text.parse::<InterfaceName>().expect("a name");
    let changed = config.clone().with_interfaces(&[name("eth1"), name("eth9")]).expect("two names");
    assert_eq!(changed.interfaces(), [config.interfaces()[1].clone(), InterfaceSpec::new(name("eth9"))]);
    assert!(config.with_interfaces(&[name("eth1"), name("eth1")]).is_err());
}

#[test]
fn a_datagram_that_asks_for_health_is_text_or_hexadecimal() {
    let bytes = |text: &str| text.parse::<ProbeBytes>();
    assert_eq!(bytes("ping").expect("text").as_bytes(), b"ping");
    assert_eq!(bytes("0x00fF").expect("hexadecimal").as_bytes(), [0, 0xff]);
    for whole in [&b"ping"[..], b"0x", b"a \"quoted\" one: #", b"\r\n", &[0xff; MAX_PROBE], "grüß".as_bytes()] {
        let written = whole.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        let read = bytes(&written).expect("as many as there can be");
        assert_eq!(bytes(&read.to_string()).as_ref().map(ProbeBytes::as_bytes), Ok(whole));
        let mut web = Config::parse(WHOLE).expect("the example").services()[0].clone();
        web.health = HealthSpec { check: Check::Udp, ask: Some(read.clone()), answer: Some(read), ..web.health };
        let config = Config::parse(WHOLE).expect("the example").remove_service(&web.name).expect("removed");
        let config = config.add_service(web).expect("a good service");
        assert_eq!(Config::parse(&config.to_yaml()), Ok(config));
    }
    for bad in ["", "0x", "0x1", "0xgg", &"x".repeat(MAX_PROBE + 1), &format!("0x{}", "00".repeat(MAX_PROBE + 1))] {
        assert!(bytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn services_come_go_and_drain() {
    let config = Config::parse(WHOLE).expect("the example");
    let web = config.services()[0].clone();
    assert_eq!((web.protocol, web.port, web.encapsulation), (ServiceProtocol::Tcp, Some(443), Encapsulation::Ipip));
    assert_eq!(config.agents_of(&web).map(|agent| agent.id.get()).collect::<Vec<_>>(), [7]);
    let asked = web.asks(&config.agents()[0]).map(|asked| asked.to_string());
    assert_eq!(asked.as_deref(), Some("10.9.0.2:8443"));
    assert!(config.add_service(web.clone()).is_err(), "its address is taken");
    let without = config.remove_service(&web.name).expect("removed");
    assert!(without.services().is_empty() && without.remove_service(&web.name).is_err());
    let id = config.agents()[0].id;
    let named = ServiceSpec { kind: None, agents: vec![id], port: None, health: HealthSpec::default(), ..web };
    let changed = without.add_service(named).expect("a good service");
    assert_eq!(Config::parse(&changed.to_yaml()), Ok(changed.clone()));
    assert!(changed.remove_agent(id).is_err(), "a service names it");
    let draining = changed.drain_agent(id, true).expect("an agent");
    assert!(draining.agents()[0].draining && Config::parse(&draining.to_yaml()) == Ok(draining.clone()));
    assert_eq!(draining.drain_agent(id, false), Ok(changed));
    assert!(config.drain_agent(8.try_into().expect("a number"), true).is_err());
}
