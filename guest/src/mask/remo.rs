//! ReMO, the paper's masking (section 4): `Xhat = X + M_pvt M_pub` with M_pub (m,k) public and M_pvt (1,m) fresh
//! for each row, both uniform modulo each prime; `X W = Y - M_pvt R_pub` with `R_pub = M_pub W`.
//!
//! It hides only what lies in the row space of M_pub: whoever projects onto the other k - m dimensions gets
//! X there. It is here as the paper's protocol and as a baseline.

use super::{
    MaskedRows, NoMasks, Shipment, WrongHost,
    scheme::{Hidden, MaskingError, MaskingScheme},
};
use crate::{
    check::Rows,
    fixed_point::FixedRows,
    projection::Projection,
    setup::Options,
    world::{World, fresh_seed},
};
use talaria_arithmetic::{
    PRIMES, keystream,
    residue::{self, RESIDUE_BYTES},
};
use talaria_wire::shape::Planes;
use zeroize::Zeroizing;

/// Key of M_pub: public, the same everywhere; a nothing-up-my-sleeve number.
const M_PUB_SEED: [u8; 32] = *b"talaria remo: public rows, v1...";

/// Rows of M_pub projected in one call at set-up.
const SETUP_ROWS: usize = 32;

/// Bytes of M_pub and R_pub that fit an instance of 4 GiB beside caches and rows.
const MEMORY_LIMIT: u64 = 3 << 29;

/// Public matrices of every projection.
pub(super) struct Remo {
    /// m / k; m is at least 1 and, for the one-hot embedding, at most `hidden_size`.
    rank: f32,
    /// For each projection, once set up: m, M_pub as m x (k modulo P1, k modulo P2), R_pub as m x (n modulo P1, n modulo P2).
    matrices: Vec<PublicRows>,
}

struct PublicRows {
    m: usize,
    m_pub: Vec<u32>,
    r_pub: Vec<u32>,
}

impl Remo {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let rank = options.remo_rank;
        match rank > 0.0 && rank <= 1.0 {
            true => Ok(Self {
                rank,
                matrices: Vec::new(),
            }),
            false => Err(format!(
                "remo-rank = {rank}, expected a fraction above 0 and at most 1"
            )),
        }
    }
}

impl MaskingScheme for Remo {
    fn name(&self) -> String {
        format!("remo {}", self.rank)
    }

    fn leaks(&self) -> String {
        format!(
            "remo of rank {} k hides only the row space of its public matrices: the GPU host sees the other {:.0} % of every activation's dimensions in the clear, and can read every token of prompt and reply from the embedding's one-hot rows. Use shares with two hosts to hide them.",
            self.rank,
            100.0 * (1.0 - self.rank)
        )
    }

    /// Projects the rows of M_pub for every projection and checks each product: the host needs no probe besides.
    fn set_up(
        &mut self,
        projections: &[Projection],
        world: &mut dyn World,
    ) -> Result<(), MaskingError> {
        let rank = self.rank;
        let bytes: u64 = projections
            .iter()
            .map(|p| (rows_of(rank, p) * (p.k + p.n) * 2 * RESIDUE_BYTES) as u64)
            .sum();
        if bytes > MEMORY_LIMIT {
            let (needed, limit) = (bytes >> 20, MEMORY_LIMIT >> 20);
            return Err(MaskingError::Scheme(format!(
                "remo of rank {rank} needs {needed} MB for M_pub and R_pub, an instance has {limit}: lower \
                 --remo-rank or use shares"
            )));
        }
        let fetch = |p| PublicRows::fetch(rows_of(rank, p), p, world);
        self.matrices = projections.iter().map(fetch).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Public rows of zeros.
    fn make_up(&mut self, projection: &Projection) {
        let m = rows_of(self.rank, projection);
        self.matrices = vec![PublicRows {
            m,
            m_pub: vec![0; m * 2 * projection.k],
            r_pub: vec![0; m * 2 * projection.n],
        }];
    }

    fn hide(
        &self,
        projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Hidden, NoMasks> {
        let (k, n) = (projection.k, projection.n);
        let public = &self.matrices[projection.index as usize];
        let mut masked = x.residues();
        let mut corrections = Zeroizing::new(Vec::with_capacity(x.rows() * 2 * n));
        for row in masked.chunks_exact_mut(2 * k) {
            let mut m_pvt = Zeroizing::new(vec![0; 2 * public.m]);
            keystream::expand_row(&fresh_seed(world), 0, &mut m_pvt);
            let mask = combination(&m_pvt, &public.m_pub, k);
            for (i, (row, mask)) in row
                .chunks_exact_mut(k)
                .zip(mask.chunks_exact(k))
                .enumerate()
            {
                let halves = row.iter_mut().zip(mask);
                halves.for_each(|(x, m)| *x = residue::add(*x, *m, PRIMES[i]));
            }
            corrections.extend_from_slice(&combination(&m_pvt, &public.r_pub, n));
        }
        Ok((vec![Shipment::Residues(masked)], corrections))
    }
}

/// m of a projection: at least 1, at most k, and for the one-hot embedding at most n.
fn rows_of(rank: f32, p: &Projection) -> usize {
    let m = (f64::from(rank) * p.k as f64).round() as usize;
    m.clamp(1, if p.is_embedding { p.n.min(p.k) } else { p.k })
}

impl PublicRows {
    fn fetch(
        m: usize,
        projection: &Projection,
        world: &mut dyn World,
    ) -> Result<Self, MaskingError> {
        let (k, n) = (projection.k, projection.n);
        let m_pub = keystream::expand_rows(&M_PUB_SEED, m, k);
        let mut r_pub = Vec::with_capacity(m * 2 * n);
        for rows in m_pub.chunks(SETUP_ROWS * 2 * k) {
            let sent = MaskedRows {
                projection: projection.index,
                rows: (rows.len() / (2 * k)) as u32,
                planes: Planes::Joined,
                shipments: vec![Shipment::Residues(rows.to_vec())],
            };
            let y = world.project(&sent)?.pop().unwrap_or_default();
            let checked = projection.check.check(Rows::Residues(rows), y);
            r_pub.extend(checked.map_err(|_| WrongHost(1))?.into_residues());
        }
        Ok(Self { m, m_pub, r_pub })
    }
}

/// `s (m,) @ rows (m,len)` modulo each prime; both hold residues modulo P1, then modulo P2.
fn combination(s: &[u32], rows: &[u32], len: usize) -> Zeroizing<Vec<u32>> {
    let m = s.len() / 2;
    let mut out = Zeroizing::new(Vec::with_capacity(2 * len));
    let (mut low, mut high) = (
        Zeroizing::new(vec![0u64; len]),
        Zeroizing::new(vec![0u64; len]),
    );
    for (i, p) in PRIMES.into_iter().enumerate() {
        low.fill(0);
        high.fill(0);
        for (s, row) in s[i * m..][..m].iter().zip(rows.chunks_exact(2 * len)) {
            // Halves of products summed apart: 2^32 terms fit.
            for ((low, high), r) in low
                .iter_mut()
                .zip(high.iter_mut())
                .zip(&row[i * len..][..len])
            {
                let product = u64::from(*s) * u64::from(*r);
                *low += product & 0xffff_ffff;
                *high += product >> 32;
            }
        }
        let sums = low.iter().zip(high.iter());
        out.extend(sums.map(|(low, high)| residue::from_halves(*low, *high, p)));
    }
    out
}
