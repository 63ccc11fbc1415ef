//! What module-LWE masks take of the CVM's memory, known before any of it is allocated.

use std::fmt;

use talaria_arithmetic::PRIMES;
use talaria_arithmetic::module_lwe::{PARAMETERS, Parameters, PublicPolynomials};
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_wire::shape::MatrixShape;

use super::pool::{BATCHES, corrections};
use crate::cvm::CvmError;

/// What is left to everything else, as a fraction of what is free.
const SPARED: u64 = 8;

/// Bytes that masks take outside the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskMemory {
    /// Public polynomials A of the features.
    pub a: u64,
    /// R_pub of all projections.
    pub r_pub: u64,
    /// Pools of minted masks at their fullest.
    pub pools: u64,
}

impl MaskMemory {
    /// For these weight matrices.
    pub fn of(
        parameters: &Parameters,
        matrices: impl Iterator<Item = MatrixShape> + Clone,
    ) -> Self {
        let columns = |columns| PublicPolynomials::bytes_for(parameters, columns);
        let widest = matrices.clone().map(|shape| shape.k).max().unwrap_or(0);
        let rows = (BATCHES * parameters.degree * PRIMES.len() * RESIDUE_BYTES) as u64;
        let row = |shape: MatrixShape| (shape.k + corrections(shape)) as u64;
        Self {
            a: columns(widest),
            r_pub: matrices
                .clone()
                .map(|shape| columns(corrections(shape)))
                .sum(),
            pools: rows * matrices.map(row).sum::<u64>(),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.a + self.r_pub + self.pools
    }
}

impl fmt::Display for MaskMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (A {}, R_pub {}, pools of masks {})",
            gigabytes(self.total()),
            gigabytes(self.a),
            gigabytes(self.r_pub),
            gigabytes(self.pools)
        )
    }
}

/// Refuses what does not fit `limit` bytes, by default seven eighths of what the system has free.
pub(crate) fn reserve(
    parameters: &'static Parameters,
    shapes: &[MatrixShape],
    limit: Option<u64>,
) -> Result<MaskMemory, CvmError> {
    let of = |parameters| MaskMemory::of(parameters, shapes.iter().copied());
    let needed = of(parameters);
    let free = || free_bytes().map(|free| free - free / SPARED);
    let Some(available) = limit.or_else(free) else {
        return Ok(needed);
    };
    if needed.total() <= available {
        return Ok(needed);
    }
    let smallest = PARAMETERS.iter().map(|p| (p, of(p)));
    let smallest = smallest.min_by_key(|(_, memory)| memory.total());
    let smaller = smallest.filter(|(_, memory)| memory.total() < needed.total());
    Err(CvmError::MaskMemory {
        parameters: parameters.name,
        needed,
        available: gigabytes(available),
        advice: match smaller {
            Some((set, memory)) if memory.total() <= available => {
                format!("parameter set {} fits: it needs {memory}", set.name)
            }
            Some((set, memory)) => format!(
                "the smallest parameter set, {}, needs {memory}; try --weights int8, a smaller model, or \
                 masking shares with two hosts",
                set.name
            ),
            None => "this is the smallest parameter set: try --weights int8, a smaller model, or masking \
                     shares with two hosts"
                .into(),
        },
    })
}

/// Bytes that this process may still take: what the system has free, or its control group.
pub fn free_bytes() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = system.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let group = |file: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok()?;
        text.trim().parse().ok()
    };
    let in_group = group("memory.max").zip(group("memory.current"));
    let in_group = in_group.map_or(u64::MAX, |(max, now)| max.saturating_sub(now));
    Some(in_group.min(kib << 10))
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use talaria_wire::manifest::WeightFormat;

    const SHAPES: [MatrixShape; 2] = [
        MatrixShape {
            k: 1000,
            n: 32,
            format: WeightFormat::Int16,
        },
        MatrixShape {
            k: 64,
            n: 4096,
            format: WeightFormat::Int8,
        },
    ];

    fn set(name: &str) -> &'static Parameters {
        Parameters::find(name).unwrap()
    }

    #[test]
    fn too_little_names_the_numbers_and_the_smaller_set() {
        let large = reserve(set("512x5"), &SHAPES, Some(1 << 40)).unwrap();
        let small = reserve(set("256x10"), &SHAPES, Some(1 << 40)).unwrap();
        // Public polynomials have degree x rank coefficients, pools degree rows.
        assert_eq!((large.a, large.r_pub), (small.a, small.r_pub));
        assert_eq!(large.pools, 2 * small.pools);
        assert_eq!(large.pools, 2 * 512 * 2 * 4 * (1000 + 64 + 64 + 4096));

        let refused = |name, limit| {
            reserve(set(name), &SHAPES, Some(limit))
                .unwrap_err()
                .to_string()
        };
        let error = refused("512x5", small.total());
        assert!(error.contains("256x10 fits"), "{error}");
        assert!(error.contains(&gigabytes(large.total())), "{error}");
        let error = refused("512x5", 1);
        assert!(error.contains("smallest parameter set, 256x10"), "{error}");
        let error = refused("256x10", 1);
        assert!(error.contains("this is the smallest"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_what_is_free() {
        assert!(free_bytes().unwrap() > 1 << 20);
    }
}
