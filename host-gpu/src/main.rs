//! `talaria-gpu`.
fn main() {}
