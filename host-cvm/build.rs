//! Builds the payload.
fn main() {}
