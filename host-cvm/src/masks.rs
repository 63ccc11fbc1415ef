//! How rows are hidden, outside the payload: which scheme, and masks of module-LWE made ahead.
//!
//! [`Pools`] hold what the threads of [`minter`] had instances mint, from the public matrices of [`public`], within
//! the [`memory`] there is; engines draw from them.

mod masking;
pub(crate) mod memory;
pub(crate) mod minter;
mod pool;
mod public;

pub use masking::Masking;
pub use memory::{MaskMemory, free_bytes};
pub(crate) use pool::{Batch, Lanes, Pools, corrections};
pub use public::PublicRowsFrom;
pub(crate) use public::{PublicMatrices, Source};
