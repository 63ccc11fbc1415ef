//! The simplest device: planes in memory, products element by element.

use talaria_arithmetic::{P1, P2};
use talaria_wire::manifest::WeightFormat;

use crate::backend::{Backend, BackendError, MatrixShape};

#[derive(Default)]
pub struct Memory {
    matrices: Vec<(MatrixShape, Vec<Vec<i8>>)>,
    limit: Option<u64>,
}

impl Memory {
    /// With room for no more than this.
    pub fn of_bytes(limit: u64) -> Self {
        Self {
            matrices: Vec::new(),
            limit: Some(limit),
        }
    }
}

impl Backend for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        // 0x80 is stored by no quantiser, so a hole would show in every comparison.
        let planes = vec![vec![-128; shape.k * shape.n]; shape.format.planes()];
        self.matrices.push((shape, planes));
        match self.limit {
            Some(limit) if self.weight_bytes() > limit => Err(BackendError::Memory {
                what: "a matrix".into(),
                needed: self.weight_bytes(),
                limit,
            }),
            _ => Ok(self.matrices.len() - 1),
        }
    }

    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        let (shape, planes) = &mut self.matrices[matrix];
        assert!(weights.len().is_multiple_of(shape.k));
        planes[plane][first * shape.k..][..weights.len()].copy_from_slice(weights);
        Ok(())
    }

    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError> {
        let (shape, planes) = &self.matrices[matrix];
        Ok(planes[plane][first * shape.k..(first + count) * shape.k].to_vec())
    }

    fn project(&self, matrix: usize, rows: usize, x: &[u32]) -> Result<Vec<u32>, BackendError> {
        let (shape, planes) = &self.matrices[matrix];
        let mut y = Vec::with_capacity(rows * 2 * shape.n);
        for row in x.chunks(2 * shape.k) {
            for (x, p) in row.chunks(shape.k).zip([P1, P2]) {
                y.extend((0..shape.n).map(|c| {
                    let weight = |j: usize| {
                        let digits = planes.iter().map(|plane| i64::from(plane[c * shape.k + j]));
                        digits.fold(0, |w, digit| 256 * w + digit)
                    };
                    let p = i64::from(p);
                    let products = x.iter().enumerate().map(|(j, x)| i64::from(*x) * weight(j));
                    products.fold(0, |sum, product| (sum + product).rem_euclid(p)) as u32
                }));
            }
        }
        Ok(y)
    }

    fn weight_bytes(&self) -> u64 {
        let bytes = |(shape, _): &(MatrixShape, _)| {
            let planes: WeightFormat = shape.format;
            (shape.k * shape.n * planes.planes()) as u64
        };
        self.matrices.iter().map(bytes).sum()
    }
}
