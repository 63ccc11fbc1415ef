//! What multiplies: rows of residues times integer weight planes, exactly, modulo both primes.
//!
//! Every backend gives the same bits: `y[c] = sum_j x[j] * W[j][c] mod p` with `W = 256 * hi + lo`
//! (int16) or `W` itself (int8), for p = P1 and P2; or, with [`Planes::Apart`], the sums with `hi` and with
//! `lo` by themselves.

pub mod cpu;
mod fallback;
mod open;
mod shape;
pub mod wgpu;

#[cfg(test)]
mod conformance;

pub use open::{BackendKind, open};
pub use talaria_wire::shape::{MatrixShape, Planes};

/// Why a backend cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No adapter, driver trouble, lost device.
    #[error("{0}")]
    Device(String),
    /// The weights do not fit.
    #[error("out of device memory: {needed} bytes needed for {what}, {limit} available")]
    Memory {
        /// What was to be allocated.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes available.
        limit: u64,
    },
    /// Lengths or indices that contradict the matrices.
    #[error("backend used wrongly: {0}")]
    Usage(String),
}

impl BackendError {
    fn no_matrix(matrix: usize, made: usize) -> Self {
        Self::Usage(format!("matrix {matrix} asked for, {made} were made"))
    }
}

/// A device with weight matrices. Matrices are loaded in order while `&mut`, then used through `&`.
pub trait Backend: Send + Sync {
    /// For people: kind, device, instruction set or driver.
    fn describe(&self) -> String;

    /// Short name: `cpu` or `wgpu`.
    fn name(&self) -> &'static str;

    /// Makes room for the next matrix; its index is the number of matrices made before.
    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError>;

    /// Stores outputs `first..first + count` of one plane (0 is the most significant) of a matrix.
    /// `weights` is `count x k`, output by output. Every output of every plane is stored once, before
    /// any product.
    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError>;

    /// Reads back what `store` stored, as used in products: `count x k`, output by output.
    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError>;

    /// Products of `rows` rows. `x` is rows x (k modulo P1, then k modulo P2), every element below its
    /// prime (the caller has checked); the result is rows x (outputs modulo P1, then outputs modulo P2)
    /// with n outputs, or planes x n where planes are apart ([`MatrixShape::outputs`]).
    fn project(
        &self,
        matrix: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, BackendError>;

    /// Bytes held for weights.
    fn weight_bytes(&self) -> u64;
}
