//! Faults injected into answers, so that tests can watch a caller meet a lying or broken host. Part of
//! the library only: no command line reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use talaria_arithmetic::PRIMES;
use talaria_arithmetic::residue::RESIDUE_BYTES;

use crate::scheduler::rows::to_little_endian;

/// What goes wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultInjection {
    /// Adds `delta` to one residue, modulo its prime; `residue` counts over the whole answer and wraps
    /// around.
    FlipResidue {
        /// Which residue.
        residue: usize,
        /// What is added.
        delta: u32,
    },
    /// Cuts the answer to so many bytes, or fills it up to them with zeros.
    WrongLength {
        /// Bytes sent.
        bytes: usize,
    },
    /// Every byte 0xff: the right length, and no residues.
    Garbage,
    /// The right answer after so many milliseconds.
    Late {
        /// Delay.
        milliseconds: u64,
    },
    /// The stream breaks instead of an answer.
    Disconnect,
    /// Neither answer nor end.
    Silence,
}

/// An answer about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Products sent by this host before.
    pub nth: u64,
    /// Index of the projection.
    pub projection: usize,
    /// Number of rows.
    pub rows: usize,
    /// Residues of a row modulo one prime: n of the projection, or planes x n where planes are apart.
    pub n: usize,
}

/// Decides which answers meet a fault.
pub type Faults = Arc<dyn Fn(&Answer) -> Option<FaultInjection> + Send + Sync>;

/// Faults of one host.
pub(super) struct Injector {
    faults: Faults,
    answers: AtomicU64,
}

impl Injector {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            answers: AtomicU64::new(0),
        }
    }

    /// What to send in place of a right answer for `rows` rows with n outputs each.
    pub(super) fn apply(
        &self,
        (projection, rows, n): (usize, usize, usize),
        right: Bytes,
    ) -> Faulty {
        let answer = Answer {
            nth: self.answers.fetch_add(1, Ordering::Relaxed),
            projection,
            rows,
            n,
        };
        match (self.faults)(&answer) {
            Some(fault) => fault.apply(&answer, right),
            None => Faulty::Bytes(right, Duration::ZERO),
        }
    }
}

/// What is sent instead of a right answer.
pub(super) enum Faulty {
    /// These bytes, after the delay.
    Bytes(Bytes, Duration),
    /// The end of the stream.
    Disconnect,
    /// Nothing.
    Silence,
}

impl FaultInjection {
    fn apply(&self, answer: &Answer, right: Bytes) -> Faulty {
        let at_once = |bytes| Faulty::Bytes(bytes, Duration::ZERO);
        match *self {
            Self::FlipResidue { residue, delta } => at_once(flip(&right, answer.n, residue, delta)),
            Self::WrongLength { bytes } => {
                let mut wrong = right.to_vec();
                wrong.resize(bytes, 0);
                at_once(wrong.into())
            }
            Self::Garbage => at_once(vec![0xff; right.len()].into()),
            Self::Late { milliseconds } => {
                Faulty::Bytes(right, Duration::from_millis(milliseconds))
            }
            Self::Disconnect => Faulty::Disconnect,
            Self::Silence => Faulty::Silence,
        }
    }
}

fn flip(right: &[u8], n: usize, residue: usize, delta: u32) -> Bytes {
    let (words, _) = right.as_chunks::<RESIDUE_BYTES>();
    let mut residues: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let at = residue % residues.len();
    let prime = u64::from(PRIMES[at / n % 2]);
    let sum = (u64::from(residues[at]) + u64::from(delta)) % prime;
    residues[at] = sum as u32;
    to_little_endian(residues)
}
