//! The interrupt vectors of a card, and which of them belong to queues.

use std::fs;

use crate::nic::view::View;

/// How far above `class/net/X/device` the device with the vectors may be: a virtio device stands below its PCI device.
const PARENTS: usize = 3;
/// Words in the name of a vector that belongs to no queue.
const NO_QUEUE: [&str; 7] = ["async", "config", "ctrl", "control", "event", "mgmt", "misc"];

/// One interrupt vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Its number.
    pub irq: u32,
    /// What the driver calls it; empty when `/proc/interrupts` does not list it.
    pub name: String,
    /// The queue that it serves, if its name says one.
    pub queue: Option<u32>,
}

/// The vectors of interface `name`, by number: those of its device (`msi_irqs`), else those that `/proc/interrupts` lists
/// under the interface's name. Empty for a virtual interface.
pub fn vectors(view: &View, name: &str) -> Vec<Vector> {
    let listed = listed(view);
    let mut of_device = of_device(view, name);
    of_device.sort_unstable();
    if of_device.is_empty() {
        let mine = |(_, action): &&(u32, String)| action.split(['-', '@', ':', '.']).next() == Some(name);
        return listed.iter().filter(mine).map(|(irq, action)| vector(*irq, action)).collect();
    }
    let action = |irq: u32| listed.iter().find(|(number, _)| *number == irq).map(|(_, action)| action.as_str());
    of_device.into_iter().map(|irq| vector(irq, action(irq).unwrap_or_default())).collect()
}

fn vector(irq: u32, action: &str) -> Vector {
    Vector { irq, name: action.to_owned(), queue: queue_of(action) }
}

fn of_device(view: &View, name: &str) -> Vec<u32> {
    let mut device = view.interface(name).join("device");
    for _ in 0..=PARENTS {
        if let Ok(entries) = fs::read_dir(device.join("msi_irqs")) {
            return entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        }
        device.push("..");
    }
    Vec::new()
}

/// Number and action of each line of `/proc/interrupts` that has a number.
fn listed(view: &View) -> Vec<(u32, String)> {
    let text = fs::read_to_string(view.proc().join("interrupts")).unwrap_or_default();
    let line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        // The action is the last word; shared lines have several, with commas, which no card with queues has.
        Some((number.trim().parse().ok()?, rest.split_whitespace().last()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// The queue in a vector's name: the number at its end, in front of an `@pci:…`. `eth0-TxRx-3`, `virtio2-input.0`,
/// `mlx5_comp5@pci:0000:3b:00.0`.
fn queue_of(action: &str) -> Option<u32> {
    let name = action.split('@').next()?;
    if NO_QUEUE.iter().any(|word| name.to_ascii_lowercase().contains(word)) {
        return None;
    }
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    // A name that is nothing but the interface's (`eth0`) says no queue: a separator must stand before the number.
    let (before, number) = name.split_at(name.len() - digits);
    let separated = before.ends_with(['-', '.', '_', ':']) || before.ends_with("comp") || before.ends_with("rx");
    number.parse().ok().filter(|_| separated)
}

#[cfg(test)]
mod tests {
    use super::queue_of;

    #[test]
    fn names_of_drivers_say_their_queue() {
        for (name, queue) in [
            ("eth0-TxRx-3", Some(3)),
            ("ice-enp59s0f0-TxRx-17", Some(17)),
            ("i40e-eth1-TxRx-0", Some(0)),
            ("mlx5_comp5@pci:0000:3b:00.0", Some(5)),
            ("mlx5_async0@pci:0000:3b:00.0", None),
            ("virtio2-input.1", Some(1)),
            ("virtio2-output.1", Some(1)),
            ("virtio2-config", None),
            ("ena-mgmnt@pci:0000:00:05.0", None),
            ("ens5-Tx-Rx-2", Some(2)),
            ("eth0", None),
            ("", None),
        ] {
            assert_eq!(queue_of(name), queue, "{name}");
        }
    }
}
