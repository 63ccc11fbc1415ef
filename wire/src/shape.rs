//! Shapes of weight matrices, of their rows and of their products: one rule for all who count residues or bytes.

use talaria_arithmetic::PRIMES;
use talaria_arithmetic::residue::RESIDUE_BYTES;

use crate::manifest::{Manifest, Projection, WeightFormat};

/// What a product does with the planes of its matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planes {
    /// One output a column: `y = 256 * (x @ hi) + x @ lo`.
    #[default]
    Joined,
    /// One output a column and plane: `x @ hi`, then `x @ lo`. The product of a matrix with planes x n
    /// columns; for matrices of one plane the same as joined.
    Apart,
}

impl Planes {
    /// From `planes_apart` of a request.
    pub const fn apart_if(apart: bool) -> Self {
        if apart { Planes::Apart } else { Planes::Joined }
    }

    /// `planes_apart` of a request.
    pub const fn are_apart(self) -> bool {
        matches!(self, Planes::Apart)
    }

    /// Outputs a column.
    pub const fn parts(self, format: WeightFormat) -> usize {
        match self {
            Planes::Joined => 1,
            Planes::Apart => format.planes(),
        }
    }
}

/// Shape and format of one weight matrix `W (k,n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Planes an element.
    pub format: WeightFormat,
}

impl MatrixShape {
    /// Of every projection of a manifest, in order.
    pub fn of_manifest(manifest: &Manifest) -> Vec<Self> {
        let shape = |projection: &Projection| projection.shape(manifest.weights);
        manifest.projections.iter().map(shape).collect()
    }

    /// Residues of a row of a product modulo one prime: n, or planes x n.
    pub const fn outputs(self, planes: Planes) -> usize {
        planes.parts(self.format) * self.n
    }

    /// Bytes of rows: k residues modulo each prime.
    pub const fn input_bytes(self, rows: usize) -> usize {
        rows * PRIMES.len() * self.k * RESIDUE_BYTES
    }

    /// Bytes of products: [`MatrixShape::outputs`] residues modulo each prime.
    pub const fn output_bytes(self, rows: usize, planes: Planes) -> usize {
        rows * PRIMES.len() * self.outputs(planes) * RESIDUE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_counted_by_plane_where_planes_are_apart() {
        for (format, apart) in [(WeightFormat::Int16, 14), (WeightFormat::Int8, 7)] {
            let shape = MatrixShape { k: 5, n: 7, format };
            assert_eq!(shape.outputs(Planes::Joined), 7);
            assert_eq!(shape.outputs(Planes::Apart), apart);
            assert_eq!(shape.input_bytes(3), 3 * 2 * 5 * 4);
            assert_eq!(shape.output_bytes(3, Planes::Apart), 3 * 2 * apart * 4);
        }
    }
}
