//! The inner loops of a projection call, several elements at a time.
//!
//! Wasm compilers find few of these vectors by themselves: products of 32 bits to 64 in particular. So each
//! loop is written once over the types of [`vector`], which are v128 in Wasm and arrays elsewhere: the same
//! operations, the same bits. None has a branch or an index that depends on an element.
//!
//! | loop | what | steps of protocol.md |
//! |---|---|---|
//! | [`dot`], [`dot_small`] | `x . v` for two vectors v | (7.2) |
//! | [`dot_one_hot`], [`add_one_hot`] | the same for a row with a single 1, without the row | (6.2), (7.2), (11.7) |
//! | [`add_small`] | `M + X` | (6.2) |
//! | [`add_scaled`] | `M + Delta X` | (11.7) |
//! | [`subtract`] | `Y1 - Y2` | (6.4) |
//! | [`signed_crt`] | residues to integers | (1.1) |
//! | [`quantise`], [`dequantise`] | floats to integers and back | (2.1), (4.1) |

mod one_hot;
mod products;
mod residues;
mod scaling;
pub(crate) mod vector;

pub use one_hot::{add_one_hot, dot_one_hot};
pub use products::{Dots, dot, dot_small};
pub use residues::{add_scaled, add_small, signed_crt, subtract};
pub use scaling::{dequantise, largest, quantise};

/// The end of a slice that fills no vector, and zeros.
fn padded<T: Copy + Default, const N: usize>(rest: &[T]) -> [T; N] {
    let mut full = [T::default(); N];
    full[..rest.len()].copy_from_slice(rest);
    full
}
