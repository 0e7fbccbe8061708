//! What `weir up` was started with. The supervisor reads the files; the dataplane gets their text over its standard
//! input, so a file that somebody is writing cannot keep it from starting again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use weir_appliance_control::config::{Layer, Layered};
use weir_appliance_control::config_file;
use weir_appliance_control::keeper::FromFile;
use weir_appliance_control::name::InterfaceName;
use weir_appliance_control::problem::Problem;

/// Where the store is on a host, as its data is; a lab's is beside its control socket.
const STATE: &str = "/var/lib/weir/state.redb";
/// The folder of the control socket of a host's own weir.
const RUN: &str = "/run/weir";

/// The files and the words of the command line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seed {
    /// The file and its overlays.
    pub layers: Vec<Layer>,
    /// Interfaces that stand in place of the file's.
    pub interfaces: Vec<InterfaceName>,
    /// The control socket in place of the file's.
    pub socket: Option<PathBuf>,
}

impl Seed {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn read(files: &[PathBuf], interfaces: Vec<InterfaceName>, socket: Option<PathBuf>) -> Result<Self> {
        let layers = files.iter().map(|file| config_file::layer(file)).collect::<Result<_, _>>()?;
        Ok(Self { layers, interfaces, socket })
    }

    /// Reads the first line that the supervisor writes to the standard input; what follows are its words to a dataplane.
    ///
    /// # Errors
    /// That is something else.
    pub(crate) fn from_supervisor() -> Result<Self> {
        let mut text = String::new();
        std::io::stdin().read_line(&mut text).context("the supervisor's words cannot be read")?;
        serde_json::from_str(&text).context("this is started by `weir up`, which tells it what to do")
    }

    /// What the files say.
    ///
    /// # Errors
    /// They are refused.
    pub(crate) fn layered(&self) -> Result<Layered> {
        Ok(Layered::read(&self.layers)?)
    }

    /// What the files say, changed by the command line.
    ///
    /// # Errors
    /// They are refused.
    pub(crate) fn config(&self) -> Result<FromFile> {
        Ok(self.changed(self.layered()?)?)
    }

    /// What files say for this box: with the interfaces and the socket of the command line.
    ///
    /// # Errors
    /// They do not fit it.
    pub(crate) fn changed(&self, layered: Layered) -> Result<FromFile, Problem> {
        let mark = format!("{} {:?} {:?}", layered.mark(), self.interfaces, self.socket);
        let mut config = layered.into_config();
        if !self.interfaces.is_empty() {
            config = config.with_interfaces(&self.interfaces)?;
        }
        if let Some(socket) = &self.socket {
            config = config.with_socket(socket.clone());
        }
        Ok(FromFile { config, mark })
    }

    /// Whether these are the same files.
    pub(crate) fn is_of(&self, layers: &[Layer]) -> bool {
        let names = |layers: &[Layer]| layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>();
        names(&self.layers) == names(layers)
    }
}

/// Where the store of the weir at this control socket is, unless it is told otherwise.
#[must_use]
pub(crate) fn state_beside(control: &Path) -> PathBuf {
    match control.parent() {
        Some(folder) if folder != Path::new(RUN) => folder.join("state.redb"),
        _ => PathBuf::from(STATE),
    }
}
