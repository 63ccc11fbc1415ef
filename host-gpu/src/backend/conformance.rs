//! What every backend must do, checked against integers of unlimited width.

use super::{Backend, BackendError, MatrixShape, Planes};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use talaria_arithmetic::PRIMES;
use talaria_wire::manifest::WeightFormat;

/// Planes, most significant first, each (n, k).
type Weights = Vec<Vec<i8>>;

const BOTH: [Planes; 2] = [Planes::Joined, Planes::Apart];

/// `x` (rows, 2, k) times the planes, by definition.
fn reference(shape: MatrixShape, weights: &Weights, x: &[u32], planes: Planes) -> Vec<u32> {
    let joined = match planes {
        Planes::Joined => weights.len(),
        Planes::Apart => 1,
    };
    let mut y = Vec::new();
    for (unit, x) in x.chunks(shape.k).enumerate() {
        let p = i128::from(PRIMES[unit % 2]);
        for planes in weights.chunks(joined) {
            y.extend((0..shape.n).map(|c| column(x, planes, c).rem_euclid(p) as u32));
        }
    }
    y
}

/// `x` (k) times column c of the planes, joined.
fn column(x: &[u32], planes: &[Vec<i8>], c: usize) -> i128 {
    let weight = |at: usize| {
        planes
            .iter()
            .fold(0, |w, plane| 256 * w + i128::from(plane[at]))
    };
    let products = x.iter().zip(c * x.len()..);
    products.map(|(x, at)| i128::from(*x) * weight(at)).sum()
}

fn load(backend: &mut dyn Backend, shape: MatrixShape, weights: &Weights, piece: usize) -> usize {
    let matrix = backend.add_matrix(shape).unwrap();
    for (plane, weights) in weights.iter().enumerate() {
        for (i, weights) in weights.chunks(piece * shape.k).enumerate() {
            backend.store(matrix, plane, i * piece, weights).unwrap();
        }
    }
    matrix
}

/// Numbers that cost nothing to make: xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    fn weights(&mut self, shape: MatrixShape) -> Weights {
        let plane = |_| (0..shape.n * shape.k).map(|_| self.next() as i8).collect();
        (0..shape.format.planes()).map(plane).collect()
    }

    fn rows(&mut self, rows: usize, k: usize) -> Vec<u32> {
        let residue = |at: usize| self.next() % PRIMES[at / k % 2];
        (0..rows * 2 * k).map(residue).collect()
    }
}

#[derive(Debug)]
struct Case {
    shape: MatrixShape,
    rows: usize,
    piece: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let format = prop_oneof![Just(WeightFormat::Int16), Just(WeightFormat::Int8)];
    let k = prop_oneof![4 => 1..300usize, 1 => 1..5000usize];
    (k, 1..70usize, format, 1..=20usize, 1..40usize, 1u64..).prop_map(
        |(k, n, format, rows, piece, seed)| Case {
            shape: MatrixShape { k, n, format },
            rows,
            piece,
            seed,
        },
    )
}

/// Random shapes: products equal the reference, and what was stored is read.
pub(super) fn check_random<B: Backend>(open: impl Fn() -> Result<B, BackendError>) {
    let backend = std::cell::RefCell::new(open().unwrap());
    let mut runner = TestRunner::new(Config::with_cases(48));
    let outcome = runner.run(&cases(), |case| {
        let Case {
            shape,
            rows,
            piece,
            seed,
        } = case;
        let mut numbers = Numbers(seed);
        let weights = numbers.weights(shape);
        let mut backend = backend.borrow_mut();
        let matrix = load(&mut *backend, shape, &weights, piece);
        let x = numbers.rows(rows, shape.k);
        for planes in BOTH {
            let y = backend.project(matrix, rows, &x, planes).unwrap();
            prop_assert_eq!(y, reference(shape, &weights, &x, planes));
        }
        for (plane, weights) in weights.iter().enumerate() {
            let read = backend.read(matrix, plane, 0, shape.n).unwrap();
            prop_assert_eq!(&read, weights);
            let (first, count) = (shape.n / 3, shape.n.div_ceil(4));
            let part = backend.read(matrix, plane, first, count).unwrap();
            prop_assert_eq!(&part[..], &weights[first * shape.k..][..count * shape.k]);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}

/// Residues modulo `p` at the ends of their own range and of the limbs that backends cut them into.
fn extreme_residues(p: u32) -> [u32; 8] {
    [
        p - 1,
        // Where centring changes the sign.
        p / 2,
        p / 2 + 1,
        // Unsigned bytes 255.
        0x77ff_ffff,
        // Signed bytes 127 and -128.
        0x007f_7f7f,
        p - 0x0080_8080,
        // Signed words -2^15 and 2^15 - 1.
        0x3000_8000,
        0x3000_7fff,
    ]
}

/// Largest and smallest weights and residues at the given k, each combination.
pub(super) fn check_extremes<B: Backend>(open: impl Fn() -> Result<B, BackendError>, ks: &[usize]) {
    let mut backend = open().unwrap();
    for k in ks {
        for format in [WeightFormat::Int16, WeightFormat::Int8] {
            let shape = MatrixShape {
                k: *k,
                n: 3,
                format,
            };
            let extremes = [-128, 127, -127];
            let plane: Vec<i8> = extremes.iter().flat_map(|w| vec![*w; *k]).collect();
            let weights = vec![plane; format.planes()];
            let matrix = load(&mut backend, shape, &weights, 3);
            let rows = extreme_residues(PRIMES[0]).len();
            let row = |i: usize| PRIMES.map(|p| vec![extreme_residues(p)[i]; *k]).concat();
            let x = (0..rows).flat_map(row).collect::<Vec<u32>>();
            for planes in BOTH {
                let y = backend.project(matrix, rows, &x, planes).unwrap();
                let expected = reference(shape, &weights, &x, planes);
                assert_eq!(y, expected, "k = {k}, {format:?}, {planes:?}");
            }
        }
    }
}

/// Indices and lengths that do not fit are errors, not panics.
pub(super) fn check_refusals<B: Backend>(open: impl Fn() -> Result<B, BackendError>) {
    let mut backend = open().unwrap();
    let shape = |k, n| MatrixShape {
        k,
        n,
        format: WeightFormat::Int8,
    };
    assert!(backend.add_matrix(shape(0, 4)).is_err());
    assert!(backend.add_matrix(shape(4, 0)).is_err());
    assert!(backend.add_matrix(shape(usize::MAX, usize::MAX)).is_err());
    let matrix = backend.add_matrix(shape(5, 3)).unwrap();
    assert!(backend.store(matrix + 1, 0, 0, &[0; 5]).is_err());
    assert!(backend.store(matrix, 1, 0, &[0; 5]).is_err());
    assert!(backend.store(matrix, 0, 0, &[0; 4]).is_err());
    assert!(backend.store(matrix, 0, 3, &[0; 5]).is_err());
    assert!(backend.store(matrix, 0, usize::MAX, &[0; 5]).is_err());
    backend.store(matrix, 0, 0, &[1; 15]).unwrap();
    assert!(backend.read(matrix, 0, 1, 3).is_err());
    assert!(backend.read(matrix, 0, 0, usize::MAX).is_err());
    for planes in BOTH {
        assert!(backend.project(matrix, 1, &[0; 9], planes).is_err());
        assert!(backend.project(matrix, 0, &[], planes).is_err());
        assert!(backend.project(matrix + 1, 1, &[0; 10], planes).is_err());
        let y = backend.project(matrix, 1, &[1; 10], planes).unwrap();
        assert_eq!(y, [5; 6]);
    }
}
