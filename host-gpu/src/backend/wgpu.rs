//! Products on a GPU of any vendor, through wgpu and WGSL kernels.
//!
//! A call is one submission: `cut` turns residues into byte limbs, `project` multiplies them with every
//! segment of the matrix, `sum` adds where the inputs were cut into ranges. Weights live in device
//! memory only.

mod adapter;
mod device;
mod matrix;
mod pipelines;
mod scratch;

pub use adapter::{DeviceInfo, choose, devices, wanted_adapter};

use super::{Backend, BackendError, MatrixShape, Planes, shape};
use device::Gpu;
use matrix::{GpuMatrix, Segment, Transfer};
use pipelines::{GROUP, LANES, PARAMS_STRIDE, Params, Pipelines, STEP, STEP_BYTES};
use scratch::{Scratch, Sizes};
use std::sync::{Mutex, PoisonError};

/// Most inputs of a range: `65536 * 2^14 = 2^30`, see project.wgsl.
const MAX_RANGE_STEPS: usize = 65536 / STEP;
/// Fewest steps of a range: shorter ones cost more to add than they gain.
const MIN_RANGE_STEPS: usize = 32;
/// Workgroups that occupy a GPU.
const WORKGROUPS: usize = 1024;
/// Most bytes of a buffer that holds rows: more rows take several submissions.
const MAX_ROW_BYTES: u64 = 256 << 20;

/// A GPU as a device.
pub struct WgpuBackend {
    gpu: Gpu,
    pipelines: Pipelines,
    matrices: Vec<GpuMatrix>,
    transfer: Mutex<Option<Transfer>>,
    scratch: Mutex<Option<Scratch>>,
}

impl WgpuBackend {
    /// Opens the adapter that [`choose`] gives for this part of a name.
    ///
    /// # Errors
    /// If there is none, or its driver refuses.
    pub fn new(adapter: Option<&str>) -> Result<Self, BackendError> {
        Self::with_max_buffer(adapter, u64::MAX)
    }

    /// As [`WgpuBackend::new`] with buffers of at most `max_bytes`.
    fn with_max_buffer(adapter: Option<&str>, max_bytes: u64) -> Result<Self, BackendError> {
        let gpu = adapter::open(adapter, max_bytes)?;
        let pipelines = Pipelines::new(&gpu);
        gpu.check()?;
        Ok(Self {
            gpu,
            pipelines,
            matrices: Vec::new(),
            transfer: Mutex::new(None),
            scratch: Mutex::new(None),
        })
    }

    /// The adapter in use.
    pub fn info(&self) -> &DeviceInfo {
        &self.gpu.info
    }

    fn matrix(&self, matrix: usize) -> Result<&GpuMatrix, BackendError> {
        let made = self.matrices.len();
        self.matrices
            .get(matrix)
            .ok_or_else(|| BackendError::no_matrix(matrix, made))
    }

    /// Calls `use_it` with transfer buffers that fit the matrix.
    fn with_transfer<T>(
        &self,
        matrix: &GpuMatrix,
        use_it: impl FnOnce(&Transfer) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let mut kept = self.transfer.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = match kept.take().filter(|transfer| transfer.fits(matrix)) {
            Some(transfer) => transfer,
            None => Transfer::new(&self.gpu, matrix)?,
        };
        use_it(kept.insert(transfer))
    }
}

impl Backend for WgpuBackend {
    fn describe(&self) -> String {
        self.gpu.info.to_string()
    }

    fn name(&self) -> &'static str {
        "wgpu"
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        self.gpu.check()?;
        shape::validate(shape, 1 << 24)?;
        let matrix = GpuMatrix::new(&self.gpu, &self.pipelines, shape)?;
        self.matrices.push(matrix);
        Ok(self.matrices.len() - 1)
    }

    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        let matrix = self.matrix(matrix)?;
        shape::check_weights(matrix.shape, plane, first, weights.len())?;
        self.with_transfer(matrix, |transfer| {
            transfer.store(&self.gpu, &self.pipelines, matrix, plane, first, weights)
        })
    }

    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError> {
        let matrix = self.matrix(matrix)?;
        let weights = count.saturating_mul(matrix.shape.k);
        shape::check_weights(matrix.shape, plane, first, weights)?;
        self.with_transfer(matrix, |transfer| {
            let outputs = first..first + count;
            transfer.read(&self.gpu, &self.pipelines, matrix, plane, outputs)
        })
    }

    fn project(
        &self,
        matrix: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, BackendError> {
        let matrix = self.matrix(matrix)?;
        shape::check_rows(matrix.shape, rows, x.len())?;
        self.gpu.check()?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let rows_at_once = self.rows_at_once(matrix, planes);
        let mut y = Vec::with_capacity(rows * 2 * matrix.shape.outputs(planes));
        for x in x.chunks(rows_at_once * 2 * matrix.shape.k) {
            let data = self.submit(&mut scratch, matrix, x, planes)?;
            y.extend(bytemuck::pod_collect_to_vec::<u8, u32>(&data));
        }
        Ok(y)
    }

    fn weight_bytes(&self) -> u64 {
        self.matrices.iter().map(GpuMatrix::bytes).sum()
    }
}

impl WgpuBackend {
    /// Rows whose residues, limbs and products fit their buffers.
    fn rows_at_once(&self, matrix: &GpuMatrix, planes: Planes) -> usize {
        let bytes = self.gpu.max_bytes().min(MAX_ROW_BYTES) as usize;
        let splits = Ranges::new(&self.gpu, matrix, 2, 2).splits;
        let outputs = matrix.shape.outputs(planes);
        let row = (8 * STEP * matrix.steps()).max(8 * outputs * splits);
        let groups = self.gpu.limits.max_compute_workgroups_per_dimension as usize / 2;
        (bytes / row).clamp(1, groups)
    }

    /// Products of some rows: (units, outputs) little-endian words.
    fn submit(
        &self,
        scratch: &mut Option<Scratch>,
        matrix: &GpuMatrix,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u8>, BackendError> {
        let (gpu, shape) = (&self.gpu, matrix.shape);
        let (units, outputs) = (x.len() / shape.k, shape.outputs(planes));
        let (project, group_units) = self.pipelines.project(shape, planes, units);
        let ranges = Ranges::new(gpu, matrix, units, group_units);
        let result_bytes = (4 * units * outputs) as u64;
        let sizes = Sizes {
            params: 1 + matrix.segments.len() as u64,
            x: size_of_val(x) as u64,
            limbs: (4 * STEP_BYTES * matrix.steps() * units) as u64,
            y: result_bytes * ranges.splits as u64,
            readback: result_bytes,
        };
        let scratch = Scratch::reserve(scratch, gpu, &self.pipelines, sizes)?;
        let params = ranges.params(matrix, units, outputs);
        gpu.queue.write_buffer(&scratch.params, 0, &params.concat());
        gpu.queue
            .write_buffer(&scratch.x, 0, bytemuck::cast_slice(x));

        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        // x (units, k) -> limbs (units, steps, 4)
        pass.set_pipeline(&self.pipelines.cut);
        pass.set_bind_group(0, &scratch.cut, &[0]);
        pass.dispatch_workgroups(matrix.steps().div_ceil(GROUP) as u32, units as u32, 1);
        // limbs @ W -> y (splits, units, outputs)
        pass.set_pipeline(project);
        for (segment, i) in matrix.segments.iter().zip(1..) {
            pass.set_bind_group(0, &scratch.project, &[i * PARAMS_STRIDE as u32]);
            pass.set_bind_group(1, &segment.group, &[]);
            let [x, y, z] = ranges.workgroups(segment, units, group_units);
            pass.dispatch_workgroups(x, y, z);
        }
        // y (splits, units, outputs) -> y (units, outputs)
        if ranges.splits > 1 {
            pass.set_pipeline(&self.pipelines.sum);
            pass.set_bind_group(0, &scratch.project, &[0]);
            let most = gpu.limits.max_compute_workgroups_per_dimension as usize;
            let groups = outputs.div_ceil(GROUP).min(most);
            pass.dispatch_workgroups(groups as u32, units as u32, 1);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(&scratch.y, 0, &scratch.readback, 0, result_bytes);
        gpu.run_and_read(encoder, &scratch.readback, result_bytes)
    }
}

/// Ranges that the steps of a matrix are cut into, so that sums are exact and few outputs still occupy
/// the device.
#[derive(Clone, Copy, Debug)]
struct Ranges {
    splits: usize,
    steps: usize,
}

impl Ranges {
    fn new(gpu: &Gpu, matrix: &GpuMatrix, units: usize, group_units: usize) -> Self {
        let all = matrix.steps();
        let groups = matrix.shape.n.div_ceil(LANES) * units.div_ceil(group_units);
        let wanted = match gpu.info.is_software() {
            true => 1,
            false => WORKGROUPS.div_ceil(groups),
        };
        let useful = wanted.min(all / MIN_RANGE_STEPS).max(1);
        let steps = all.div_ceil(useful).min(MAX_RANGE_STEPS);
        Self {
            splits: all.div_ceil(steps),
            steps,
        }
    }

    /// Parameters of `cut` and `sum`, then of `project` for each segment.
    fn params(
        self,
        matrix: &GpuMatrix,
        units: usize,
        outputs: usize,
    ) -> Vec<[u8; PARAMS_STRIDE as usize]> {
        let call = Params {
            k: matrix.shape.k,
            steps: matrix.steps(),
            n: outputs,
            units,
            first: 0,
            count: matrix.shape.n,
            splits: self.splits,
            part: self.steps,
            planes: matrix.shape.format.planes(),
        };
        let segments = matrix.segments.iter().map(|segment| Params {
            first: segment.first,
            count: segment.count,
            ..call
        });
        std::iter::once(call)
            .chain(segments)
            .map(Params::to_bytes)
            .collect()
    }

    /// (tiles, groups of units, ranges)
    fn workgroups(self, segment: &Segment, units: usize, group_units: usize) -> [u32; 3] {
        let tiles = segment.count.div_ceil(LANES);
        [tiles, units.div_ceil(group_units), self.splits].map(|groups| groups as u32)
    }
}

#[cfg(test)]
mod tests;
