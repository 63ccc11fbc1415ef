//! Buffers of a call, kept between calls.

use super::super::BackendError;
use super::device::Gpu;
use super::pipelines::{PARAMS_STRIDE, Pipelines};
use wgpu::{BindGroup, Buffer, BufferUsages};

/// Bytes that a call needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Dispatches with parameters of their own.
    pub params: u64,
    /// Residues in.
    pub x: u64,
    /// Limbs.
    pub limbs: u64,
    /// Residues out, of each range of steps.
    pub y: u64,
    /// Residues out.
    pub readback: u64,
}

impl Sizes {
    fn fit(self, other: Sizes) -> bool {
        self.params <= other.params
            && self.x <= other.x
            && self.limbs <= other.limbs
            && self.y <= other.y
            && self.readback <= other.readback
    }

    fn max(self, other: Sizes) -> Sizes {
        Sizes {
            params: self.params.max(other.params),
            x: self.x.max(other.x),
            limbs: self.limbs.max(other.limbs),
            y: self.y.max(other.y),
            readback: self.readback.max(other.readback),
        }
    }
}

/// Buffers and their bindings.
pub(super) struct Scratch {
    sizes: Sizes,
    pub params: Buffer,
    pub x: Buffer,
    pub y: Buffer,
    pub readback: Buffer,
    /// x -> limbs
    pub cut: BindGroup,
    /// limbs -> y
    pub project: BindGroup,
}

impl Scratch {
    fn new(gpu: &Gpu, pipelines: &Pipelines, sizes: Sizes) -> Result<Self, BackendError> {
        let storage = BufferUsages::STORAGE;
        let (to, from) = (BufferUsages::COPY_DST, BufferUsages::COPY_SRC);
        let params = gpu.buffer(
            "parameters",
            sizes.params * PARAMS_STRIDE,
            BufferUsages::UNIFORM | to,
        )?;
        let x = gpu.buffer("rows", sizes.x, storage | to)?;
        let limbs = gpu.buffer("limbs of rows", sizes.limbs, storage)?;
        let y = gpu.buffer("products", sizes.y, storage | from)?;
        let readback = gpu.buffer("results", sizes.readback, BufferUsages::MAP_READ | to)?;
        Ok(Self {
            sizes,
            cut: pipelines.bind_call(gpu, [&params, &x, &limbs]),
            project: pipelines.bind_call(gpu, [&params, &limbs, &y]),
            params,
            x,
            y,
            readback,
        })
    }

    /// Buffers of at least `sizes`, those of the last call if they are large enough.
    pub(super) fn reserve<'a>(
        kept: &'a mut Option<Scratch>,
        gpu: &Gpu,
        pipelines: &Pipelines,
        sizes: Sizes,
    ) -> Result<&'a Scratch, BackendError> {
        let fits = kept.as_ref().is_some_and(|kept| sizes.fit(kept.sizes));
        if !fits {
            let before = kept.take().map_or_else(Sizes::default, |kept| kept.sizes);
            *kept = Some(Self::new(gpu, pipelines, sizes.max(before))?);
        }
        kept.as_ref()
            .ok_or_else(|| BackendError::Device("no scratch buffers".into()))
    }
}
