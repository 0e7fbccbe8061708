//! Commands that need no running weir: `why --pcap`, `replay`, `down`.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context, Result, anyhow};
use weir_appliance_console::answer::{Exit, Failure, Outcome};
use weir_appliance_console::replay::{self as shown, ReplayArgs};
use weir_appliance_console::why::WhyArgs;
use weir_appliance_control::class::classes;
use weir_appliance_control::config::Config;
use weir_appliance_control::config_file;
use weir_appliance_control::message::WhyFrame;
use weir_appliance_control::problem::Problem;
use weir_dataplane_io::nic::Kind;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_loader::{HostTables, Placement};

use crate::dataplane::classes::KernelClasses;
use crate::dataplane::{services, steering};
use crate::place::Place;
use crate::{capture, cards, failure, replay, why};

/// `weir why --pcap`: every frame judged by the host's copy of the classifier, so that it needs no privilege.
pub(crate) fn why(args: &WhyArgs, out: &mut dyn Write) -> Outcome {
    let Some(path) = &args.pcap else {
        return Err(Problem::new("why", "neither flow nor capture", "name one of them").into());
    };
    // A capture may be larger than memory: it is judged while it is read, a bounded number of frames ahead of the output.
    std::thread::scope(|scope| {
        let (judged, frames) = sync_channel(FRAMES_AHEAD);
        scope.spawn(move || {
            if let Err(error) = judge(path, args.config.as_deref(), &judged) {
                let _ = judged.send(Err(failure(error))); // nobody listens any more when the frame asked for was shown
            }
        });
        args.render_frames(frames, out)
    })
}

/// Frames that are judged ahead of the output.
const FRAMES_AHEAD: usize = 1024;

fn judge(path: &Path, config: Option<&Path>, judged: &SyncSender<Result<WhyFrame, Failure>>) -> Result<()> {
    let config = config.map_or_else(|| Ok(Config::default()), config_file::load)?;
    let kernel_classes = KernelClasses::of(&classes(&config), config.interfaces().len().max(1))?;
    let (rules, flags) =
        steering::rules(&config, config.not_running(), &kernel_classes).map_err(|problem| anyhow!("{problem}"))?;
    let tables = HostTables::new(&rules, &flags, &steering::offline_agents(&config))?
        .with_services(&services::offline(&config), &Placement::default())?;
    capture::for_each(path, |met| {
        let explanation = Explanation::of(&tables, met.bytes, met.length as usize);
        let rule = explanation
            .rule()
            .and_then(|index| config.rules().get(usize::from(index)))
            .map(|rule| rule.name.to_string());
        let service = why::service(&explanation, &config, tables.placement());
        let verdict = why::verdict(&explanation, rule, service, |class| kernel_classes.takers(class).names());
        let frame = why::frame(met, &explanation, verdict);
        judged.send(Ok(frame)).map_err(|_| anyhow!("the output is complete"))
    })
}

/// `weir replay`.
pub(crate) fn replay(args: &ReplayArgs, out: &mut dyn Write) -> Outcome {
    let config = match &args.config {
        Some(path) => config_file::load(path).map_err(|error| failure(error.into()))?,
        None => Config::parse(replay::EVERYTHING).map_err(|error| failure(error.into()))?,
    };
    let report = replay::run(&args.file, &config).map_err(failure)?;
    shown::render(&report, args.json, out)
}

/// `weir down`: unpins what a killed weir left and gives cards their settings back. One that still runs is left alone.
pub(crate) fn down(socket: &Path, out: &mut dyn Write) -> Result<Exit> {
    let place = Place::of(Path::new(""), socket);
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => {
            return Err(anyhow!(
                "{}: a weir answers there; stop it with Ctrl-C or `systemctl stop weir`",
                socket.display()
            ));
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(anyhow!(
                "{}: this user may not ask whether a weir answers there, and could take nothing away; use sudo",
                socket.display()
            ));
        }
        Err(_) => {}
    }
    // Threads and timers of NAPI go back while the program is attached: without it a virtual interface has none. Queues go
    // back without it, since a driver may refuse fewer queues than its program needs.
    let mut settings = cards::give_back(&place.cards, Kind::OfNapi);
    let removed = weir_ebpf_loader::remove_pins(&place.pins).with_context(|| format!("{}", place.pins.display()))?;
    settings += cards::give_back(&place.cards, Kind::Any);
    let groups = crate::groups::give_back(&place.groups);
    for file in [&place.control, &place.attach] {
        let _ = std::fs::remove_file(file);
    }
    writeln!(
        out,
        "{}: {removed} pins and {groups} control groups removed, {settings} card settings put back",
        place.pins.display()
    )?;
    Ok(if removed + groups + settings > 0 { Exit::Done } else { Exit::NotSo })
}
