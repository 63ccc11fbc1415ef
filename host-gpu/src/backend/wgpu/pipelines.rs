//! Kernels and how buffers are bound to them.

use super::super::{MatrixShape, Planes};
use super::device::Gpu;
use talaria_wire::manifest::WeightFormat;
use wgpu::{BindGroup, BindGroupLayout, Buffer, BufferBindingType, ComputePipeline, ShaderStages};

const PARAMS: &str = include_str!("params.wgsl");

/// Outputs of a tile: `LANES` of params.wgsl.
pub(super) const LANES: usize = 64;
/// Inputs of a step: 16 weights or limbs of a `vec4<u32>`.
pub(super) const STEP: usize = 16;
/// Bytes of a step of one output or one limb.
pub(super) const STEP_BYTES: usize = 16;
/// Invocations of the kernels that are not `project`.
pub(super) const GROUP: usize = 64;

/// Units that an invocation of `project` handles, by variant: one row, two rows, many.
const UNITS: [usize; 3] = [2, 4, 8];
/// Planes of a matrix and parts of its product, by variant.
const PARTS: [(usize, usize); 3] = [(1, 1), (2, 1), (2, 2)];

/// Bytes between the parameters of two dispatches: the largest alignment that WebGPU allows a device.
pub(super) const PARAMS_STRIDE: u64 = 256;

/// `Params` of params.wgsl.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Params {
    pub k: usize,
    pub steps: usize,
    pub n: usize,
    pub units: usize,
    pub first: usize,
    pub count: usize,
    pub splits: usize,
    pub part: usize,
    pub planes: usize,
}

impl Params {
    /// Words of the structure, padded to a multiple of 16 bytes.
    const WORDS: usize = 12;

    /// As a dispatch reads it, padded to [`PARAMS_STRIDE`].
    pub(super) fn to_bytes(self) -> [u8; PARAMS_STRIDE as usize] {
        let fields = [
            self.k,
            self.steps,
            self.n,
            self.units,
            self.first,
            self.count,
            self.splits,
            self.part,
            self.planes,
        ];
        let mut bytes = [0; PARAMS_STRIDE as usize];
        for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&(field as u32).to_le_bytes());
        }
        bytes
    }
}

/// All kernels.
pub(super) struct Pipelines {
    /// Parameters, a buffer to read, a buffer to write.
    call: BindGroupLayout,
    /// Weights.
    segment: BindGroupLayout,
    pub cut: ComputePipeline,
    pub sum: ComputePipeline,
    pub pack: ComputePipeline,
    pub unpack: ComputePipeline,
    /// By [`PARTS`], then [`UNITS`].
    project: [[ComputePipeline; UNITS.len()]; PARTS.len()],
}

impl Pipelines {
    pub(super) fn new(gpu: &Gpu) -> Self {
        let storage = |read_only| BufferBindingType::Storage { read_only };
        let call = layout(
            gpu,
            &[BufferBindingType::Uniform, storage(true), storage(false)],
        );
        let segment = layout(gpu, &[storage(true)]);
        let simple = |label, source| pipeline(gpu, label, &[&call], &format!("{PARAMS}{source}"));
        let project = |(planes, parts), units| {
            let constants = [("PLANES", planes), ("PARTS", parts), ("UNITS", units)]
                .map(|(name, value)| format!("const {name}: u32 = {value}u;\n"))
                .concat();
            let source = include_str!("project.wgsl");
            let source = format!("{PARAMS}{constants}{source}");
            pipeline(gpu, "project", &[&call, &segment], &source)
        };
        Self {
            cut: simple("cut", include_str!("cut.wgsl")),
            sum: simple("sum", include_str!("sum.wgsl")),
            pack: simple("pack", include_str!("pack.wgsl")),
            unpack: simple("unpack", include_str!("unpack.wgsl")),
            project: PARTS.map(|parts| UNITS.map(|units| project(parts, units))),
            call,
            segment,
        }
    }

    /// The variant of `project` for a call, and the units an invocation handles.
    pub(super) fn project(
        &self,
        shape: MatrixShape,
        planes: Planes,
        units: usize,
    ) -> (&ComputePipeline, usize) {
        let fits = UNITS.iter().position(|most| units <= *most);
        let variant = fits.unwrap_or(UNITS.len() - 1);
        let parts = match (shape.format, planes) {
            (WeightFormat::Int8, _) => 0,
            (WeightFormat::Int16, Planes::Joined) => 1,
            (WeightFormat::Int16, Planes::Apart) => 2,
        };
        (&self.project[parts][variant], UNITS[variant])
    }

    /// Binds the buffers of a call; the place of the parameters is given at dispatch.
    pub(super) fn bind_call(&self, gpu: &Gpu, [params, read, write]: [&Buffer; 3]) -> BindGroup {
        let params = wgpu::BufferBinding {
            buffer: params,
            offset: 0,
            size: wgpu::BufferSize::new(4 * Params::WORDS as u64),
        };
        let entries = [
            entry(0, wgpu::BindingResource::Buffer(params)),
            entry(1, read.as_entire_binding()),
            entry(2, write.as_entire_binding()),
        ];
        bind(gpu, &self.call, &entries)
    }

    /// Binds the weights of a segment.
    pub(super) fn bind_segment(&self, gpu: &Gpu, weights: &Buffer) -> BindGroup {
        bind(gpu, &self.segment, &[entry(0, weights.as_entire_binding())])
    }
}

fn entry(binding: u32, resource: wgpu::BindingResource<'_>) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource }
}

fn bind(gpu: &Gpu, layout: &BindGroupLayout, entries: &[wgpu::BindGroupEntry<'_>]) -> BindGroup {
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout,
        entries,
    })
}

fn layout(gpu: &Gpu, bindings: &[BufferBindingType]) -> BindGroupLayout {
    let entries: Vec<_> = bindings
        .iter()
        .zip(0..)
        .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: *ty,
                has_dynamic_offset: *ty == BufferBindingType::Uniform,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    gpu.device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        })
}

fn pipeline(gpu: &Gpu, label: &str, layouts: &[&BindGroupLayout], source: &str) -> ComputePipeline {
    let module = gpu
        .device
        .create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
    let layouts: Vec<_> = layouts.iter().map(|layout| Some(*layout)).collect();
    let layout = gpu
        .device
        .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &layouts,
            immediate_size: 0,
        });
    gpu.device
        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        })
}
