//! Finding a GPU and opening it.

use super::super::BackendError;
use super::device::Gpu;
use std::fmt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wgpu::{Adapter, DeviceType, Limits};

/// Environment variable with part of the name of the adapter to use.
const ADAPTER_VARIABLE: &str = "WGPU_ADAPTER_NAME";

/// An adapter that [`super::WgpuBackend`] could use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// As the driver calls it.
    pub name: String,
    /// Graphics interface: `vulkan`, `metal`, `dx12`.
    pub interface: String,
    /// Driver and its version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that a kernel sees at once, in bytes: larger matrices are split.
    pub max_binding_bytes: u64,
    /// Shared memory of a workgroup, in bytes.
    pub max_workgroup_bytes: u32,
}

impl DeviceInfo {
    fn of(adapter: &Adapter) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        Self {
            name: info.name,
            interface: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info)
                .trim()
                .into(),
            kind: kind(info.device_type),
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        }
    }

    /// Whether the processor does the work of a GPU: exact, but slower than the CPU backend.
    pub fn is_software(&self) -> bool {
        self.kind == kind(DeviceType::Cpu)
    }
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            interface,
            driver,
            kind,
            ..
        } = self;
        write!(f, "{name} ({kind}, {interface}, {driver})")
    }
}

fn kind(device_type: DeviceType) -> &'static str {
    match device_type {
        DeviceType::DiscreteGpu => "discrete GPU",
        DeviceType::IntegratedGpu => "integrated GPU",
        DeviceType::VirtualGpu => "virtual GPU",
        DeviceType::Cpu => "software",
        DeviceType::Other => "other",
    }
}

/// All adapters, the preferred one first.
pub fn devices() -> Vec<DeviceInfo> {
    adapters().iter().map(DeviceInfo::of).collect()
}

/// Discrete before integrated before the rest, software last.
fn adapters() -> Vec<Adapter> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut adapters = ready(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

/// Place of the first device whose name contains `name` (in any case), by default of the preferred one.
///
/// # Errors
/// If there is none; a name that no device has is answered with those there are.
pub fn choose(devices: &[DeviceInfo], name: Option<&str>) -> Result<usize, BackendError> {
    if devices.is_empty() {
        let message = "no GPU adapter found: install a Vulkan driver, or use the cpu backend";
        return Err(BackendError::Device(message.into()));
    }
    let wanted = name.unwrap_or_default().to_lowercase();
    let found = devices
        .iter()
        .position(|device| device.name.to_lowercase().contains(&wanted));
    found.ok_or_else(|| {
        let names: Vec<&str> = devices.iter().map(|device| &*device.name).collect();
        let names = names.join(", ");
        BackendError::Device(format!(
            "no GPU adapter's name contains `{wanted}` ({ADAPTER_VARIABLE}): there are {names}"
        ))
    })
}

/// Part of an adapter's name, from the environment; none if empty.
pub fn wanted_adapter() -> Option<String> {
    let name = std::env::var_os(ADAPTER_VARIABLE)?;
    let name = name.to_string_lossy().trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// Opens the adapter that [`choose`] gives. Buffers are no larger than `max_bytes`.
pub(super) fn open(name: Option<&str>, max_bytes: u64) -> Result<Gpu, BackendError> {
    let adapters = adapters();
    let mut devices: Vec<DeviceInfo> = adapters.iter().map(DeviceInfo::of).collect();
    let chosen = choose(&devices, name)?;
    let (adapter, info) = (&adapters[chosen], devices.swap_remove(chosen));
    let limits = required_limits(&adapter.limits(), max_bytes);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("talaria"),
        required_limits: limits.clone(),
        // Weights are a few large buffers: no spare blocks.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    let (device, queue) = ready(adapter.request_device(&descriptor))
        .map_err(|e| BackendError::Device(format!("{info} does not open: {e}")))?;
    Ok(Gpu::new(device, queue, info, limits))
}

/// What WebGPU guarantees, with buffers as large as the adapter allows.
fn required_limits(adapter: &Limits, max_bytes: u64) -> Limits {
    let defaults = Limits::default().or_worse_values_from(adapter);
    Limits {
        max_buffer_size: adapter.max_buffer_size.min(max_bytes),
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size.min(max_bytes),
        ..defaults
    }
}

/// The result of a future of wgpu: on native platforms these are ready at once.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.into(),
            interface: "vulkan".into(),
            driver: "test".into(),
            kind: "other",
            max_buffer_bytes: 0,
            max_binding_bytes: 0,
            max_workgroup_bytes: 0,
        }
    }

    #[test]
    fn a_part_of_a_name_chooses_in_any_case() {
        let devices = ["Radeon RX", "GeForce RTX", "llvmpipe"].map(device);
        for (name, chosen) in [
            (None, 0),
            (Some("geforce"), 1),
            (Some("R"), 0),
            (Some("PIPE"), 2),
        ] {
            assert_eq!(choose(&devices, name).unwrap(), chosen, "{name:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let devices = ["Radeon RX", "llvmpipe"].map(device);
        let refused = choose(&devices, Some("arc")).unwrap_err().to_string();
        assert!(refused.contains("`arc`"), "{refused}");
        assert!(refused.contains("Radeon RX, llvmpipe"), "{refused}");
        for name in [None, Some("arc")] {
            let none = choose(&[], name).unwrap_err().to_string();
            assert!(none.contains("no GPU adapter found"), "{none}");
        }
    }
}
