//! A backend in memory that tests can hold, count and break: planes as they were stored, products element
//! by element.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use talaria_arithmetic::{PRIMES, residue};

use super::PATIENCE;
use crate::backend::{Backend, BackendError, MatrixShape, Planes};

/// What tests know and steer of a [`Memory`] backend.
#[derive(Default)]
pub(crate) struct Control {
    /// Matrix and rows of every product begun.
    dispatches: Mutex<Vec<(usize, usize)>>,
    begun: Condvar,
    held: Mutex<bool>,
    released: Condvar,
    /// Products are errors.
    pub broken: AtomicBool,
    /// Products panic.
    pub panics: AtomicBool,
    /// Products lack their last residue.
    pub short: AtomicBool,
}

impl Control {
    /// Lets products begin, but not end.
    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    /// Lets products end.
    pub(crate) fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Waits until so many products have begun since the start, and gives all of them.
    pub(crate) fn wait_for_dispatches(&self, count: usize) -> Vec<(usize, usize)> {
        let dispatches = self.dispatches.lock().unwrap();
        let (dispatches, timeout) = self
            .begun
            .wait_timeout_while(dispatches, PATIENCE, |d| d.len() < count)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} of {count} dispatches",
            dispatches.len()
        );
        dispatches.clone()
    }

    fn pass(&self, matrix: usize, rows: usize) {
        self.dispatches.lock().unwrap().push((matrix, rows));
        self.begun.notify_all();
        let held = self.held.lock().unwrap();
        let (_held, timeout) = self
            .released
            .wait_timeout_while(held, PATIENCE, |held| *held)
            .unwrap();
        assert!(!timeout.timed_out(), "never released");
    }
}

/// Matrices as plain integers.
#[derive(Default)]
pub(crate) struct Memory {
    matrices: Vec<(MatrixShape, Vec<Vec<i8>>)>,
    limit: Option<u64>,
    /// Also in the hands of the test.
    pub control: Arc<Control>,
}

impl Memory {
    /// With room for no more than this.
    pub(crate) fn of_bytes(limit: u64) -> Self {
        Self {
            limit: Some(limit),
            ..Self::default()
        }
    }
}

impl Backend for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        // No quantiser gives -128, so a hole would show in every comparison.
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
        Ok(planes[plane][first * shape.k..][..count * shape.k].to_vec())
    }

    fn project(
        &self,
        matrix: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, BackendError> {
        self.control.pass(matrix, rows);
        assert!(
            !self.control.panics.load(Ordering::Relaxed),
            "as the test wants"
        );
        if self.control.broken.load(Ordering::Relaxed) {
            return Err(BackendError::Device("unplugged".into()));
        }
        let (shape, weights) = &self.matrices[matrix];
        assert_eq!(x.len(), rows * 2 * shape.k);
        let mut y = product(*shape, weights, x, planes);
        if self.control.short.load(Ordering::Relaxed) {
            y.pop();
        }
        Ok(y)
    }

    fn weight_bytes(&self) -> u64 {
        let planes = self.matrices.iter().flat_map(|(_, planes)| planes);
        planes.map(|plane| plane.len() as u64).sum()
    }
}

/// The definition, element by element.
fn product(shape: MatrixShape, weights: &[Vec<i8>], x: &[u32], planes: Planes) -> Vec<u32> {
    let weight = |planes: &[Vec<i8>], at: usize| {
        planes
            .iter()
            .fold(0, |w, plane| 256 * w + i64::from(plane[at]))
    };
    let joined = weights.len() / planes.parts(shape.format);
    let mut y = Vec::new();
    for (half, x) in x.chunks_exact(shape.k).enumerate() {
        let p = PRIMES[half % 2];
        for planes in weights.chunks(joined) {
            y.extend((0..shape.n).map(|c| {
                let terms = x.iter().enumerate().map(|(j, x)| {
                    let weight = weight(planes, c * shape.k + j);
                    residue::mul(residue::from_i64(weight, p), *x, p)
                });
                terms.fold(0, |sum, term| residue::add(sum, term, p))
            }));
        }
    }
    y
}
