//! Rows of residues as they arrive: parsed once, so that everything behind may rely on them.

use bytes::Bytes;
use rayon::prelude::*;
use talaria_arithmetic::PRIMES;
use talaria_arithmetic::keystream::{SEED_BYTES, expand_row};
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_wire::manifest::Manifest;
use talaria_wire::weighted::project_request::Body;

/// Inputs and outputs of a projection's matrix `W (k,n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
}

impl Shape {
    /// Of every projection of a manifest, in order.
    pub fn of_manifest(manifest: &Manifest) -> Vec<Self> {
        let shape = |k: u32, n: u32| Self {
            k: k as usize,
            n: n as usize,
        };
        manifest
            .projections
            .iter()
            .map(|p| shape(p.k, p.n))
            .collect()
    }

    /// Bytes of rows of this matrix: k residues modulo each of two primes.
    pub const fn input_bytes(self, rows: usize) -> usize {
        rows * 2 * self.k * RESIDUE_BYTES
    }

    /// Bytes of products of this matrix: n residues modulo each of two primes.
    pub const fn output_bytes(self, rows: usize) -> usize {
        rows * 2 * self.n * RESIDUE_BYTES
    }
}

/// Why a request is no rows for a matrix of this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRows {
    /// No such matrix.
    #[error("projection {found}, the manifest has {projections}: fetch the host's manifest again")]
    Projection {
        /// Index asked for.
        found: u32,
        /// Projections of the manifest.
        projections: usize,
    },
    /// None, or too many at once.
    #[error("{found} rows, expected 1..={max}: split the request")]
    RowCount {
        /// Rows announced.
        found: u32,
        /// Most rows of a request.
        max: usize,
    },
    /// Neither residues nor a seed.
    #[error("neither residues nor a seed: both sides must be of one release")]
    NoBody,
    /// Not rows x 2k residues.
    #[error("{found} bytes of residues, expected {expected}: rows x 2k x {RESIDUE_BYTES}")]
    Length {
        /// Bytes for the rows announced.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// Not a key.
    #[error("a seed of {0} bytes, expected {SEED_BYTES}")]
    SeedLength(usize),
    /// A residue is not below its prime.
    #[error("row {row}: residue {found} is not below its prime {prime}")]
    Residue {
        /// Row of the request.
        row: usize,
        /// The residue.
        found: u32,
        /// Its prime.
        prime: u32,
    },
}

/// A request whose counts and lengths agree with the manifest; its residues are unread.
#[derive(Clone, Debug)]
pub struct Claim {
    projection: usize,
    rows: usize,
    shape: Shape,
    body: ClaimBody,
}

/// What a host is given for rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimBody {
    /// rows x (k residues modulo P1, then k modulo P2), little-endian u32.
    Residues(Bytes),
    /// The key that expands to the same layout.
    Seed([u8; SEED_BYTES]),
}

impl Claim {
    /// Checks everything that needs no look at the residues.
    ///
    /// # Errors
    /// What the request contradicts.
    pub fn parse(
        shapes: &[Shape],
        max_rows: usize,
        (projection, rows): (u32, u32),
        body: Option<Body>,
    ) -> Result<Self, InvalidRows> {
        let shape = *shapes
            .get(projection as usize)
            .ok_or(InvalidRows::Projection {
                found: projection,
                projections: shapes.len(),
            })?;
        let count = rows as usize;
        if !(1..=max_rows).contains(&count) {
            return Err(InvalidRows::RowCount {
                found: rows,
                max: max_rows,
            });
        }
        Ok(Self {
            projection: projection as usize,
            rows: count,
            shape,
            body: ClaimBody::parse(body, shape.input_bytes(count))?,
        })
    }

    /// Index of the projection.
    pub fn projection(&self) -> usize {
        self.projection
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Outputs n of the projection.
    pub fn outputs(&self) -> usize {
        self.shape.n
    }

    /// Residues or seed as they came.
    pub fn body(&self) -> &ClaimBody {
        &self.body
    }

    /// Bytes of residues that the request occupies, in and out.
    pub fn bytes(&self) -> u64 {
        (self.shape.input_bytes(self.rows) + self.shape.output_bytes(self.rows)) as u64
    }

    /// Whether [`Claim::into_rows`] takes so long (some 50 us) that no other caller should wait for it.
    pub fn is_long(&self) -> bool {
        let residues = self.rows * 2 * self.shape.k;
        match self.body {
            ClaimBody::Residues(_) => residues > 1 << 17,
            ClaimBody::Seed(_) => residues > 1 << 14,
        }
    }

    /// Reads or expands the residues; rows are expanded in parallel.
    ///
    /// # Errors
    /// [`InvalidRows::Residue`].
    pub fn into_rows(self) -> Result<Rows, InvalidRows> {
        let row_residues = 2 * self.shape.k;
        let residues = match &self.body {
            ClaimBody::Residues(bytes) => {
                let residues = from_little_endian(bytes);
                check_residues(&residues, self.shape.k)?;
                residues
            }
            ClaimBody::Seed(seed) => expand(seed, self.rows, row_residues),
        };
        Ok(Rows {
            projection: self.projection,
            rows: self.rows,
            residues,
        })
    }
}

impl ClaimBody {
    fn parse(body: Option<Body>, expected: usize) -> Result<Self, InvalidRows> {
        match body.ok_or(InvalidRows::NoBody)? {
            Body::Residues(bytes) if bytes.len() == expected => Ok(Self::Residues(bytes)),
            Body::Residues(bytes) => Err(InvalidRows::Length {
                expected,
                found: bytes.len(),
            }),
            Body::Seed(bytes) => <[u8; SEED_BYTES]>::try_from(&bytes[..])
                .map(Self::Seed)
                .map_err(|_| InvalidRows::SeedLength(bytes.len())),
        }
    }
}

/// Rows for one projection with every residue below its prime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    projection: usize,
    rows: usize,
    residues: Vec<u32>,
}

impl Rows {
    /// Index of the projection.
    pub fn projection(&self) -> usize {
        self.projection
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Moves the residues out, as they enter the product.
    pub(super) fn take_residues(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.residues)
    }
}

fn expand(seed: &[u8; SEED_BYTES], rows: usize, row_residues: usize) -> Vec<u32> {
    let mut residues = vec![0; rows * row_residues];
    if rows == 1 {
        expand_row(seed, 0, &mut residues);
        return residues;
    }
    residues
        .par_chunks_exact_mut(row_residues)
        .enumerate()
        .for_each(|(row, out)| expand_row(seed, row as u32, out));
    residues
}

/// Every residue is below its prime: halves of k alternate between the primes.
fn check_residues(residues: &[u32], k: usize) -> Result<(), InvalidRows> {
    for (half, residues) in residues.chunks_exact(k).enumerate() {
        let prime = PRIMES[half % 2];
        let found = residues
            .iter()
            .fold(0, |largest, residue| largest.max(*residue));
        if found >= prime {
            return Err(InvalidRows::Residue {
                row: half / 2,
                found,
                prime,
            });
        }
    }
    Ok(())
}

/// Residues of wire bytes; the caller has checked that the length is a multiple of four.
fn from_little_endian(bytes: &[u8]) -> Vec<u32> {
    let mut residues: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
    if cfg!(target_endian = "big") {
        residues.iter_mut().for_each(|r| *r = u32::from_le(*r));
    }
    residues
}

/// Wire bytes of residues, in the same memory.
pub fn to_little_endian(mut residues: Vec<u32>) -> Bytes {
    struct Owner(Vec<u32>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    if cfg!(target_endian = "big") {
        residues.iter_mut().for_each(|r| *r = r.to_le());
    }
    Bytes::from_owner(Owner(residues))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use talaria_arithmetic::keystream::expand_rows;
    use talaria_arithmetic::{P1, P2};

    const SHAPES: [Shape; 2] = [Shape { k: 3, n: 2 }, Shape { k: 5, n: 7 }];

    fn parse(projection: u32, rows: u32, body: Option<Body>) -> Result<Rows, InvalidRows> {
        Claim::parse(&SHAPES, 4, (projection, rows), body)?.into_rows()
    }

    fn residues(values: &[u32]) -> Option<Body> {
        Some(Body::Residues(to_little_endian(values.to_vec())))
    }

    #[test]
    fn refuses_what_contradicts_the_manifest() {
        let projection = InvalidRows::Projection {
            found: 2,
            projections: 2,
        };
        assert_eq!(parse(2, 1, residues(&[0; 6])), Err(projection));
        for found in [0, 5, u32::MAX] {
            let count = InvalidRows::RowCount { found, max: 4 };
            assert_eq!(parse(0, found, residues(&[0; 6])), Err(count));
        }
        assert_eq!(parse(0, 1, None), Err(InvalidRows::NoBody));
        for found in [0, 20, 23, 25, 28, 48] {
            let length = InvalidRows::Length {
                expected: 24,
                found,
            };
            let body = Some(Body::Residues(vec![0; found].into()));
            assert_eq!(parse(0, 1, body), Err(length));
        }
        for found in [0, 31, 33] {
            let body = Some(Body::Seed(vec![0; found].into()));
            assert_eq!(parse(0, 1, body), Err(InvalidRows::SeedLength(found)));
        }
    }

    proptest! {
        #[test]
        fn refuses_any_residue_that_is_not_below_its_prime(at in 0usize..18, above in 0u32..1 << 31) {
            let mut values = [P1 - 1, P1 - 1, P1 - 1, P2 - 1, P2 - 1, P2 - 1].repeat(3);
            prop_assert!(parse(0, 3, residues(&values)).is_ok());
            let prime = PRIMES[at / 3 % 2];
            let found = prime + above;
            values[at] = found;
            let expected = InvalidRows::Residue { row: at / 6, found, prime };
            prop_assert_eq!(parse(0, 3, residues(&values)), Err(expected));
        }

        #[test]
        fn bytes_survive_any_alignment(values in prop::collection::vec(0..P1, 24), offset in 0usize..4) {
            let mut bytes = vec![0xff; offset];
            values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            let body = Some(Body::Residues(Bytes::from(bytes).slice(offset..)));
            prop_assert_eq!(parse(0, 4, body).unwrap().take_residues(), values);
        }

        #[test]
        fn seeds_expand_as_the_payload_expects(seed: [u8; 32], rows in 1u32..=4) {
            let body = Some(Body::Seed(seed.to_vec().into()));
            let expected = expand_rows(&seed, rows as usize, 5);
            prop_assert_eq!(parse(1, rows, body).unwrap().take_residues(), expected);
        }
    }
}
