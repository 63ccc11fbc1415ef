//! The payload.

pub mod ops;
