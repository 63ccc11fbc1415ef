//! The GPU host: loads a Hugging Face checkpoint as integer planes ([`weights`]) and multiplies rows of
//! residues with them ([`backend`]) for whoever asks ([`server`]). It sees masked rows only.

pub mod backend;
pub mod flags;
pub mod record;
pub mod scheduler;
pub mod server;
pub mod weights;

#[cfg(test)]
mod testing;
