//! Rows of residues as they arrive: parsed once, so that everything behind may rely on them.

use bytes::Bytes;
use rayon::prelude::*;
use talaria_arithmetic::PRIMES;
use talaria_arithmetic::keystream::{SEED_BYTES, expand_row};
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_transport::weighted::ProjectRequest;
use talaria_transport::weighted::project_request::Body;

use crate::backend::{MatrixShape, Planes};

/// Most bytes of a product: a message's length has 32 bits, and its other fields take a few bytes.
const MAX_PRODUCT_BYTES: usize = u32::MAX as usize - 1024;

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
    /// The product is larger than any message.
    #[error("a product of {found} bytes, at most {MAX_PRODUCT_BYTES} are sent: split the request")]
    Product {
        /// Bytes of the product.
        found: usize,
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
    planes: Planes,
    shape: MatrixShape,
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
        shapes: &[MatrixShape],
        max_rows: usize,
        request: ProjectRequest,
    ) -> Result<Self, InvalidRows> {
        let projection = request.projection as usize;
        let shape = *shapes.get(projection).ok_or(InvalidRows::Projection {
            found: request.projection,
            projections: shapes.len(),
        })?;
        let rows = request.rows as usize;
        if !(1..=max_rows).contains(&rows) {
            return Err(InvalidRows::RowCount {
                found: request.rows,
                max: max_rows,
            });
        }
        let planes = Planes::apart_if(request.planes_apart);
        let found = shape.output_bytes(rows, planes);
        if found > MAX_PRODUCT_BYTES {
            return Err(InvalidRows::Product { found });
        }
        Ok(Self {
            projection,
            rows,
            planes,
            shape,
            body: ClaimBody::parse(request.body, shape.input_bytes(rows))?,
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

    /// What the product does with the planes.
    pub fn planes(&self) -> Planes {
        self.planes
    }

    /// Residues of a row of the product modulo one prime.
    pub fn outputs(&self) -> usize {
        self.shape.outputs(self.planes)
    }

    /// Residues or seed as they came.
    pub fn body(&self) -> &ClaimBody {
        &self.body
    }

    /// Bytes of residues that the request occupies, in and out.
    pub fn bytes(&self) -> u64 {
        let output_bytes = self.shape.output_bytes(self.rows, self.planes);
        (self.shape.input_bytes(self.rows) + output_bytes) as u64
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
            planes: self.planes,
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
    planes: Planes,
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

    /// What the product does with the planes.
    pub fn planes(&self) -> Planes {
        self.planes
    }

    /// Whether these rows and others are rows of one product.
    pub(super) fn joins(&self, other: &Self) -> bool {
        (self.projection, self.planes) == (other.projection, other.planes)
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
    use talaria_wire::manifest::WeightFormat;

    const SHAPES: [MatrixShape; 3] = [
        MatrixShape {
            k: 3,
            n: 2,
            format: WeightFormat::Int16,
        },
        MatrixShape {
            k: 5,
            n: 7,
            format: WeightFormat::Int8,
        },
        MatrixShape {
            k: 1,
            n: 1 << 27,
            format: WeightFormat::Int16,
        },
    ];

    fn claim(
        projection: u32,
        rows: u32,
        body: Option<Body>,
        planes_apart: bool,
    ) -> Result<Claim, InvalidRows> {
        let request = ProjectRequest {
            id: 1,
            projection,
            rows,
            deadline_ms: 0,
            body,
            planes_apart,
        };
        Claim::parse(&SHAPES, 4, request)
    }

    fn parse(projection: u32, rows: u32, body: Option<Body>) -> Result<Rows, InvalidRows> {
        claim(projection, rows, body, false)?.into_rows()
    }

    fn residues(values: &[u32]) -> Option<Body> {
        Some(Body::Residues(to_little_endian(values.to_vec())))
    }

    #[test]
    fn refuses_what_contradicts_the_manifest() {
        let projection = InvalidRows::Projection {
            found: 3,
            projections: 3,
        };
        assert_eq!(parse(3, 1, residues(&[0; 6])), Err(projection));
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

    #[test]
    fn planes_apart_take_room_for_as_many_outputs() {
        let seed = || Some(Body::Seed(vec![0; 32].into()));
        for (projection, apart, outputs) in
            [(0, false, 2), (0, true, 4), (1, false, 7), (1, true, 7)]
        {
            let claim = claim(projection, 3, seed(), apart).unwrap();
            assert_eq!(claim.outputs(), outputs);
            let k = SHAPES[projection as usize].k;
            assert_eq!(claim.bytes(), 3 * 2 * 4 * (k + outputs) as u64);
        }
    }

    #[test]
    fn products_are_no_longer_than_a_message() {
        let seed = || Some(Body::Seed(vec![0; 32].into()));
        // 2^27 columns: 1 GiB a row, 2 GiB with planes apart.
        assert!(claim(2, 3, seed(), false).is_ok());
        assert!(claim(2, 1, seed(), true).is_ok());
        for (rows, apart) in [(4, false), (2, true)] {
            let refused = claim(2, rows, seed(), apart).unwrap_err();
            assert_eq!(refused, InvalidRows::Product { found: 4 << 30 });
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
