//! The payload: all of Talaria that sees plaintext.
//!
//! Structural decoding, masking, checking, tokenizer and chat template, in one Wasm component whose
//! imports ([`world::World`]) are its whole interface to the world. It holds no weight matrix and has no
//! clock, file or network.
//!
//! From the bottom: [`ops`] (structural operations), [`fixed_point`] (rows as integers), [`mask`] and
//! [`check`] (what leaves and what comes back), [`projection`] (one product with a weight matrix),
//! [`models`] (a forward pass), [`session`] and [`engine`] (continuous batching), [`setup`] (the weight pass
//! that must come before), [`channel`] (requests and replies sealed between the client and here).

pub mod channel;
pub mod chat_template;
pub mod check;
#[cfg(target_family = "wasm")]
mod component;
pub mod counters;
pub mod engine;
pub mod fixed_point;
#[cfg(test)]
mod fuzz;
pub mod glimpse;
pub mod logprobs;
pub mod mask;
pub mod models;
pub mod ops;
pub mod projection;
pub mod rehearsal;
pub mod sampling;
pub mod session;
pub mod setup;
pub mod stop;
#[cfg(any(test, feature = "testing"))]
#[allow(missing_docs, reason = "for tests of this crate and of the client")]
pub mod testing;
pub mod tokenizer;
pub mod world;
