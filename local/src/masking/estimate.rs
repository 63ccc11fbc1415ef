//! Memory, security and time of a scheme with a model.

use serde::Serialize;
use talaria_arithmetic::exactness::{delta_bits, row_bits};
use talaria_host_cvm::{MaskMemory, Masking, MatrixShape, PARAMETERS, Parameters, Part, Rehearsal};
use talaria_host_gpu::weights::Surveyed;
use talaria_wire::manifest::{Role, WeightFormat};
use talaria_wire::shape::Planes;

use crate::error::LocalError;

/// Rank of remo as a fraction of k: the default of `run`.
const REMO_RANK: f32 = 0.5;
/// remo is timed on a square matrix of this size, as larger ones do not fit an instance.
const REMO_SIZE: usize = 1024;

/// Matrices of one role: one a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Matrices {
    /// `embedding`, `qkv`.
    pub role: &'static str,
    /// How many there are.
    pub count: usize,
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Bits b_x of a row, the smallest over the layers.
    pub row_bits: u32,
    /// log2 Delta, the largest over the layers.
    pub delta_bits: u32,
}

/// A checkpoint's matrices.
pub(super) struct Model {
    /// In the order of a forward pass.
    pub roles: Vec<Matrices>,
    /// How weights are stored.
    pub format: WeightFormat,
}

impl Model {
    pub(super) fn of(surveyed: Vec<Surveyed>, format: WeightFormat) -> Self {
        let mut roles: Vec<Matrices> = Vec::new();
        for matrix in surveyed {
            let bits = match matrix.place.role {
                // One-hot rows.
                Role::Embedding => 2,
                // The survey has refused what is too wide.
                _ => row_bits(matrix.plane_l1).unwrap_or_default(),
            };
            let delta = delta_bits(matrix.plane_l1);
            let role = matrix.place.role.name();
            match roles.iter_mut().find(|r| r.role == role) {
                Some(found) => {
                    found.count += 1;
                    found.row_bits = found.row_bits.min(bits);
                    found.delta_bits = found.delta_bits.max(delta);
                }
                None => roles.push(Matrices {
                    role,
                    count: 1,
                    k: matrix.shape.k,
                    n: matrix.shape.n,
                    row_bits: bits,
                    delta_bits: delta,
                }),
            }
        }
        Self { roles, format }
    }

    fn shape(&self, k: usize, n: usize) -> MatrixShape {
        let format = self.format;
        MatrixShape { k, n, format }
    }

    /// Every matrix.
    fn matrices(&self) -> impl Iterator<Item = MatrixShape> + Clone {
        self.roles
            .iter()
            .flat_map(|r| std::iter::repeat_n(self.shape(r.k, r.n), r.count))
    }
}

/// A masking with its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scheme {
    /// One without parameters that matter here.
    Plain(Masking),
    /// Module-LWE with a parameter set.
    ModuleLwe(&'static Parameters),
}

/// What a scheme comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Estimate {
    /// As on the command line.
    pub masking: &'static str,
    /// Parameter set of module-lwe.
    pub parameters: Option<&'static str>,
    /// GPU hosts.
    pub hosts: usize,
    /// What hides a row.
    pub security: String,
    /// log2 of the work of the best attack known to the estimate, where there is one.
    pub security_bits: Option<u32>,
    /// Bytes of A, the public polynomials.
    pub a_bytes: u64,
    /// Bytes of R_pub.
    pub r_pub_bytes: u64,
    /// Bytes of pools of minted masks, or 0.
    pub pool_bytes: u64,
    /// Milliseconds of one CVM core for a token: mask, check and unmask.
    pub online_ms: f64,
    /// Milliseconds of one CVM core for a token's masks, made ahead.
    pub minting_ms: f64,
}

impl Scheme {
    /// Every scheme, safest first.
    pub(super) fn all() -> impl Iterator<Item = Scheme> {
        let plain = [Masking::Remo, Masking::DangerousPlaintext].map(Scheme::Plain);
        std::iter::once(Scheme::Plain(Masking::Shares))
            .chain(
                PARAMETERS
                    .iter()
                    .filter_map(|set| Parameters::find(set.name))
                    .map(Scheme::ModuleLwe),
            )
            .chain(plain)
    }

    fn masking(self) -> Masking {
        match self {
            Scheme::Plain(masking) => masking,
            Scheme::ModuleLwe(_) => Masking::ModuleLwe,
        }
    }

    /// # Errors
    /// If the payload fails.
    pub(super) fn estimate(
        self,
        model: &Model,
        rehearsal: &mut Rehearsal,
    ) -> Result<Estimate, LocalError> {
        let masking = self.masking();
        let mut estimate = Estimate {
            masking: masking.name(),
            parameters: None,
            hosts: masking.hosts(),
            security: masking.security().into(),
            security_bits: None,
            a_bytes: 0,
            r_pub_bytes: 0,
            pool_bytes: 0,
            online_ms: online_ms(masking, model, rehearsal)?,
            minting_ms: 0.0,
        };
        if let Scheme::ModuleLwe(parameters) = self {
            let memory = MaskMemory::of(parameters, model.matrices());
            let columns = |shape: MatrixShape| shape.k + shape.outputs(Planes::Apart);
            let columns: usize = model.matrices().map(columns).sum();
            estimate.parameters = Some(parameters.name);
            estimate.security_bits = Some(parameters.security_bits);
            estimate.security = format!("Module-LWE, about {} bits", parameters.security_bits);
            estimate.a_bytes = memory.a;
            estimate.r_pub_bytes = memory.r_pub;
            estimate.pool_bytes = memory.pools;
            estimate.minting_ms = rehearsal.minting(parameters)? * columns as f64 / 1e6;
        }
        Ok(estimate)
    }
}

/// One row through every matrix: mask, check and unmask, each timed on the matrix's own shape.
fn online_ms(
    masking: Masking,
    model: &Model,
    rehearsal: &mut Rehearsal,
) -> Result<f64, LocalError> {
    let mut parts = |masking, k: usize, n: usize, parts: &[Part]| {
        let shape = model.shape(k, n);
        let times = rehearsal.parts((masking, REMO_RANK), shape, 1, parts)?;
        let total: f64 = times.iter().map(|time| time.as_secs_f64() * 1e3).sum();
        Ok::<_, LocalError>(total)
    };
    let mut total = 0.0;
    for role in &model.roles {
        let (k, n) = (role.k, role.n);
        let once = match masking {
            // Its mask is rank x (k + n) multiply-adds.
            Masking::Remo => {
                let size = REMO_SIZE;
                let rank = |k: usize| f64::from(REMO_RANK) * k.min(n) as f64;
                let unit = parts(masking, size, size, &[Part::Mask])?
                    / (f64::from(REMO_RANK) * size as f64 * 2.0 * size as f64);
                let rest = [Part::Check, Part::Unmask];
                let plain = parts(Masking::DangerousPlaintext, k, n, &rest)?;
                unit * rank(k) * (k + n) as f64 + plain
            }
            _ => parts(masking, k, n, &[Part::Mask, Part::Check, Part::Unmask])?,
        };
        total += once * role.count as f64;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use talaria_wire::manifest::Place;

    #[test]
    fn layers_of_a_role_are_one_line() {
        let format = WeightFormat::Int16;
        let matrix = |place, k, n, plane_l1| Surveyed {
            place,
            shape: MatrixShape { k, n, format },
            plane_l1,
        };
        let surveyed = vec![
            matrix(Place::EMBEDDING, 40, 8, 4000),
            matrix(Role::Qkv.of(0), 8, 16, 127 * 4096),
            matrix(Role::Qkv.of(1), 8, 16, 100),
        ];
        let model = Model::of(surveyed, format);
        assert_eq!(model.roles.len(), 2);
        let qkv = &model.roles[1];
        assert_eq!((qkv.count, qkv.row_bits, qkv.delta_bits), (2, 17, 25));
        assert_eq!(model.roles[0].row_bits, 2);
        let matrices: Vec<_> = model.matrices().map(|m| (m.k, m.n)).collect();
        assert_eq!(matrices, [(40, 8), (8, 16), (8, 16)]);
    }
}
