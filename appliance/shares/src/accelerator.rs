//! Sharing one accelerator: its time by shares, its memory by priority. **No feature of this build uses one**: models, which are
//! to come, will. Both are plain values on a clock that the caller passes, so they are tested without a device, and what they
//! promise is about the order of work, not about any device's speed.

pub mod memory;
pub mod time;
