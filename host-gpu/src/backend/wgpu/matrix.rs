//! A matrix in device memory, split where it is larger than a binding.

use super::super::{BackendError, MatrixShape};
use super::device::Gpu;
use super::pipelines::{GROUP, LANES, Params, Pipelines, STEP, STEP_BYTES};
use std::ops::Range;
use wgpu::{BindGroup, Buffer, BufferUsages};

/// Outputs `first..first + count` of a matrix: (tiles, planes, steps, LANES) steps.
pub(super) struct Segment {
    pub first: usize,
    pub count: usize,
    weights: Buffer,
    pub group: BindGroup,
}

/// All segments of a matrix, in order.
pub(super) struct GpuMatrix {
    pub shape: MatrixShape,
    pub segments: Vec<Segment>,
}

impl GpuMatrix {
    pub(super) fn new(
        gpu: &Gpu,
        pipelines: &Pipelines,
        shape: MatrixShape,
    ) -> Result<Self, BackendError> {
        let tile_bytes = (shape.format.planes() * steps(shape) * LANES * STEP_BYTES) as u64;
        // At least one tile: too large a one is refused with the buffer.
        let tiles = (gpu.max_bytes() / tile_bytes).max(1) as usize;
        let most = gpu.limits.max_compute_workgroups_per_dimension as usize;
        let outputs = tiles.min(most) * LANES;
        let segment = |first: usize| {
            let count = outputs.min(shape.n - first);
            let bytes = count.div_ceil(LANES) as u64 * tile_bytes;
            let what = format!("weights ({} inputs, {count} outputs)", shape.k);
            let usage = BufferUsages::STORAGE;
            let weights = gpu.buffer(&what, bytes, usage)?;
            let group = pipelines.bind_segment(gpu, &weights);
            Ok(Segment {
                first,
                count,
                weights,
                group,
            })
        };
        let segments = (0..shape.n).step_by(outputs).map(segment);
        Ok(Self {
            shape,
            segments: segments.collect::<Result<_, BackendError>>()?,
        })
    }

    pub(super) fn steps(&self) -> usize {
        steps(self.shape)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.weights.size()).sum()
    }

    /// Cuts `outputs` into pieces of at most `most`, none across two segments.
    fn pieces(&self, outputs: Range<usize>, most: usize) -> Vec<(&Segment, Range<usize>)> {
        let mut pieces = Vec::new();
        for segment in &self.segments {
            let end = outputs.end.min(segment.first + segment.count);
            let mut first = outputs.start.max(segment.first);
            while first < end {
                let last = end.min(first + most);
                pieces.push((segment, first..last));
                first = last;
            }
        }
        pieces
    }

    fn transfer_params(&self, segment: &Segment, plane: usize, piece: &Range<usize>) -> Params {
        Params {
            k: self.shape.k,
            steps: self.steps(),
            n: self.shape.n,
            first: piece.start - segment.first,
            count: piece.len(),
            part: plane,
            planes: self.shape.format.planes(),
            ..Params::default()
        }
    }
}

fn steps(shape: MatrixShape) -> usize {
    shape.k.div_ceil(STEP)
}

/// Buffers through which weights travel.
pub(super) struct Transfer {
    params: Buffer,
    staging: Buffer,
    readback: Buffer,
}

impl Transfer {
    /// Bytes of a piece, unless one output is larger.
    const PIECE_BYTES: usize = 8 << 20;

    pub(super) fn new(gpu: &Gpu, matrix: &GpuMatrix) -> Result<Self, BackendError> {
        let output_bytes = matrix.steps() * STEP_BYTES;
        let bytes = output_bytes.max(Self::PIECE_BYTES.min(gpu.max_bytes() as usize)) as u64;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let read = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let uniform = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        Ok(Self {
            params: gpu.buffer("parameters", super::pipelines::PARAMS_STRIDE, uniform)?,
            staging: gpu.buffer("weights in transfer", bytes, usage)?,
            readback: gpu.buffer("weights in transfer", bytes, read)?,
        })
    }

    /// Whether a piece of this matrix fits.
    pub(super) fn fits(&self, matrix: &GpuMatrix) -> bool {
        self.staging.size() >= (matrix.steps() * STEP_BYTES) as u64
    }

    fn outputs(&self, gpu: &Gpu, matrix: &GpuMatrix) -> usize {
        let fit = self.staging.size() as usize / (matrix.steps() * STEP_BYTES);
        fit.min(gpu.limits.max_compute_workgroups_per_dimension as usize)
    }

    /// Stores `weights` (count, k) as outputs from `first` on.
    pub(super) fn store(
        &self,
        gpu: &Gpu,
        pipelines: &Pipelines,
        matrix: &GpuMatrix,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        let k = matrix.shape.k;
        let outputs = first..first + weights.len() / k;
        for (segment, piece) in matrix.pieces(outputs, self.outputs(gpu, matrix)) {
            let weights = &weights[(piece.start - first) * k..(piece.end - first) * k];
            let params = matrix.transfer_params(segment, plane, &piece);
            gpu.queue.write_buffer(&self.params, 0, &params.to_bytes());
            write_padded(gpu, &self.staging, weights, k);
            let buffers = [&self.params, &self.staging, &segment.weights];
            let group = pipelines.bind_call(gpu, buffers);
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            dispatch(&mut encoder, &pipelines.pack, &group, &params);
            // Waits, so that no more than one piece is in flight.
            gpu.run(encoder)?;
        }
        Ok(())
    }

    /// Reads `outputs` of one plane: (count, k).
    pub(super) fn read(
        &self,
        gpu: &Gpu,
        pipelines: &Pipelines,
        matrix: &GpuMatrix,
        plane: usize,
        outputs: Range<usize>,
    ) -> Result<Vec<i8>, BackendError> {
        let k = matrix.shape.k;
        let output_bytes = matrix.steps() * STEP_BYTES;
        let mut weights = Vec::with_capacity(outputs.len() * k);
        for (segment, piece) in matrix.pieces(outputs, self.outputs(gpu, matrix)) {
            let params = matrix.transfer_params(segment, plane, &piece);
            gpu.queue.write_buffer(&self.params, 0, &params.to_bytes());
            let buffers = [&self.params, &segment.weights, &self.staging];
            let group = pipelines.bind_call(gpu, buffers);
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            dispatch(&mut encoder, &pipelines.unpack, &group, &params);
            let bytes = (piece.len() * output_bytes) as u64;
            encoder.copy_buffer_to_buffer(&self.staging, 0, &self.readback, 0, bytes);
            let data = gpu.run_and_read(encoder, &self.readback, bytes)?;
            for output in data.chunks_exact(output_bytes) {
                weights.extend(output[..k].iter().map(|byte| *byte as i8));
            }
        }
        Ok(weights)
    }
}

fn dispatch(
    encoder: &mut wgpu::CommandEncoder,
    pipeline: &wgpu::ComputePipeline,
    group: &BindGroup,
    params: &Params,
) {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[0]);
    pass.dispatch_workgroups(params.steps.div_ceil(GROUP) as u32, params.count as u32, 1);
}

/// Writes (count, k) weights as (count, steps) steps, padded with zeros.
fn write_padded(gpu: &Gpu, staging: &Buffer, weights: &[i8], k: usize) {
    if k.is_multiple_of(STEP_BYTES) {
        gpu.queue
            .write_buffer(staging, 0, bytemuck::cast_slice(weights));
        return;
    }
    let mut padded = vec![0u8; weights.len() / k * k.next_multiple_of(STEP_BYTES)];
    let outputs = padded.chunks_exact_mut(k.next_multiple_of(STEP_BYTES));
    for (to, from) in outputs.zip(weights.chunks_exact(k)) {
        to[..k].copy_from_slice(bytemuck::cast_slice(from));
    }
    gpu.queue.write_buffer(staging, 0, &padded);
}
