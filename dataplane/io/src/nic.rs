//! The card's own settings: how many queues there are, which flows go to which, which CPU answers its interrupts, and
//! whether it is polled.
//!
//! They belong to the host, not to this process, and outlive it. So each one is changed through a [`Ledger`], which writes
//! the former value to a file *before* the change: whoever comes next, after an end in good order or after a kill, can put
//! everything back in the reverse order.
//!
//! | file | what for |
//! |---|---|
//! | `ethtool` | channels and the indirection table of RSS, by ioctl |
//! | `interrupts` | the card's vectors and the CPUs that answer them, from sysfs and procfs |
//! | `napi` | the card's NAPI instances and their threads, by netlink |
//! | `busy` | busy polling of a socket and of an epoll instance |
//! | `setting` | all of these as one type with a text for each value |
//! | `ledger` | what was changed, and undoing it |
//! | `view` | sysfs and procfs as the interface's namespace shows them |

pub mod busy;
pub mod ethtool;
mod interrupts;
mod ledger;
mod napi;
mod setting;
mod view;

pub use interrupts::{Vector, vectors};
pub use ledger::{Kind, Ledger, Refusal};
pub use napi::{Napi, instances, xdp_features};
pub use setting::{Setting, What};
pub use view::View;
