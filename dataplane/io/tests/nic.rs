//! Are the card's settings changed, and put back from the file after whatever end?
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test may stop where it stands

mod trees;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use trees::tree;
use weir_dataplane_io::net::{self, Namespace};
use weir_dataplane_io::nic::{Kind, Ledger, Setting, View, What, ethtool, instances};

/// A card of a recorded machine, and a place for the ledger.
struct Recorded {
    root: PathBuf,
    view: View,
    file: PathBuf,
}

impl Recorded {
    fn new() -> Self {
        let root = tree("intel-2-nodes");
        let view = View::recorded(&root.join("sys"), &root.join("proc"));
        let file = root.join("nic");
        Self { root, view, file }
    }

    fn read(&self, setting: &Setting) -> String {
        setting.read(&self.view).unwrap()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn of_card(what: What) -> Setting {
    Setting { interface: "ens1f0".into(), index: 2, what }
}

#[test]
fn a_change_is_in_the_file_before_it_is_made_and_goes_back_from_it() {
    let card = Recorded::new();
    let (vector, flush) = (of_card(What::Interrupt(123)), of_card(What::FlushTimeout));
    let mut ledger = Ledger::open(&card.file).unwrap();
    assert_eq!(ledger.set(&card.view, &vector, "10").unwrap(), "0-31");
    assert_eq!(ledger.set(&card.view, &flush, "200000").unwrap(), "0");
    assert_eq!(ledger.set(&card.view, &vector, "11").unwrap(), "0-31", "the first value is the one to go back to");
    assert_eq!((card.read(&vector).as_str(), card.read(&flush).as_str()), ("11", "200000"));
    // Killed: nothing but the file is left.
    drop(ledger);
    let mut ledger = Ledger::open(&card.file).unwrap();
    let order: Vec<_> = ledger.changed().map(|(setting, before)| (setting.what, before.to_owned())).collect();
    assert_eq!(order, [(What::Interrupt(123), "0-31".into()), (What::FlushTimeout, "0".into())]);
    assert_eq!(ledger.undo_where(&card.view, |setting| setting.what == What::FlushTimeout), []);
    assert_eq!((card.read(&vector).as_str(), card.read(&flush).as_str()), ("11", "0"));
    assert_eq!(ledger.undo(&card.view, Kind::Any), []);
    assert_eq!(card.read(&vector), "0-31");
    assert!(ledger.is_empty() && !card.file.exists());
}

#[test]
fn nothing_is_written_where_the_value_is_there_already() {
    let card = Recorded::new();
    let mut ledger = Ledger::open(&card.file).unwrap();
    assert_eq!(ledger.set(&card.view, &of_card(What::Threaded), "0").unwrap(), "0");
    assert!(ledger.is_empty() && !card.file.exists());
}

#[test]
fn what_somebody_else_has_set_since_is_left_and_said() {
    let card = Recorded::new();
    let setting = of_card(What::DeferHardIrqs);
    let mut ledger = Ledger::open(&card.file).unwrap();
    ledger.set(&card.view, &setting, "2").unwrap();
    fs::write(card.root.join("sys/class/net/ens1f0/napi_defer_hard_irqs"), "7\n").unwrap();
    let refusals = ledger.undo(&card.view, Kind::Any);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].line.contains("napi_defer_hard_irqs of ens1f0: it is 7 by somebody else"), "{refusals:?}");
    assert_eq!(card.read(&setting), "7");
    assert!(ledger.is_empty(), "it is theirs now");
}

#[test]
fn what_a_driver_changes_along_with_the_queues_goes_back_last() {
    let card = Recorded::new();
    let (vector, file) = (of_card(What::Interrupt(121)), card.root.join("proc/irq/121/smp_affinity_list"));
    fs::write(&file, "7\n").unwrap(); // as an administrator has it
    let mut ledger = Ledger::open(&card.file).unwrap();
    ledger.remember(&card.view, &vector).unwrap();
    ledger.set(&card.view, &of_card(What::FlushTimeout), "9").unwrap();
    fs::write(&file, "0-1\n").unwrap(); // as the driver makes it for another number of queues
    assert_eq!(ledger.set(&card.view, &vector, "3").unwrap(), "7");
    fs::write(&file, "0\n").unwrap(); // and for the former number
    let mut ledger = Ledger::open(&card.file).unwrap();
    assert_eq!(ledger.undo(&card.view, Kind::OfNapi), []);
    assert_eq!(ledger.changed().count(), 1, "interrupts wait for the queues");
    assert_eq!(ledger.undo(&card.view, Kind::Any), []);
    assert_eq!(card.read(&vector), "7");
    assert!(!card.file.exists());
}

#[test]
fn another_interface_of_the_same_name_is_not_touched() {
    let card = Recorded::new();
    let setting = of_card(What::Threaded);
    let mut ledger = Ledger::open(&card.file).unwrap();
    ledger.set(&card.view, &setting, "1").unwrap();
    fs::write(card.root.join("sys/class/net/ens1f0/ifindex"), "9\n").unwrap();
    assert_eq!(ledger.undo(&card.view, Kind::Any), []);
    assert!(ledger.is_empty());
    assert_eq!(fs::read_to_string(card.root.join("sys/class/net/ens1f0/threaded")).unwrap(), "1");
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let card = Recorded::new();
    let mut ledger = Ledger::open(&card.file).unwrap();
    let error = ledger.set(&card.view, &of_card(What::Interrupt(999)), "0").unwrap_err().to_string();
    assert!(error.contains("interrupt 999 of ens1f0") && error.contains("keep"), "{error}");
    assert!(!card.file.exists());
    // Without a place for the file nothing is changed at all.
    let mut nowhere = Ledger::open(&card.root.join("no/such/folder/nic")).unwrap();
    assert!(nowhere.set(&card.view, &of_card(What::Threaded), "1").is_err());
    assert_eq!(card.read(&of_card(What::Threaded)), "0");
}

#[test]
fn a_torn_line_is_no_change_and_foreign_files_are_refused() {
    let card = Recorded::new();
    let mut ledger = Ledger::open(&card.file).unwrap();
    ledger.set(&card.view, &of_card(What::Threaded), "1").unwrap();
    let text = fs::read_to_string(&card.file).unwrap();
    fs::write(&card.file, format!("{text}2\tens1f0\tgro_flush")).unwrap();
    let mut ledger = Ledger::open(&card.file).unwrap();
    assert_eq!(ledger.changed().count(), 1);
    ledger.set(&card.view, &of_card(What::FlushTimeout), "5").unwrap();
    assert_eq!(Ledger::open(&card.file).unwrap().changed().count(), 2, "the new line is not behind the torn one");
    let whole = fs::read_to_string(&card.file).unwrap();
    for end in 0..whole.len() {
        fs::write(&card.file, &whole[..end]).unwrap();
        let _ = Ledger::open(&card.file).map(|ledger| ledger.changed().count()); // no end makes it panic
    }
    let head = whole.lines().next().unwrap();
    let (other_boot, other_space) =
        (head.replace('-', "x").replacen("weirxnicx1", "weir-nic-1", 1), format!("{head}0"));
    fs::write(&card.file, whole.replace(head, &other_boot)).unwrap();
    assert!(Ledger::open(&card.file).unwrap().is_empty() && !card.file.exists(), "of another boot");
    fs::write(&card.file, whole.replace(head, &other_space)).unwrap();
    assert!(Ledger::open(&card.file).unwrap_err().to_string().contains("another network namespace"));
    fs::write(&card.file, "interfaces: []\n").unwrap();
    assert!(Ledger::open(&card.file).unwrap_err().to_string().contains("no list of card settings"));
}

/// A namespace with a veth pair of four queues each, gone with the value.
struct Veth(String);

impl Veth {
    fn new(test: &str) -> Option<Self> {
        let name = format!("weir-nic-{}-{}", test.len(), std::process::id());
        let ip = |words: &[&str]| Command::new("ip").args(words).status().is_ok_and(|status| status.success());
        if !ip(&["netns", "add", &name]) {
            println!("weir-skip: {test}: no network namespace can be made; run as root");
            return None;
        }
        let pair = Self(name);
        let queues = ["numtxqueues", "4", "numrxqueues", "4"];
        let add =
            [&["-n", &pair.0, "link", "add", "va"], &queues[..], &["type", "veth", "peer", "name", "vb"], &queues];
        assert!(ip(&add.concat()));
        for end in ["va", "vb"] {
            assert!(ip(&["-n", &pair.0, "link", "set", end, "up"]));
        }
        Some(pair)
    }

    /// Runs in a thread inside.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            Namespace::named(&self.0).unwrap().enter().unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn a_live_interface_gets_queues_and_gives_them_back() {
    let Some(veth) = Veth::new("a_live_interface_gets_queues_and_gives_them_back") else { return };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nic-{}", std::process::id()));
    veth.inside(|| {
        let index = net::interface_index("va").unwrap();
        let of = |what| Setting { interface: "va".into(), index, what };
        let two = ethtool::channels("va").unwrap().with_queues(2).unwrap();
        ethtool::set_channels("va", &two).unwrap();
        let view = View::live();
        assert!(view.shows("va", index) && !view.shows("va", index + 7), "this namespace's own sysfs");
        let mut ledger = Ledger::open(&file).unwrap();
        assert_eq!(ledger.set(&view, &of(What::Queues), "4").unwrap(), "2");
        assert_eq!(net::link("va").unwrap().rx_queues, 4);
        let error = ledger.set(&view, &of(What::Queues), "9").unwrap_err().to_string();
        assert!(error.contains("queues of va to 9") && error.contains("1 to 4"), "{error}");
        let error = ledger.set(&view, &of(What::Rss), "even 4").unwrap_err().to_string();
        assert!(error.contains("RSS table of va") && error.contains("rss: keep"), "{error}");
        assert_eq!(ledger.set(&view, &of(What::DeferHardIrqs), "2").unwrap(), "0");
        assert_eq!(ledger.set(&view, &of(What::FlushTimeout), "200000").unwrap(), "0");
        assert_eq!(of(What::FlushTimeout).read(&view).unwrap(), "200000");
        // Without a program veth polls nothing, and says so.
        assert!(ledger.set(&view, &of(What::Threaded), "1").is_err());
        assert_eq!(instances(index).unwrap(), []);
        drop(ledger);
        let mut ledger = Ledger::open(&file).unwrap();
        assert_eq!(ledger.undo(&view, Kind::OfNapi), []);
        assert_eq!(net::link("va").unwrap().rx_queues, 4);
        assert_eq!(ledger.undo(&view, Kind::Any), []);
        assert_eq!(net::link("va").unwrap().rx_queues, 2);
        assert_eq!(of(What::DeferHardIrqs).read(&view).unwrap(), "0");
        assert!(!file.exists());
    });
}

#[test]
fn an_interface_that_is_gone_has_nothing_to_give_back() {
    let Some(veth) = Veth::new("an_interface_that_is_gone_has_nothing_to_give_back") else { return };
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nic-gone-{}", std::process::id()));
    veth.inside(|| {
        let index = net::interface_index("va").unwrap();
        let setting = Setting { interface: "va".into(), index, what: What::Queues };
        let mut ledger = Ledger::open(&file).unwrap();
        ledger.set(&View::live(), &setting, "1").unwrap();
        assert!(Command::new("ip").args(["link", "del", "va"]).status().unwrap().success());
        assert_eq!(ledger.undo(&View::live(), Kind::Any), []);
        assert!(!file.exists());
    });
}
