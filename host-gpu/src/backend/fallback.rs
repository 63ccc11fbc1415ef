//! A GPU while it has room for every matrix, else the CPU.

use super::cpu::CpuBackend;
use super::{Backend, BackendError, MatrixShape, Planes};

/// A backend that is replaced by the CPU if it refuses a matrix before any weight is stored.
pub(super) struct Fallback {
    backend: Box<dyn Backend>,
    /// Threads of the CPU backend.
    threads: Option<usize>,
    /// Matrices made so far, while the backend may still be replaced.
    empty: Option<Vec<MatrixShape>>,
}

impl Fallback {
    /// Uses `first` as long as it has room; it holds no matrix yet.
    pub(super) fn new(first: Box<dyn Backend>, threads: Option<usize>) -> Self {
        Self {
            backend: first,
            threads,
            empty: Some(Vec::new()),
        }
    }

    /// The CPU with the matrices made so far. The other backend is gone first, and its memory with it.
    fn replace(&mut self, shapes: &[MatrixShape]) -> Result<(), BackendError> {
        self.backend = Box::new(CpuBackend::new(self.threads)?);
        for shape in shapes {
            self.backend.add_matrix(*shape)?;
        }
        Ok(())
    }
}

impl Backend for Fallback {
    fn describe(&self) -> String {
        self.backend.describe()
    }

    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        let added = self.backend.add_matrix(shape);
        let Some(shapes) = &mut self.empty else {
            return added;
        };
        match added {
            Ok(index) => {
                shapes.push(shape);
                Ok(index)
            }
            Err(error @ BackendError::Usage(_)) => Err(error),
            Err(error) => {
                tracing::warn!("the CPU is used instead of the GPU: {error}");
                let shapes = self.empty.take().unwrap_or_default();
                self.replace(&shapes)?;
                self.backend.add_matrix(shape)
            }
        }
    }

    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        self.empty = None;
        self.backend.store(matrix, plane, first, weights)
    }

    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError> {
        self.backend.read(matrix, plane, first, count)
    }

    fn project(
        &self,
        matrix: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, BackendError> {
        self.backend.project(matrix, rows, x, planes)
    }

    fn weight_bytes(&self) -> u64 {
        self.backend.weight_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::conformance;
    use crate::testing::memory::Memory;
    use talaria_wire::manifest::WeightFormat;

    const SHAPE: MatrixShape = MatrixShape {
        k: 5,
        n: 4,
        format: WeightFormat::Int8,
    };

    fn with_room_for(bytes: u64) -> Fallback {
        Fallback::new(Box::new(Memory::of_bytes(bytes)), Some(1))
    }

    #[test]
    fn a_backend_with_room_stays() {
        let mut backend = with_room_for(40);
        assert_eq!(backend.add_matrix(SHAPE).unwrap(), 0);
        assert_eq!(backend.add_matrix(SHAPE).unwrap(), 1);
        assert_eq!(backend.name(), "memory");
    }

    #[test]
    fn the_cpu_takes_all_matrices_if_one_has_no_room() {
        let mut backend = with_room_for(40);
        for index in 0..4 {
            assert_eq!(backend.add_matrix(SHAPE).unwrap(), index);
        }
        assert_eq!(backend.name(), "cpu");
        backend.store(0, 0, 0, &[1; 20]).unwrap();
        let y = backend.project(0, 1, &[1; 10], Planes::Joined).unwrap();
        assert_eq!(y, [5; 8]);
    }

    #[test]
    fn weights_that_are_stored_are_not_lost() {
        let mut backend = with_room_for(20);
        backend.add_matrix(SHAPE).unwrap();
        backend.store(0, 0, 0, &[1; 20]).unwrap();
        let full = backend.add_matrix(SHAPE);
        assert!(matches!(full, Err(BackendError::Memory { .. })), "{full:?}");
        assert_eq!(backend.read(0, 0, 0, 4).unwrap(), [1; 20]);
    }

    #[test]
    fn the_bits_are_those_of_the_cpu() {
        conformance::check_random(|| Ok(with_room_for(0)));
        conformance::check_refusals(|| {
            CpuBackend::new(Some(1)).map(|cpu| Fallback::new(Box::new(cpu), None))
        });
    }
}
