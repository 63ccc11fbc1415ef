//! The user's side of Talaria: [`verify`] checks offline, against a [`policy`], what a confidential VM
//! proves about itself; [`channel`] talks to the payload of a VM that was verified, and to nothing else.
//!
//! Verification is pure: no network, no clock, no file. Time, policy and evidence are arguments, so the same
//! arguments give the same verdict anywhere. docs/attestation.md lists every step.

#![forbid(unsafe_code)]

pub mod answer;
pub mod channel;
pub mod cli;
pub mod hex_array;
pub mod policy;
pub mod proxy;
pub mod ranges;
pub mod remote;
pub mod time;
pub mod verify;
