//! Ridge regression (Hoerl and Kennard, 1970).

use nalgebra::{DMatrix, DVector};

/// A linear map with an intercept, fitted.
pub struct Ridge {
    /// (inputs + 1, outputs)
    weights: DMatrix<f64>,
}

impl Ridge {
    /// Minimises `|x W + b - y|^2 + penalty * n * |W|^2` for x (n,inputs), y (n,outputs); none if nalgebra cannot
    /// factor the normal equations (inputs that are not finite).
    pub fn fit(x: &DMatrix<f64>, y: &DMatrix<f64>, penalty: f64) -> Option<Self> {
        let x = x.clone().insert_column(x.ncols(), 1.0);
        let mut normal = x.tr_mul(&x);
        let scale = normal.trace() / normal.nrows() as f64;
        for i in 0..normal.nrows() {
            normal[(i, i)] += penalty * scale.max(f64::MIN_POSITIVE);
        }
        let weights = normal.cholesky()?.solve(&x.tr_mul(y));
        Some(Self { weights })
    }

    /// Predictions (n,outputs) for x (n,inputs).
    pub fn apply(&self, x: &DMatrix<f64>) -> DMatrix<f64> {
        let inputs = self.weights.nrows() - 1;
        let intercept: DVector<f64> = self.weights.row(inputs).transpose();
        let mut y = x * self.weights.rows(0, inputs);
        for mut row in y.row_iter_mut() {
            row += intercept.transpose();
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn a_linear_map_is_found() {
        let mut dice = Dice::new(2, "ridge");
        let x = DMatrix::from_fn(200, 7, |_, _| dice.normal());
        let w = DMatrix::from_fn(7, 3, |_, _| dice.normal());
        let y = (&x * &w).add_scalar(0.5);
        let found = Ridge::fit(&x, &y, 1e-9).unwrap().apply(&x);
        assert!((found - y).amax() < 1e-5);
    }
}
