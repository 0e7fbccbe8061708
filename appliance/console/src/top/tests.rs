//! Screens against their snapshots, keys, and what the screen does when weir comes and goes.
//!
//! A snapshot is renewed by `WEIR_RENEW=1 cargo test -p weir-appliance-console`; look at the difference before it is
//! committed.

use std::path::Path;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;
use weir_appliance_control::message::Status;
use weir_appliance_control::problem::Problem;

use super::*;

/// A status whose counters are `times` as high as those of the first.
pub(crate) fn status(times: u64) -> Status {
    let rings: Vec<_> = (0..4)
        .map(|queue| {
            json!({"interface": "enp3s0f0np0", "queue": queue, "class": queue % 2, "size": 4096, "fill": queue * 1300, "dropped": queue * 17,
                "takers": if queue % 2 == 0 { json!(["streaming"]) } else { json!(["streaming", "sender"]) }})
        })
        .collect();
    let window = json!({"length_ms": 1000, "sources": 12, "events": 482_113, "events_per_s": 482_113.0, "p50_us": 38.2, "p99_us": 1250.0,
        "missing": 3, "top": [
            {"source": "agent 7", "kind": 1, "events": 300_000, "events_per_s": 300_000.0, "p50_us": 31.0, "p99_us": 900.0},
            {"source": "10.0.0.9", "events": 182_113, "events_per_s": 182_113.0}]});
    let status = json!({
        "weir": {"version": "0.1.0", "build": "test", "uptime_s": 7387.0, "host": {"name": "edge-1", "kernel": "6.12.4",
            "cpu": "Xeon 6731E", "cores": 8, "memory_bytes": 34_359_738_368_u64, "virtualization": "bare-metal"}},
        "interfaces": [
            {"name": "enp3s0f0np0", "mode": "zero-copy", "why": "the driver i40e binds with XDP_ZEROCOPY", "queues": 4, "up": true, "mtu": 1500},
            {"name": "veth0", "mode": "native-copy", "why": "veth has no zero-copy: the kernel copies each frame once", "queues": 1, "up": true},
            {"name": "wlan0", "mode": "generic", "why": "the driver has no XDP; classified in the network stack", "queues": 1, "up": false}],
        "processes": [
            {"name": "supervisor", "pid": 4100, "state": "running", "pss_bytes": 3_145_728, "cpu_percent": 0.1, "restarts": 0},
            {"name": "dataplane", "pid": 4101, "state": "running", "pss_bytes": 8_388_608, "cpu_percent": 61.5, "restarts": 0},
            {"name": "worker streaming", "pid": 0, "state": "backing-off", "pss_bytes": 0, "cpu_percent": 0.0, "restarts": 2,
                "last_exit": "killed by signal 9", "again_in_ms": 1640},
            {"name": "worker fusion", "pid": 0, "state": "parked", "pss_bytes": 0, "cpu_percent": 0.0, "restarts": 5,
                "last_exit": "killed by signal 11", "reason": "parked by supervisor: died 5 times within 60 s; last: killed by signal 11"}],
        "rings": rings,
        "counters": {"received": 1_000_000 * times, "passed": 1000 * times, "forwarded": 700_000 * times, "mirrored": 20_000 * times,
            "delivered": 298_000 * times, "dropped": {"rule-drop": 600 * times, "hop-limit": 400 * times},
            "per_taker": {"streaming": 318_000 * times, "sender": 20_000 * times}, "noted": {"unknown-agent": 7 * times}},
        "memory": {"umem_bytes": 134_217_728, "backing": "hugepages-2M", "why": "64 of 512 pages", "pss_beside_umem_bytes": 21_000_000},
        "cores": {"plan": "critical 0, batch 1-3", "source": "homogeneous", "idle_cpu_percent": 0.4},
        "features": [{"name": "streaming", "state": "running", "frames": 318_000 * times, "events": 480_000 * times, "records": 9 * times,
            "behind": 812, "window": window,
            "sends": {"cap_mbit": 100, "requested": 1300, "sent": 1234, "capped": 60, "refused": 6, "reasons": {"unknown-agent": 6}}}],
    });
    serde_json::from_value(status).expect("a status")
}

fn absent() -> Problem {
    Problem::new(
        "weir is not running",
        "no control socket at /run/weir/control.sock",
        "start it with: weir up --interface NAME",
    )
}

/// The first page of this state.
pub(crate) fn screen(status: &Status) -> String {
    let mut view = View::new(Symbols::Unicode);
    view.update(0.0, Ok(status.clone()));
    text(&render(&view, 80, 24))
}

/// A view after some looks, half a second apart.
fn view(symbols: Symbols) -> View {
    let mut view = View::new(symbols);
    for (number, times) in [2, 4, 5, 9, 12, 12, 17, 20].into_iter().enumerate() {
        view.update(number as f64 / 2.0, Ok(status(times)));
    }
    view
}

fn press(view: &mut View, code: KeyCode) -> Flow {
    view.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Compares with the file, or writes it when asked to.
fn snapshot(name: &str, have: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/snapshots").join(name);
    if std::env::var_os("WEIR_RENEW").is_some() {
        std::fs::write(&path, have).expect("written");
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "{name} differs; have:\n{have}\nwant:\n{want}");
}

#[test]
fn every_page_at_80x24_and_120x40() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let mut view = view(Symbols::Unicode);
        for tab in Tab::ALL {
            view.show(tab);
            let text = text(&render(&view, columns, rows));
            assert_eq!(text.lines().count(), usize::from(rows));
            snapshot(&format!("{}-{columns}x{rows}.txt", tab.name().to_lowercase()), &text);
        }
    }
}

#[test]
fn the_help_the_banner_and_the_pause() {
    let mut view = view(Symbols::Ascii);
    view.set_banner(Some(Banner {
        line: "demo: 3 namespaces, 2 veth pairs".into(),
        left: Some(std::time::Duration::from_secs(95)),
    }));
    press(&mut view, KeyCode::Char('p'));
    press(&mut view, KeyCode::Char('?'));
    let text = text(&render(&view, 80, 24));
    assert!(text.is_ascii(), "{text}");
    snapshot("help-ascii-80x24.txt", &text);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Flow::Stay, "the first key closes the help");
    assert_eq!(press(&mut view, KeyCode::Char('q')), Flow::Quit);
}

#[test]
fn weir_goes_and_comes_back() {
    let mut view = View::new(Symbols::Unicode);
    assert!(text(&render(&view, 80, 24)).contains("asking weir"));
    view.update(0.0, Err(absent()));
    snapshot("absent-80x24.txt", &text(&render(&view, 80, 24)));
    assert!(!view.is_present());
    view.update(0.5, Ok(status(3)));
    view.update(1.0, Ok(status(4)));
    assert!(text(&render(&view, 80, 24)).contains("2.00M/s"));
    view.update(1.5, Err(absent()));
    view.update(2.0, Ok(status(1)));
    let text = text(&render(&view, 80, 24));
    assert!(text.contains("0/s") && text.contains("1 000 000"), "no rate across the gap: {text}");
}

#[test]
fn keys_move_pause_and_reset() {
    let mut view = view(Symbols::Unicode);
    press(&mut view, KeyCode::Right);
    press(&mut view, KeyCode::Tab);
    assert_eq!(view.tab, Tab::Rings);
    for _ in 0..9 {
        press(&mut view, KeyCode::Down);
    }
    assert_eq!(view.selected, 3, "the last of four rings");
    assert!(text(&render(&view, 80, 24)).contains("queue 3 class 1: 3900 of 4096"));
    press(&mut view, KeyCode::Up);
    press(&mut view, KeyCode::Char('6'));
    assert_eq!((view.tab, view.selected), (Tab::Processes, 0));
    press(&mut view, KeyCode::Left);
    press(&mut view, KeyCode::BackTab);
    assert_eq!(view.tab, Tab::Features);

    press(&mut view, KeyCode::Char('1'));
    press(&mut view, KeyCode::Char('r'));
    view.update(4.0, Ok(status(21)));
    assert!(text(&render(&view, 80, 24)).contains("  1 000 000"), "totals count from the reset");
    press(&mut view, KeyCode::Char(' '));
    view.update(4.5, Ok(status(99)));
    let paused = text(&render(&view, 80, 24));
    assert!(paused.contains("PAUSED") && paused.contains("  1 000 000"), "{paused}");
    assert_eq!(view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Flow::Quit);
}

#[test]
fn no_size_and_no_status_breaks_it() {
    let mut hostile = status(1);
    hostile.interfaces[0].name = "\u{1b}[31m\n".repeat(50);
    hostile.rings[0].size = 0;
    hostile.rings[1].fill = u32::MAX;
    hostile.weir.uptime_s = f64::NAN;
    hostile.counters.dropped = (0..500).map(|number| (format!("reason-{number}"), number)).collect();
    let mut views = [view(Symbols::Unicode), view(Symbols::Ascii), View::new(Symbols::Unicode)];
    views[0].update(9.0, Ok(hostile));
    views[1].update(9.0, Ok(Status::default()));
    for view in &mut views {
        for tab in Tab::ALL {
            view.show(tab);
            press(view, KeyCode::End);
            for (columns, rows) in [(1, 1), (2, 3), (10, 2), (39, 11), (80, 24), (300, 100)] {
                let buffer = render(view, columns, rows);
                assert!(!text(&buffer).contains('\u{1b}'));
                assert!(svg(&buffer).ends_with("</svg>\n"));
            }
        }
    }
}

#[test]
fn the_picture_is_well_formed_and_has_the_text() {
    let mut view = view(Symbols::Unicode);
    view.set_banner(Some(Banner { line: "a < b & c > d".into(), left: None }));
    let picture = svg(&render(&view, 80, 24));
    assert!(picture.starts_with("<svg xmlns=") && picture.contains("viewBox=\"0 0 696.0 432.0\""));
    assert!(picture.contains("a\u{a0}&lt;\u{a0}b\u{a0}&amp;\u{a0}c\u{a0}&gt;\u{a0}d"));
    assert!(picture.contains("#8fc379"), "colours are kept");
    for tag in ["svg", "text"] {
        let (open, close) =
            (picture.matches(&format!("<{tag} ")).count(), picture.matches(&format!("</{tag}>")).count());
        assert!(open == close && open > 0, "{tag}: {open} opened, {close} closed");
    }
}
