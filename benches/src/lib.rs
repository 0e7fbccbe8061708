//! Speed beside the field's own tools. Frames come from the lab's generators and leave to a counter.
//!
//! Every benchmark is a program of its own in `benches/`, prints a table and ends with one line of JSON. Ours and the
//! peers' runs are alternated in the same minutes; a run that another program disturbed is thrown away and made again;
//! what is shown is the median with the range of all runs that count. README.md says what is fair in each comparison.

pub mod bare;
pub mod boxed;
pub mod counting;
pub mod noise;
pub mod report;
pub mod runs;
pub mod testpmd;
pub mod wire;
