//! Masks under module-LWE: many from one short secret, at the cost of transforms.
//!
//! Notation: R = Z_q[x]/(x^N + 1), handled modulo each prime of q = P1 P2; r the rank; `s` in R^r with
//! uniform ternary coefficients ([`Secret`]); `a_j` in R^r public, for each feature j of a matrix
//! ([`PublicPolynomials`]); `e_j` noise, coefficients uniform in [-32, 32).
//!
//! `mask_j = <a_j, s> + e_j` in R: its coefficient t is the mask of token row t at feature j, so one
//! secret makes N rows of masks, before any of the rows is known. For a matrix W,
//! `sum_j W_jc mask_j = <R_c, s> + sum_j W_jc e_j` with `R_c = sum_j W_jc a_j`, which does not depend
//! on s and is computed once. `correction_c = <R_c, s>` is minted like a mask, without noise.
//!
//! What hides a row is that (a, <a, s> + e) is indistinguishable from uniform (module-LWE). a_j are
//! given in NTT form: uniform values are a uniform polynomial.
//!
//! * [`PublicPolynomials`]: a or R, in the order in which minting reads them
//! * [`Secret`]: s, transformed
//! * [`mint_block`]: masks or corrections of 16 columns
//!
//! Cost of a mask: r products and log2(N) / 2 butterflies modulo each prime.

mod field;
mod lanes;
mod noise;
mod ntt;
mod public;
mod secret;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use public::PublicPolynomials;
pub use secret::Secret;

use crate::exactness::NOISE_BOUND;
use field::FIELDS;
use lanes::Modulus;

/// Columns (features or outputs) of a block.
pub const LANES: usize = 16;

/// A parameter set of module-LWE.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameters {
    /// `NxR`, as users write it.
    pub name: &'static str,
    /// N, a power of two: rows that one secret masks.
    pub degree: usize,
    /// r: N r is the dimension that security rests on.
    pub rank: usize,
    /// log2 of the cheapest attack's operations, by the estimate in `tests/security`, which holds this table to it.
    pub security_bits: u32,
}

/// All sets; the first is the default.
pub const PARAMETERS: [Parameters; 3] = [
    // Best trade of minting and memory.
    Parameters {
        name: "512x5",
        degree: 512,
        rank: 5,
        security_bits: 143,
    },
    // Small pools: few rows at a time.
    Parameters {
        name: "256x10",
        degree: 256,
        rank: 10,
        security_bits: 143,
    },
    // Throughput: fewest products a mask.
    Parameters {
        name: "1024x3",
        degree: 1024,
        rank: 3,
        security_bits: 175,
    },
];

impl Parameters {
    /// The default set.
    pub fn default_set() -> &'static Self {
        &PARAMETERS[0]
    }

    /// The set of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        const SETS: &[Parameters] = &PARAMETERS;
        SETS.iter().find(|set| set.name == name)
    }

    /// Rows that one secret masks.
    pub fn rows(&self) -> usize {
        self.degree
    }

    /// Residues of a public polynomial vector modulo each prime.
    pub fn public_rows(&self) -> usize {
        self.degree * self.rank
    }

    /// Words of a block of public polynomials.
    pub fn block_words(&self) -> usize {
        2 * self.public_rows() * LANES
    }

    /// Words of a block of masks: (prime, row, lane).
    pub fn mask_words(&self) -> usize {
        2 * self.degree * LANES
    }
}

/// Numbers that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// A slice of another length.
    Length {
        /// Of what.
        what: &'static str,
        /// Words.
        expected: usize,
        /// Words.
        found: usize,
    },
    /// A public row that does not exist.
    Row {
        /// Which.
        row: usize,
        /// How many there are.
        rows: usize,
    },
    /// A residue that is not below its prime.
    Residue {
        /// The residue.
        residue: u32,
        /// Its prime.
        p: u32,
    },
}

impl ShapeError {
    fn check(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self::Length {
            what,
            expected,
            found,
        })
    }
}

impl core::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length {
                what,
                expected,
                found,
            } => write!(f, "{what}: expected {expected} words, found {found}"),
            Self::Row { row, rows } => write!(f, "public row {row} of {rows}"),
            Self::Residue { residue, p } => write!(f, "{residue} is no residue modulo {p}"),
        }
    }
}

impl core::error::Error for ShapeError {}

/// Where the noise of a block comes from: the batch's noise seed, fresh and used for nothing else,
/// and a number that no other block of the batch has.
pub type Noise<'a> = (&'a [u8; 32], u64);

/// Masks (prime, row t, lane) of the 16 columns of `block`, each below its prime: coefficient t of
/// `<a, s>`, plus the same integer noise modulo both primes if `noise` is given (masks have it,
/// corrections do not).
///
/// Time and memory accesses depend on the parameters only.
pub fn mint_block(
    secret: &Secret,
    noise: Option<Noise<'_>>,
    block: &[i32],
    out: &mut [u32],
) -> Result<(), ShapeError> {
    let parameters = secret.parameters();
    ShapeError::check("block", parameters.block_words(), block.len())?;
    ShapeError::check("masks of a block", parameters.mask_words(), out.len())?;
    let (first, second) = out.split_at_mut(parameters.mask_words() / 2);
    let halves = block.chunks_exact(parameters.block_words() / 2);
    let moduli = FIELDS.each_ref().map(Modulus::new);
    for (i, (half, masks)) in halves.zip([&mut *first, &mut *second]).enumerate() {
        let (values, twiddles) = (secret.values(i), secret.inverse_twiddles(i));
        ntt::inverse_of_products(moduli[i], twiddles, parameters.rank, values, half, masks);
    }
    if let Some((seed, number)) = noise {
        noise::add(seed, number, moduli, first, second);
    }
    Ok(())
}
