//! Attaching to an interface: native where the driver can, else generic, and always said which and why.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};

use crate::error::LoadError;
use crate::pins;

/// How an interface should run the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AttachWish {
    /// Native, else generic.
    #[default]
    Best,
    /// Native or an error.
    Native,
    /// Generic, for comparison.
    Generic,
}

/// How an interface runs the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// In the stack, behind the driver: works everywhere, slower, and never without a copy.
    Generic,
}

impl AttachMode {
    /// The word used in pins and reports.
    pub const fn name(self) -> &'static str {
        match self {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        }
    }

    const fn flags(self) -> XdpMode {
        match self {
            AttachMode::Native => XdpMode::Driver,
            AttachMode::Generic => XdpMode::Skb,
        }
    }
}

/// What attaching gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// How the interface runs the classifier.
    pub mode: AttachMode,
    /// Why in this mode, for people.
    pub why: String,
    /// True when frames of several buffers (jumbo frames) are taken.
    pub frags: bool,
    /// True when a pinned classifier was there and was replaced without a frame between the two.
    pub replaced: bool,
}

/// A link that this process holds; dropped without a pin, it detaches.
#[derive(Debug)]
pub(crate) struct Held {
    link: FdLink,
}

impl Held {
    /// The link itself.
    pub(crate) fn into_link(self) -> FdLink {
        self.link
    }
}

/// Attaches `program`, over a pinned link of ours if there is one.
pub(crate) fn attach(
    program: &mut Xdp,
    root: Option<&Path>,
    interface: &str,
    index: u32,
    wish: AttachWish,
) -> Result<(Held, Attached), LoadError> {
    if let Some(root) = root {
        if let Some(found) = replace(program, root, interface, wish)? {
            return Ok(found);
        }
        // What is still pinned under this name is of another mode or of an interface that is gone.
        detach(root, interface)?;
    }
    let modes: &[AttachMode] = match wish {
        AttachWish::Best => &[AttachMode::Native, AttachMode::Generic],
        AttachWish::Native => &[AttachMode::Native],
        AttachWish::Generic => &[AttachMode::Generic],
    };
    let mut refusals = Vec::new();
    for &mode in modes {
        match create(program, index, mode) {
            Ok(link) => {
                let link = match root {
                    Some(root) => pin(link, &pins::link(root, interface, mode))?,
                    None => link,
                };
                let why = why(mode, wish, &refusals);
                return Ok((Held { link }, Attached { mode, why, frags: true, replaced: false }));
            }
            Err(cause) => refusals.push(format!("{}: {cause}", mode.name())),
        }
    }
    Err(LoadError::Attach { interface: interface.to_owned(), cause: refusals.join("; ") })
}

fn why(mode: AttachMode, wish: AttachWish, refusals: &[String]) -> String {
    match (mode, wish) {
        (AttachMode::Native, _) => "the driver runs XDP itself".to_owned(),
        (AttachMode::Generic, AttachWish::Generic) => "generic was asked for".to_owned(),
        (AttachMode::Generic, _) => format!("the driver refused ({})", refusals.join("; ")),
    }
}

fn create(program: &mut Xdp, index: u32, mode: AttachMode) -> Result<FdLink, String> {
    let id = program.attach_to_if_index(index, mode.flags()).map_err(|error| chain(&error))?;
    let link = program.take_link(id).map_err(|error| chain(&error))?;
    // Only a link can be replaced atomically and pinned; without it (before Linux 5.9) the program is detached again.
    FdLink::try_from(link).map_err(|error| chain(&error))
}

fn pin(link: FdLink, path: &Path) -> Result<FdLink, LoadError> {
    let pinned = link.pin(path).map_err(|error| LoadError::Pin { path: path.into(), cause: chain(&error) })?;
    Ok(pinned.into())
}

/// Puts `program` behind the pinned link, if one fits the wish and its interface still exists.
fn replace(
    program: &mut Xdp,
    root: &Path,
    interface: &str,
    wish: AttachWish,
) -> Result<Option<(Held, Attached)>, LoadError> {
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let path = pins::link(root, interface, mode);
        let fits = match wish {
            AttachWish::Best => true,
            AttachWish::Native => mode == AttachMode::Native,
            AttachWish::Generic => mode == AttachMode::Generic,
        };
        if !fits || !path.exists() {
            continue;
        }
        let pinned = PinnedLink::from_pin(&path).map_err(|error| pin_error(&path, &error))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| pin_error(&path, &error))?;
        let Ok(id) = program.attach_to_link(link) else { continue };
        let link = program.take_link(id).map_err(|error| pin_error(&path, &error))?;
        let link = FdLink::try_from(link).map_err(|error| pin_error(&path, &error))?;
        let why = match mode {
            AttachMode::Native => "the driver runs XDP itself; the pinned classifier was replaced".to_owned(),
            AttachMode::Generic => "as the pinned classifier that was replaced".to_owned(),
        };
        return Ok(Some((Held { link }, Attached { mode, why, frags: true, replaced: true })));
    }
    Ok(None)
}

/// Removes the pins of an interface's link; true when there was one.
pub(crate) fn detach(root: &Path, interface: &str) -> Result<bool, LoadError> {
    let mut found = false;
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let path = pins::link(root, interface, mode);
        match std::fs::remove_file(&path) {
            Ok(()) => found = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(LoadError::Pin { path, cause: error.to_string() }),
        }
    }
    Ok(found)
}

fn pin_error(path: &Path, error: &dyn std::error::Error) -> LoadError {
    LoadError::Pin { path: path.into(), cause: chain(error) }
}

/// An error and what caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string().replace('\n', " ");
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string().replace('\n', " ");
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// A program of the object that is not loaded yet.
pub(crate) fn program<'a>(ebpf: &'a mut aya::Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let bad = |cause: String| LoadError::Object { name: name.to_owned(), cause };
    let program = ebpf.program_mut(name).ok_or_else(|| bad("it is not there".to_owned()))?;
    program.try_into().map_err(|error: ProgramError| bad(chain(&error)))
}

/// Index of an interface in the caller's network namespace.
pub(crate) fn index_of(interface: &str) -> Result<u32, LoadError> {
    let missing = || LoadError::NoInterface { interface: interface.to_owned() };
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None);
    let socket = socket.map_err(|_| missing())?;
    rustix::net::netdevice::name_to_index(socket, interface).map_err(|_| missing())
}
