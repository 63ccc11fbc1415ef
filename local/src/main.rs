//! `talaria-local`.
fn main() {}
