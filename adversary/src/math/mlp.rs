//! A network with one hidden layer, trained by Adam (Kingma and Ba, 2015, arXiv 1412.6980) on squared errors.

use nalgebra::DMatrix;

use crate::dice::Dice;

/// Sizes and lengths of training.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Hidden units.
    pub hidden: usize,
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Step size, falling linearly to 0.
    pub rate: f32,
}

/// `y = relu(x W1 + b1) W2 + b2`. Examples are columns.
pub struct Mlp {
    /// W1 (hidden, inputs + 1), W2 (outputs, hidden + 1): the last column is the bias.
    layers: [Layer; 2],
}

struct Layer {
    weights: DMatrix<f32>,
    mean: DMatrix<f32>,
    square: DMatrix<f32>,
}

impl Mlp {
    /// Fits y (outputs,n) of x (inputs,n).
    pub fn fit(x: &DMatrix<f32>, y: &DMatrix<f32>, training: Training, dice: &mut Dice) -> Self {
        let mut network = Self {
            layers: [
                Layer::new(training.hidden, x.nrows(), dice),
                Layer::new(y.nrows(), training.hidden, dice),
            ],
        };
        let batches = x.ncols().div_ceil(training.batch);
        let steps = (training.epochs * batches) as f32;
        let mut step = 0;
        for _ in 0..training.epochs {
            let order = dice.permutation(x.ncols());
            for batch in order.chunks(training.batch) {
                step += 1;
                let rate = training.rate * (1.0 - step as f32 / (steps + 1.0));
                network.learn(
                    &x.select_columns(batch),
                    &y.select_columns(batch),
                    rate,
                    step,
                );
            }
        }
        network
    }

    /// Predictions (outputs,n) for x (inputs,n).
    pub fn apply(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        let hidden = self.layers[0].apply(x).map(|h| h.max(0.0));
        self.layers[1].apply(&hidden)
    }

    fn learn(&mut self, x: &DMatrix<f32>, y: &DMatrix<f32>, rate: f32, step: i32) {
        let before = self.layers[0].apply(x);
        let hidden = before.map(|h| h.max(0.0));
        // d loss / d output, mean over the batch.
        let error = (self.layers[1].apply(&hidden) - y) / x.ncols() as f32;
        let units = hidden.nrows();
        let mut back = self.layers[1].weights.columns(0, units).tr_mul(&error);
        back.zip_apply(&before, |gradient, h| {
            if h <= 0.0 {
                *gradient = 0.0;
            }
        });
        self.layers[1].step(&error, &hidden, rate, step);
        self.layers[0].step(&back, x, rate, step);
    }
}

impl Layer {
    fn new(outputs: usize, inputs: usize, dice: &mut Dice) -> Self {
        let deviation = (2.0 / inputs as f64).sqrt();
        let mut weights = DMatrix::from_fn(outputs, inputs + 1, |_, _| {
            (dice.normal() * deviation) as f32
        });
        weights.column_mut(inputs).fill(0.0);
        let zeros = DMatrix::zeros(outputs, inputs + 1);
        Self {
            weights,
            mean: zeros.clone(),
            square: zeros,
        }
    }

    fn apply(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        let inputs = x.nrows();
        let mut y = self.weights.columns(0, inputs) * x;
        let bias = self.weights.column(inputs);
        for mut column in y.column_iter_mut() {
            column += bias;
        }
        y
    }

    fn step(&mut self, error: &DMatrix<f32>, x: &DMatrix<f32>, rate: f32, step: i32) {
        const DECAY: (f32, f32) = (0.9, 0.999);
        let inputs = x.nrows();
        let mut gradient = DMatrix::zeros(self.weights.nrows(), inputs + 1);
        gradient
            .columns_mut(0, inputs)
            .copy_from(&(error * x.transpose()));
        gradient.column_mut(inputs).copy_from(&error.column_sum());
        self.mean = &self.mean * DECAY.0 + &gradient * (1.0 - DECAY.0);
        self.square = &self.square * DECAY.1 + gradient.map(|g| g * g) * (1.0 - DECAY.1);
        let (mean, square) = (1.0 - DECAY.0.powi(step), 1.0 - DECAY.1.powi(step));
        let change = self
            .mean
            .zip_map(&self.square, |m, s| m / mean / ((s / square).sqrt() + 1e-8));
        self.weights -= change * rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_or_is_learnt() {
        let mut dice = Dice::new(3, "mlp");
        let x = DMatrix::from_fn(2, 400, |_, _| dice.unit() as f32 * 2.0 - 1.0);
        let y = DMatrix::from_fn(1, 400, |_, i| (x[(0, i)] * x[(1, i)]).signum());
        let training = Training {
            hidden: 16,
            epochs: 200,
            batch: 32,
            rate: 0.01,
        };
        let found = Mlp::fit(&x, &y, training, &mut dice).apply(&x);
        let right = (0..400).filter(|i| found[*i] * y[*i] > 0.0).count();
        assert!(right > 360, "{right} of 400");
    }
}
