//! Exact and reproducible arithmetic shared by the payload and the GPU host: one truth for both sides.
//!
//! All that crosses to a GPU host are residues modulo [`P1`] and [`P2`]. Notation of the docs
//! (docs/protocol.md): `q = P1 * P2`, rows `X`, weights `W`, products `Y = X W`.
//!
//! * [`residue`]: the primes, modular operations, signed CRT
//! * [`fixed_point`]: power-of-two scales, rounding, int8 planes
//! * [`exactness`]: how wide a row may be so that its product is exact
//! * [`keystream`]: uniform residues from a ChaCha20 key
//! * [`lanes`]: the payload's inner loops over all of these, vectorised
//! * [`module_lwe`]: masks from one short secret and public polynomials
//! * [`rotary`]: frequencies of rotary position embeddings, in float32

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chacha;
pub mod exactness;
pub mod fixed_point;
pub mod keystream;
pub mod lanes;
pub mod module_lwe;
pub mod residue;
pub mod rotary;

pub use residue::{P1, P2, PRIMES, Q};
