//! What the end-to-end tests share: fixtures with their goldens, and the payload's code run natively
//! against a backend in the same process.

#![forbid(unsafe_code)]

pub mod golden;
pub mod native;
