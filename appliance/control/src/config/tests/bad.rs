//! Files that are refused. Every line of a table is a whole small file, and the error must show its place, the value,
//! the cause and the cure.

use super::super::*;

/// Refused text, then what its one line must be: place and value up to the cause, a word of the cause, a word of the cure.
type Case = (&'static str, &'static str, &'static str, &'static str);

fn check(cases: &[Case]) {
    for (text, start, cause, cure) in cases {
        let error = Config::parse(text).expect_err(text);
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line:?}");
        assert!(line.starts_with(start), "{text:?}\n  want {start}\n  have {line}");
        assert!(error.problem.cause.contains(cause), "{text:?}\n  want {cause}\n  have {line}");
        assert!(error.problem.cure.contains(cure), "{text:?}\n  want {cure}\n  have {line}");
    }
}

#[test]
fn keys() {
    check(&[
        ("rulez: []", "1:1: rulez", "no such key", "rules"),
        ("wait: poll\nmemory: {frames: 9}", "2:10: frames", "no such key", "frame_size"),
        ("wait: poll\nwait: spin", "2:1: wait", "twice", "keep one"),
        ("interfaces: [{queues: all}]", "1:14: name", "missing", "name: "),
        ("rules:\n  - {match: any}", "2:5: action", "missing", "action: "),
        ("agents:\n  - id: 7\n    address: 10.0.0.1\n", "2:5: mac", "missing", "mac: "),
        ("features: {fusion: {}}", "1:12: fusion", "does not have", "streaming"),
        ("features: {sender: {}}", "1:12: sender", "data plane", "streaming"),
        ("<<: {wait: spin}", "1:1: <<", "no such key", "wait"),
    ]);
}

#[test]
fn kinds_of_value() {
    check(&[
        ("interfaces: eth0", "1:13: eth0", "wrong kind", "a list"),
        ("interfaces: [eth0]", "1:14: eth0", "wrong kind", "keys and values"),
        ("memory: 7", "1:9: 7", "wrong kind", "keys and values"),
        ("wait: [spin]", "1:7: [spin]", "wrong kind", "one value"),
        ("wait: {a: b}", "1:7: {a: b}", "wrong kind", "one value"),
        ("- a\n- b", "1:1: - a", "wrong kind", "keys and values"),
        ("interfaces: [{name: }]", "1:14: name", "missing", "name: "),
        ("interfaces: [{name: null}]", "1:14: name", "missing", "name: "),
        ("rules: [{match: any, action: deliver, to: [~]}]", "1:44: ~", "no value", "quotes"),
    ]);
}

#[test]
fn unreadable_yaml() {
    check(&[
        ("rules: [", "1:", "", ""),
        ("wait: b: c", "1:", "YAML", "indentation"),
        ("wait: \"spin", "1:", "", ""),
        ("wait: poll\n---\nwait: spin", "3:1: wait", "second document", "one document"),
        ("wait: &a spin\nrules: *a", "2:8: *a", "", ""),
        ("wait: *nobody", "1:7: *nobody", "", ""),
        ("rules:\n\t- a", "2:", "YAML", "indentation"),
    ]);
}

#[test]
fn scalars() {
    check(&[
        ("wait: never", "1:7: never", "not a way to wait", "poll, spin"),
        ("wait: Poll", "1:7: Poll", "not a way to wait", "poll, spin"),
        ("memory:\n  frame_size: 9000\n", "2:15: 9000", "2048 or 4096", "2048"),
        ("memory: {rx_ring: 3000}", "1:19: 3000", "power of two", "write 4096"),
        ("memory: {rx_ring: 65536}", "1:19: 65536", "64 to 32768", "write 32768"),
        ("memory: {rx_ring: -1}", "1:19: -1", "64 to 32768", "digits"),
        ("memory: {hugepages: yes}", "1:21: yes", "choice of pages", "prefer"),
        ("cores: {critical: 3-1}", "1:19: 3-1", "upside down", "auto"),
        ("cores: {batch: \"0,0\"}", "1:16: 0,0", "twice", "auto"),
        ("cores: {batch: 0-9999}", "1:16: 0-9999", "list of cores", "auto"),
        ("features: {streaming: {enabled: maybe}}", "1:33: maybe", "neither", "true or false"),
        ("features: {streaming: {send_mbit: 0}}", "1:35: 0", "1 to 400000", "leave it out"),
        ("features: {streaming-candidate: {program: weir}}", "1:43: weir", "a program has the absolute path", "/opt/"),
        ("features: {streaming: {program: /opt/}}", "1:33: /opt/", "absolute path of a file", "leave it out"),
        ("features: {streaming: {send_mbit: 400001}}", "1:35: 400001", "1 to 400000", "leave it out"),
        ("features: {streaming: {run: off}}", "1:29: off", "becomes of a feature's worker", "stopped, parked"),
        ("features: {streaming: {send_mbit: fast}}", "1:35: fast", "whole number", "digits"),
        ("features:\n  streaming:\n    wait: 5", "3:11: 5", "not a way to wait", "poll"),
        ("control: {socket: run/x}", "1:19: run/x", "absolute", "/run/weir/control.sock"),
        ("control: {socket: \"\"}", "1:19: \"\"", "absolute", "/run/weir/control.sock"),
        ("interfaces: [{name: eth0/1}]", "1:21: eth0/1", "printable ASCII", "ip link"),
        ("interfaces: [{name: eth0, queues: 0}]", "1:35: 0", "1 to 64", "all"),
        ("interfaces: [{name: eth0, queues: 65}]", "1:35: 65", "1 to 64", "all"),
        ("interfaces: [{name: eth0, mode: fast}]", "1:33: fast", "attach mode", "best, native, generic"),
        ("interfaces:\n  - name: eth0\n  - name: eth0\n", "3:11: eth0", "twice", "once"),
    ]);
}

#[test]
fn placement() {
    check(&[
        ("interfaces: [{name: e, placement: [a]}]", "1:35: [a]", "wrong kind", "keys and values"),
        ("interfaces: [{name: e, placement: {queues: 4}}]", "1:36: queues", "no such key", "channels"),
        ("interfaces: [{name: e, placement: {strength: hard}}]", "1:46: hard", "not a strength", "prefer, require"),
        ("interfaces: [{name: e, placement: {channels: 0}}]", "1:46: 0", "1 to 64", "keep"),
        ("interfaces: [{name: e, placement: {channels: some}}]", "1:46: some", "`keep`, `all`", "keep"),
        ("interfaces: [{name: e, queues: 4, placement: {channels: 2}}]", "1:57: 2", "fewer queues than the 4", "lower"),
        ("interfaces: [{name: e, placement: {rss: even}}]", "1:41: even", "spread flows", "keep, spread"),
        ("interfaces: [{name: e, placement: {irqs: \"0,0\"}}]", "1:42: 0,0", "twice", "keep, auto"),
        ("interfaces: [{name: e, placement: {threaded_napi: yes}}]", "1:51: yes", "not a switch", "keep, on, off"),
        (
            "interfaces: [{name: e, placement: {threaded_napi: off, napi_cores: auto}}]",
            "1:68: auto",
            "no threads",
            "threaded_napi: on",
        ),
        ("interfaces: [{name: e, placement: {busy_poll: on}}]", "1:47: on", "wrong kind", "keys and values"),
        ("interfaces: [{name: e, placement: {busy_poll: {usecs: 0}}}]", "1:55: 0", "1 to 10000", "write 50"),
        ("interfaces: [{name: e, placement: {busy_poll: {budget: 4096}}}]", "1:56: 4096", "1 to 1024", "write 64"),
        ("interfaces: [{name: e, placement: {busy_poll: {usecs: x}}}]", "1:55: x", "whole number", "digits"),
    ]);
}

#[test]
fn resources() {
    check(&[
        ("resources: {features: {twin: {}}}", "1:24: twin", "does not have", "streaming"),
        ("resources: {features: {streaming: {core: 1}}}", "1:36: core", "no such key", "cores"),
        ("resources: {features: {streaming: {cores: 1}}}", "1:43: 1", "wrong kind", "keys and values"),
        ("resources: {features: {streaming: {cores: {critical: -1}}}}", "1:54: -1", "whole number", "digits"),
        ("resources: {features: {streaming: {cores: {batch: 1025}}}}", "1:51: 1025", "0 to 1024", "profile"),
        ("resources: {features: {streaming: {memory: 512}}}", "1:44: 512", "not an amount", "512MiB"),
        ("resources: {features: {streaming: {memory: 31MiB}}}", "1:44: 31MiB", "32MiB to 16384GiB", "profile"),
        ("resources: {features: {streaming: {memory: 99999999999999999999GiB}}}", "1:44: 9999", "32MiB to", "profile"),
        ("resources: {features: {streaming: {cpu_weight: 0}}}", "1:48: 0", "1 to 10000", "100"),
        ("resources: {features: {streaming: {class: idle}}}", "1:43: idle", "priority class", "critical, batch"),
        ("resources: {features: {streaming: {accelerator: npu}}}", "1:49: npu", "wrong kind", "keys and values"),
        ("resources: {features: {streaming: {accelerator: {name: npu}}}}", "1:49: share", "missing", "share: "),
        (
            "resources: {features: {streaming: {accelerator: {name: tpu, share: 1%}}}}",
            "1:56: tpu",
            "accelerator",
            "npu",
        ),
        ("resources: {features: {streaming: {accelerator: {name: npu, share: 101%}}}}", "1:68: 101%", "100%", "0%"),
        ("resources: {features: {streaming: {accelerator: {name: npu, share: 0%}}}}", "1:68: 0%", "nothing", "remove"),
        ("resources: {memory_limit: always}", "1:27: always", "limit memory", "off, rlimit, cgroup"),
        ("resources: {borrow: maybe}", "1:21: maybe", "neither", "true or false"),
    ]);
}

#[test]
fn rules_and_flags() {
    check(&[
        ("rules:\n  - {match: udp dport 99999, action: drop}", "2:13: 99999", "0 to 65535", "range"),
        ("rules: [{match: any, action: eat}]", "1:30: eat", "not an action", "pass, drop, forward, deliver, mirror"),
        ("rules: [{match: any, action: deliver}]", "1:30: deliver", "needs somebody", "to: [streaming]"),
        ("rules: [{match: any, action: mirror, to: []}]", "1:30: mirror", "needs somebody", "to: [streaming]"),
        ("rules: [{match: any, action: drop, to: [streaming]}]", "1:40: drop", "no frames to takers", "remove `to`"),
        ("rules: [{match: any, action: deliver, to: [twin]}]", "1:44: twin", "does not have", "streaming"),
        ("rules: [{match: any, action: deliver, to: [streaming, streaming]}]", "1:43: streaming", "twice", "once"),
        ("rules: [{match: any, action: deliver, to: [test1]}]", "1:43: test1", "not enabled", "enabled: true"),
        ("rules: [{match: any, action: drop, share: 101%}]", "1:43: 101%", "more than 100%", "0% to 100%"),
        ("rules: [{match: any, action: drop, share: 5}]", "1:43: 5", "ends with %", "5%"),
        ("rules: [{name: a b, match: any, action: drop}]", "1:16: a b", "letters", "short name"),
        (
            "rules:\n- {name: x, match: any, action: drop}\n- {name: x, match: any, action: drop}",
            "3:10: x",
            "another rule",
            "no other",
        ),
        (
            "flags: [{name: f, to: [streaming], share: 60%}, {name: f, to: [streaming], share: 60%}]",
            "1:56: f",
            "another flag",
            "no other",
        ),
        ("flags: [{to: [], share: 60%}]", "1:14: flag-1", "has nobody who takes", "feature"),
    ]);
}

#[test]
fn agents() {
    check(&[
        (
            "agents:\n- {id: 0, address: 1.1.1.1, mac: \"02:00:00:00:00:01\", interface: e}",
            "2:8: 0",
            "from 1 to 4294967295",
            "from 1",
        ),
        (
            "agents:\n- {id: 1, address: 1.1.1, mac: \"02:00:00:00:00:01\", interface: e}",
            "2:20: 1.1.1",
            "not an IP",
            "10.9.0.2",
        ),
        (
            "agents:\n- {id: 1, address: 0.0.0.0, mac: \"02:00:00:00:00:01\", interface: e}",
            "2:20: 0.0.0.0",
            "one host",
            "own",
        ),
        ("agents:\n- {id: 1, address: 1.1.1.1, mac: 02:00, interface: e}", "2:34: 02:00", "Ethernet", "six bytes"),
        (
            "agents:\n- {id: 1, address: 1.1.1.1, mac: \"ff:ff:ff:ff:ff:ff\", interface: e}",
            "2:34: ff:ff",
            "group",
            "one station",
        ),
        (
            "agents:\n- {id: 1, address: 1.1.1.1, mac: \"02:00:00:00:00:01\", interface: e, weight: 0}",
            "2:77: 0",
            "1 to 1000",
            "remove",
        ),
        (
            "agents:\n- {id: 1, address: 1.1.1.1, mac: \"02:00:00:00:00:01\", interface: e, modality: smell}",
            "2:79: smell",
            "`smell`",
            "sensor",
        ),
        (
            "agents:\n- {id: 1, address: 1.1.1.1, mac: \"02:00:00:00:00:01\", interface: e}\n- {id: 1, address: 1.1.1.2, mac: \"02:00:00:00:00:01\", interface: e}",
            "3:8: 1",
            "another agent",
            "once",
        ),
    ]);
}

#[test]
fn limits() {
    let many = |key: &str, count: usize, item: &dyn Fn(usize) -> String| {
        let items: String = (0..count).map(|number| format!("- {}\n", item(number))).collect();
        Config::parse(&format!("{key}:\n{items}"))
    };
    let rule = |_: usize| "{match: any, action: drop}".to_owned();
    assert_eq!(many("rules", MAX_RULES, &rule).map(|config| config.rules().len()), Ok(MAX_RULES));
    let error = many("rules", MAX_RULES + 1, &rule).expect_err("too many");
    assert_eq!((error.line, error.problem.cause.as_str()), (1026, "there are more than 1024 rules"));

    let agent = |number: usize| {
        let number = number + 1;
        format!("{{id: {number}, address: 10.0.{}.1, mac: \"02:00:00:00:00:01\", interface: eth0}}", number % 256)
    };
    assert_eq!(many("agents", MAX_AGENTS, &agent).map(|config| config.agents().len()), Ok(MAX_AGENTS));
    let error = many("agents", MAX_AGENTS + 1, &agent).expect_err("too many");
    assert_eq!((error.line, error.problem.value.as_str()), (4098, "4097"));

    let behind = |number: usize| {
        format!("{{id: {}, address: 10.0.0.1, mac: \"02:00:00:00:00:01\", interface: eth{number}}}", number + 1)
    };
    assert!(many("agents", MAX_INTERFACES, &behind).is_ok());
    assert!(many("agents", MAX_INTERFACES + 1, &behind).expect_err("too many").problem.cause.contains("64 interfaces"));
    assert!(many("interfaces", MAX_INTERFACES + 1, &|number| format!("{{name: eth{number}}}")).is_err());
    assert!(many("flags", MAX_FLAGS + 1, &|_| "{to: [streaming], share: 0%}".to_owned()).is_err());

    let long = Config::parse(&"#".repeat(MAX_FILE_BYTES + 1)).expect_err("too long");
    assert!(long.problem.cause.contains("at most 4194304 bytes"), "{long}");
    let deep = Config::parse(&"[".repeat(100_000)).expect_err("too deep");
    assert!(!deep.to_string().contains('\n'), "{deep}");
}

#[test]
fn streams() {
    check(&[
        ("tcp: {listen: [nowhere]}", "1:16: nowhere", "neither an address", "127.0.0.1:48103"),
        ("tcp: {listen: [\"unix:ingest.sock\"]}", "1:16: unix:ingest.sock", "absolute path", "unix:/run"),
        ("tcp: {listen: [\"[::]:1\", \"[::]:1\"]}", "1:26: [::]:1", "twice", "remove"),
        ("tcp: {connections: 0}", "1:20: 0", "from 1 to 100000", "10000"),
        ("tcp: {buffers_mib: 3}", "1:20: 3", "power of two", "write 4"),
        ("tcp: {credit: -1}", "1:15: -1", "whole number", "decimal"),
        ("tcp: {stall_seconds: 4000}", "1:22: 4000", "from 1 to 3600", "write 10"),
        ("supervise: {stall_seconds: 1}", "1:28: 1", "from 2 to 3600", "write 10"),
        ("supervise: {start_seconds: 1}", "1:28: 1", "from 2 to 3600", "write 10"),
        ("supervise: {restart_first_ms: 0}", "1:31: 0", "from 10 to 600000", "write 50"),
        ("supervise: {restart_most_ms: 1h}", "1:30: 1h", "whole number", "decimal"),
        ("supervise: {restart_first_ms: 6000}", "1:31: 6000", "longest is 5000 ms", "restart_most_ms: 6000"),
        (
            "supervise: {restart_first_ms: 100, restart_most_ms: 50}",
            "1:31: 100",
            "longest is 50 ms",
            "restart_most_ms: 100",
        ),
        ("supervise: {restart_most_ms: 40}", "1:30: 40", "first pause is 50 ms", "restart_first_ms: 40"),
        ("supervise: {park_deaths: 0}", "1:26: 0", "from 1 to 100", "write 5"),
        ("supervise: {park_within_seconds: x}", "1:34: x", "whole number", "decimal"),
        ("management: {ports: []}", "1:21: ports", "at least one port", "write [22]"),
        ("management: {ports: [0]}", "1:22: 0", "1 to 65535", "write one port"),
        ("management: {ports: [22, 22]}", "1:26: 22", "stands twice", "remove one"),
        ("management: {ports: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "1:46: 9", "at most 8 ports", "remove one"),
        ("management: {addresses: [10.0.0.0/8]}", "1:26: 10.0.0.0/8", "not an IP address", "write one address"),
        ("preservation: {watch: maybe}", "1:23: maybe", "after a change", "roll-back"),
        ("preservation: {gate: yes}", "1:22: yes", "gate", "park"),
        ("preservation: {window_seconds: 1}", "1:32: 1", "from 5 to 3600", "write 10"),
        ("preservation: {throughput_loss: 0%}", "1:33: 0%", "0.01% to 50%", "write 1%"),
        ("preservation: {late_more: 60%}", "1:27: 60%", "0.01% to 50%", "write 5%"),
        ("tcp: {port: 1}", "1:7: port", "no such key", "listen"),
    ]);
}

#[test]
fn flags_that_programs_ask() {
    check(&[
        ("program_flags: nothing", "1:16: line 1, column 2", "expected ident", "flagd's schema"),
        (
            "wait: poll\nprogram_flags: '{\"flags\": {\"f\": {\"state\": \"ENABLED\", \"variants\": {}}}}'",
            "2:16: flag f: variants",
            "there is none",
            "at least one",
        ),
    ]);
    let long = format!("program_flags: '{{\"flags\": {{}}{}}}'", " ".repeat(MAX_PROGRAM_FLAGS));
    let error = Config::parse(&long).expect_err("too long").to_string();
    assert!(error.contains("at most 262144 bytes") && error.len() < 200, "{error}");
}

#[test]
fn services() {
    const AGENT: &str =
        "agents: [{id: 7, address: 10.0.0.7, mac: \"02:00:00:00:00:07\", interface: e}]\nservices: [{name: x, ";
    for (rest, start, cause, cure) in [
        ("address: 10.1.0.1}]", "protocol", "missing", "protocol: "),
        ("address: 10.1.0.1, protocol: tcp, port: 0, type: 1}]", "0", "1 to 65535", "no `port`"),
        ("address: 10.1.0.1, protocol: tcp}]", "x", "no agents", "agents: [7, 8]"),
        ("address: 10.1.0.1, protocol: tcp, agents: [7], type: 1}]", "1", "cannot stand together", "keep one"),
        ("address: 10.1.0.1, protocol: tcp, agents: [8]}]", "8", "not there", "take it out"),
        ("address: 10.1.0.1, protocol: tcp, agents: [7, 7]}]", "7", "twice", "once"),
        ("address: 224.0.0.1, protocol: tcp, type: 1}]", "224.0.0.1", "not one address", "its own"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, encapsulation: ipip}]", "ipip", "source", "source:"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, source: 10.1.0.2}]", "10.1.0.2", "without", "remove"),
        (
            "address: 10.1.0.1, protocol: tcp, type: 1, encapsulation: geneve, source: \"fd00::1\"}]",
            "fd00::1",
            "agent 7 is at 10.0.0.7",
            "version",
        ),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {check: tcp}}]", "tcp", "any port", "port:"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {check: udp, port: 9}}]", "udp", "send something", "ask:"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {check: udp, ask: hey}}]", "udp", "any port", "port:"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {ask: hey}}]", "hey", "asks nothing", "check: udp"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {ask: 0x0}}]", "0x0", "pairs", "two hexadecimal"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {answer: \"\"}}]", "", "0 bytes", "write text"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {every_ms: 9}}]", "9", "100 to", "1000"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {timeout_ms: 2000}}]", "2000", "at most", "1000"),
        ("address: 10.1.0.1, protocol: tcp, type: 1, health: {fall: 0}}]", "0", "`fall`", "3"),
        (
            "address: 10.1.0.1, protocol: tcp, type: 1}, {name: y, address: 10.1.0.1, protocol: tcp, type: 1}]",
            "10.1.0.1",
            "another service has this address",
            "port",
        ),
        (
            "address: 10.1.0.1, protocol: tcp, type: 1}, {name: x, address: 10.1.0.1, protocol: udp, type: 1}]",
            "x",
            "another service has this name",
            "no other",
        ),
    ] {
        let text = format!("{AGENT}{rest}");
        let error = Config::parse(&text).expect_err(&text);
        let line = error.to_string();
        let there = text.lines().nth(1).and_then(|second| second.get(error.column as usize - 1..));
        let is_there = there.is_some_and(|there| start == "protocol" || there.contains(start));
        assert!(error.line == 2 && is_there && error.problem.value == start, "{text:?}\n  want {start}\n  have {line}");
        assert!(error.problem.cause.contains(cause) && error.problem.cure.contains(cure), "{line}");
    }
}
