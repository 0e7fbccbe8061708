//! Namespaces joined by veth pairs.
//!
//! ```text
//!  pair:   outside ── wire0 ════ eth0 ── box
//!  line:   left ── wire0 ════ eth0 ── box ── eth1 ════ wire0 ── right
//! ```
//! Interfaces are made inside the namespaces, so the host's own never see a new name, and neighbours are entered by
//! hand, so a quiet lab carries no frame that nobody sent.

mod command;
mod ledger;
mod spec;
mod tag;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::{Builder, JoinHandle};

use weir_dataplane_io::net::{self, Namespace};

use crate::error::LabError;
use command::ip;
use ledger::Ledger;
pub use ledger::Swept;
pub use spec::{End, LabSpec, Link};
use tag::Tag;

/// One namespace of a lab.
#[derive(Debug)]
pub struct Node {
    name: String,
    full_name: String,
    namespace: Namespace,
}

impl Node {
    /// Name in the specification.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name that `ip netns` knows it by.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Runs `work` in a thread inside the namespace and waits for it. Sockets, AF_XDP bindings and programs that it
    /// makes belong to the namespace for good, wherever they are used later.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.namespace.enter().map(|()| work()));
            inside.join().map_err(|_| LabError::Panicked { what: "namespace" })?.map_err(LabError::from)
        })
    }

    /// Starts `work` in a thread of its own inside the namespace.
    ///
    /// # Errors
    /// The thread cannot be started. Joining it gives the error of entering, or what `work` gave.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, LabError>>, LabError> {
        let namespace = Namespace::named(&self.full_name)?;
        let inside = move || namespace.enter().map(|()| work()).map_err(LabError::from);
        let started = Builder::new().name(thread.to_owned()).spawn(inside);
        started.map_err(|source| LabError::system("starting a thread", source, "lower the number of threads"))
    }

    /// Starts a program inside the namespace. What it leaves running is killed with the lab.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&self, command: &mut Command) -> Result<Child, LabError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = self.run(|| command.spawn())?;
        started.map_err(|source| LabError::system(format!("starting `{name}`"), source, "check that it is installed"))
    }

    /// What is known about one of its interfaces.
    ///
    /// # Errors
    /// The namespace has no such interface.
    pub fn interface(&self, name: &str) -> Result<net::Link, LabError> {
        Ok(self.run(|| net::link(name))??)
    }
}

/// Namespaces, veth pairs, and what else was made for them; all removed on drop.
#[derive(Debug)]
pub struct Lab {
    tag: Tag,
    nodes: Vec<Node>,
    ledger: Ledger,
}

impl Lab {
    /// Makes everything `spec` names; removes it again if a step fails.
    ///
    /// # Errors
    /// The specification contradicts itself, iproute2 is missing, or the rights are.
    pub fn create(spec: &LabSpec) -> Result<Self, LabError> {
        spec.check()?;
        let tag = Tag::fresh();
        let ledger = Ledger::open(&tag)?;
        let mut lab = Self { tag, nodes: Vec::new(), ledger };
        for name in &spec.nodes {
            let full_name = lab.tag.namespace(name);
            ip(&["netns", "add", &full_name])?;
            let namespace = match Namespace::named(&full_name) {
                Ok(namespace) => namespace,
                Err(error) => {
                    let _ = ip(&["netns", "del", &full_name]);
                    return Err(error.into());
                }
            };
            lab.nodes.push(Node { name: name.clone(), full_name, namespace });
        }
        for (number, link) in spec.links.iter().enumerate() {
            lab.join(number, link)?;
        }
        Ok(lab)
    }

    /// The namespace of this name.
    ///
    /// # Errors
    /// The specification had none.
    pub fn node(&self, name: &str) -> Result<&Node, LabError> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.ok_or_else(|| LabError::spec("the lab's node", name, "name one of the specification"))
    }

    /// All namespaces.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Folder in the BPF file system for pins of this lab; removed with it. Made by whoever pins.
    #[must_use]
    pub fn pin_root(&self) -> PathBuf {
        self.tag.pin_root()
    }

    /// Folder for sockets and files of this lab; removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.ledger.folder()
    }

    /// Raises the number of 2 MiB hugepages by what is missing for `pages` free ones; given back with the lab. Returns
    /// how many are free then, which may be fewer.
    ///
    /// # Errors
    /// The number cannot be read or written.
    pub fn reserve_hugepages(&mut self, pages: u64) -> Result<u64, LabError> {
        let reservation = weir_dataplane_io::memory::reserve(Path::new("/sys"), pages, None)?;
        self.ledger.hugepages(reservation.free.saturating_sub(reservation.before))?;
        Ok(reservation.free)
    }

    /// Removes what labs of dead processes left: namespaces and the processes in them, pins, hugepages, files.
    ///
    /// # Errors
    /// The list of namespaces cannot be read.
    pub fn sweep() -> Result<Swept, LabError> {
        ledger::sweep()
    }

    fn join(&self, number: usize, link: &Link) -> Result<(), LabError> {
        let ends = [&link.first, &link.second];
        let names: Vec<String> = ends.iter().map(|end| self.tag.namespace(&end.node)).collect();
        let (mtu, queues) = (link.mtu.to_string(), link.queues.to_string());
        let mut add = vec!["link", "add", &link.first.interface, "netns", &names[0]];
        let sizes = ["mtu", &mtu, "numtxqueues", &queues, "numrxqueues", &queues];
        add.extend(sizes);
        add.extend(["type", "veth", "peer", "name", &link.second.interface, "netns", &names[1]]);
        add.extend(sizes);
        ip(&add)?;
        for (side, namespace) in names.iter().enumerate() {
            self.dress(number, link, side, namespace)?;
        }
        Ok(())
    }

    /// Gives one end its addresses and its neighbours', and sets it up.
    fn dress(&self, number: usize, link: &Link, side: usize, namespace: &str) -> Result<(), LabError> {
        let (own, other) = if side == 0 { (&link.first, &link.second) } else { (&link.second, &link.first) };
        let name = own.interface.as_str();
        let inside = |words: &[&str]| ip(&[&["-n", namespace], words].concat());
        // No link-local address: neighbour discovery and router solicitations would be frames that nobody sent.
        inside(&["link", "set", "dev", name, "addrgenmode", "none"])?;
        inside(&["link", "set", "dev", name, "address", &spec::mac_text(spec::mac(number, side))])?;
        inside(&["link", "set", "dev", "lo", "up"])?;
        inside(&["link", "set", "dev", name, "up"])?;
        for address in &own.addresses {
            let quick: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            inside(&[&["addr", "add", address, "dev", name], quick].concat())?;
        }
        let peer = spec::mac_text(spec::mac(number, 1 - side));
        for address in &other.addresses {
            let bare = address.split('/').next().unwrap_or(address);
            let shared = own.addresses.iter().any(|mine| mine.contains(':') == bare.contains(':'));
            if shared {
                inside(&["neigh", "replace", bare, "lladdr", &peer, "dev", name, "nud", "permanent"])?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Every removal is tried, whatever became of the one before; what fails here is swept up by the next lab.
        let names: Vec<String> = self.nodes.drain(..).map(|node| node.full_name).collect();
        for name in &names {
            ledger::remove_namespace(name);
        }
        self.ledger.settle(&self.tag);
    }
}
