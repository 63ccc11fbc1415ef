//! The lab against the real system: attacks work where they should and find nothing elsewhere, planted defects are
//! found, broken captures are refused.

mod captures;
mod common;
mod defects;
mod measured;
mod smollm2;
mod static_basis;
