//! The cloud's view: what a GPU host can learn from the rows that it receives, measured.
//!
//! ```text
//! prompts -> the real system over loopback, recorded -> capture (public) + labels (the truth, apart)
//! capture -> views: what one host, or two together, hold      \
//! plaintext capture -> baselines: other schemes, simulated     +-> attacks -> findings -> scored by the labels
//! checkpoint -> the attacker's own copy of the model          /
//! ```
//!
//! * [`capture`]: runs the system and keeps what its hosts saw
//! * [`view`]: rows as an attacker holds them
//! * [`baselines`]: schemes of the literature, applied to captured plaintext rows
//! * [`attacks`]: one file each, with its source, its method and what it should break
//! * [`metrics`]: rates, intervals, chance
//! * [`statistics`]: what attacks and the end-to-end tests look through
//! * [`report`]: everything on one checkpoint, as a table and plots
//!
//! Nothing here is part of the system that is attacked: no other crate but the end-to-end tests depends on it.

#![forbid(unsafe_code)]

pub mod attacks;
pub mod baselines;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod dice;
mod error;
pub mod math;
pub mod metrics;
pub mod own_copy;
pub mod report;
pub mod statistics;
pub mod view;

pub use error::AdversaryError;
