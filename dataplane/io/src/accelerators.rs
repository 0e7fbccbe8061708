//! Accelerators that the kernel shows. Seen is not usable: that takes a driver's library, which is asked elsewhere.

use std::fs;
use std::path::Path;

/// What an accelerator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A neural processing unit.
    Npu,
    /// A graphics processor that computes.
    Gpu,
}

impl Kind {
    /// The word of the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npu => "npu",
            Self::Gpu => "gpu",
        }
    }
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accelerator {
    /// What it is.
    pub kind: Kind,
    /// Its address on the bus: `0000:00:0b.0`.
    pub address: String,
    /// Vendor and device, as the bus has them: `8086:643e`.
    pub id: String,
    /// The driver that has it; `None` where none has.
    pub driver: Option<String>,
    /// Bytes of its own memory; `None` where the kernel does not say.
    pub memory: Option<u64>,
    /// Its NUMA node, where the firmware says.
    pub node: Option<u32>,
}

/// PCI class and subclass of processing accelerators (PCI Code and ID Assignment, class 12h).
const PROCESSING: u32 = 0x1200;
/// 3D controllers: graphics processors without a screen.
const CONTROLLER_3D: u32 = 0x0302;
/// VGA controllers: a graphics processor, or no more than a screen.
const VGA: u32 = 0x0300;
/// Drivers of VGA controllers that compute; others (bochs, cirrus, virtio, ast, mgag200) show a screen.
const COMPUTES: [&str; 5] = ["amdgpu", "i915", "nouveau", "nvidia", "xe"];

/// Those of the PCI bus, by address. `root` is `/sys` but for tests.
pub fn all(root: &Path) -> Vec<Accelerator> {
    let folder = root.join("bus/pci/devices");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<Accelerator> =
        entries.filter_map(|entry| one(&entry.path(), entry.file_name().to_str()?)).collect();
    found.sort_by(|one, other| one.address.cmp(&other.address));
    found
}

fn one(device: &Path, address: &str) -> Option<Accelerator> {
    let text = |name: &str| fs::read_to_string(device.join(name)).ok().map(|text| text.trim().to_owned());
    let hex = |name: &str| u32::from_str_radix(text(name)?.trim_start_matches("0x"), 16).ok();
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    // Class, subclass and programming interface, a byte each.
    let kind = match hex("class")? >> 8 {
        PROCESSING => Kind::Npu,
        CONTROLLER_3D => Kind::Gpu,
        VGA if driver.as_deref().is_some_and(|driver| COMPUTES.contains(&driver)) => Kind::Gpu,
        _ => return None,
    };
    Some(Accelerator {
        kind,
        address: address.to_owned(),
        id: format!("{:04x}:{:04x}", hex("vendor").unwrap_or(0), hex("device").unwrap_or(0)),
        driver,
        memory: text("mem_info_vram_total").and_then(|text| text.parse().ok()),
        node: text("numa_node").and_then(|text| text.parse().ok()), // -1 fails to parse
    })
}
