//! The only door for people and CI: see `cargo xtask --help`.
fn main() {}
