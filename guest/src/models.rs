//! Structural decoding: everything of a forward pass that needs no weights.
//!
//! Families differ in what the manifest says (biases, q/k norms, rope scaling, windows), so one decoder
//! serves them all.

mod decoder;

pub use decoder::{Caches, Decoder, Input};
