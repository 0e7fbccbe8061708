//! What the configuration promises: good files, refused files, mutated files, and the way back to text.

mod bad;
mod good;
mod layers;
mod random;
