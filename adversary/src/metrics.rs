//! How well an attack did, next to chance.
//!
//! * [`interval`]: confidence intervals of rates
//! * [`rouge`]: ROUGE-L of token sequences
//! * [`score`]: guesses against labels

pub mod interval;
pub mod rouge;
pub mod score;

pub use interval::{Rate, SIGNIFICANCE};
pub use score::{Measure, Outcome, Verdict};
