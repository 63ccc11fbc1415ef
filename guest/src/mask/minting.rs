//! Minting of module-LWE masks, ahead of the rows they are for.
//!
//! One fresh secret S makes one [`Batch`]: masks of as many rows as the ring's degree, for one projection. It
//! makes no second batch, because two batches under one secret and the same A differ by small noise only
//! (docs/protocol.md, section 11): the secret is dropped with the last correction, and only
//! [`Batch::begin`] draws one.

use crate::world::{World, fresh_seed};
use talaria_arithmetic::module_lwe::{LANES, Noise, Parameters, Secret, ShapeError, mint_block};
use zeroize::Zeroizing;

/// Why nothing is minted.
#[derive(Debug, thiserror::Error)]
pub enum MintingError {
    /// No such parameter set.
    #[error("module-lwe has no parameter set {0:?}")]
    Parameters(String),
    /// Calls out of order, or too many.
    #[error("minting: {0}")]
    Order(&'static str),
    /// Public polynomials of another shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// A batch of masks that is being made.
pub struct Batch {
    parameters: &'static Parameters,
    secret: Secret,
    noise: Zeroizing<[u8; 32]>,
    /// Blocks of features that came, and of all.
    masks: (u64, u64),
    /// Blocks of outputs that came, and of all.
    corrections: (u64, u64),
}

impl Batch {
    /// Draws a secret for the masks of one projection, `features` wide, with `outputs` corrections a row.
    pub fn begin(
        parameters: &str,
        features: u32,
        outputs: u32,
        world: &mut dyn World,
    ) -> Result<Self, MintingError> {
        let unknown = || MintingError::Parameters(parameters.into());
        let parameters = Parameters::find(parameters).ok_or_else(unknown)?;
        let blocks = |columns: u32| u64::from(columns).div_ceil(LANES as u64);
        Ok(Self {
            parameters,
            secret: Secret::draw(parameters, &fresh_seed(world)),
            noise: fresh_seed(world),
            masks: (0, blocks(features)),
            corrections: (0, blocks(outputs)),
        })
    }

    /// Masks of the next features, as [prime][row][lane].
    pub fn masks(&mut self, polynomials: &[i32]) -> Result<Vec<u32>, MintingError> {
        let block = self.masks.0;
        if block == self.masks.1 {
            return Err(MintingError::Order("this batch has all its masks"));
        }
        self.masks.0 += 1;
        self.mint(Some((&self.noise, block)), polynomials)
    }

    /// Corrections of the next outputs, as [prime][row][lane].
    pub fn corrections(&mut self, polynomials: &[i32]) -> Result<Vec<u32>, MintingError> {
        if self.masks.0 < self.masks.1 {
            return Err(MintingError::Order("corrections come after the masks"));
        }
        self.corrections.0 += 1;
        self.mint(None, polynomials)
    }

    /// Whether all was made: the secret has served.
    pub fn is_done(&self) -> bool {
        self.masks.0 == self.masks.1 && self.corrections.0 >= self.corrections.1
    }

    fn mint(
        &self,
        noise: Option<Noise<'_>>,
        polynomials: &[i32],
    ) -> Result<Vec<u32>, MintingError> {
        let mut out = vec![0; self.parameters.mask_words()];
        mint_block(&self.secret, noise, polynomials, &mut out)?;
        Ok(out)
    }
}
