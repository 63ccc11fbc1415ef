//! Randomness of attacks and baselines: ChaCha20 under a seed, so that a run can be repeated. Never used for masks
//! of the real system.

use std::f64::consts::TAU;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use talaria_arithmetic::PRIMES;

/// A generator for one purpose.
pub struct Dice(ChaCha20Rng);

impl Dice {
    /// The generator of `purpose` under `seed`: other purposes get independent streams.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (i, byte) in purpose.bytes().enumerate() {
            key[8 + i % 24] = key[8 + i % 24].rotate_left(3) ^ byte;
        }
        Self(ChaCha20Rng::from_seed(key))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n, for n far below 2^32.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Uniform below p < 2^31.
    pub fn residue(&mut self, p: u32) -> u32 {
        loop {
            let word = self.0.next_u32() & 0x7fff_ffff;
            if word < p {
                return word;
            }
        }
    }

    /// A row of uniform residues: k modulo P1, then k modulo P2.
    pub fn row(&mut self, k: usize) -> Vec<u32> {
        let half = |p: u32| (0..k).map(|_| self.residue(p)).collect::<Vec<_>>();
        PRIMES.map(half).concat()
    }

    /// A random order of 0..n (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}
