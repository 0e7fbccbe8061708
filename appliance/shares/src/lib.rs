//! Room 9b: shares. Frames come from no room and leave to none: who gets which cores, memory and accelerators is decided here.
//!
//! Pure functions of what is there ([`Machine`]) and what is asked ([`Ask`]): no input or output and no clock; time is an
//! argument. What the kernel does about a plan is the business of `dataplane/io`.
//!
//! | module | decides |
//! |---|---|
//! | [`profile`] | what a feature gets where nobody says otherwise |
//! | [`plan`] | cores, memory and accelerators of every feature, or a refusal with the sum |
//! | [`accelerator`] | whose job an accelerator runs next, and who gets its memory (for models to come) |
//! | [`lease`] | which idle core is lent to whom, and when it goes back |

pub mod accelerator;
mod apportion;
pub mod lease;
mod machine;
pub mod plan;
pub mod profile;

pub use machine::{Accelerator, Machine};
pub use plan::{AcceleratorAsk, AcceleratorGrant, Ask, Grant, Plan, Refused, plan};
pub use profile::{Class, Profile};
