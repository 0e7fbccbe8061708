//! demo, test, setup, doctor
fn main() {}
