use super::*;
use crate::backend::conformance;
use std::io::Write;
use talaria_wire::manifest::WeightFormat;

/// Whether there is an adapter; says so loudly if not, and fails where one must be.
fn adapter_there() -> bool {
    let there = !devices().is_empty();
    if !there {
        let required = std::env::var_os("TALARIA_REQUIRE_GPU").is_some_and(|v| v == "1");
        assert!(!required, "TALARIA_REQUIRE_GPU=1 but there is no adapter");
        // Not eprintln, which the test harness keeps to itself where a test passes.
        let warning =
            "\n*** NO GPU ADAPTER FOUND: the wgpu backend is NOT tested on this machine ***\n";
        std::io::stderr().write_all(warning.as_bytes()).unwrap();
    }
    there
}

#[test]
fn multiplies_exactly() {
    if adapter_there() {
        conformance::check_random(|| WgpuBackend::new(None));
    }
}

#[test]
fn multiplies_exactly_with_matrices_split_into_segments() {
    if adapter_there() {
        // Tiles of two planes with up to 5000 inputs take 641 kB.
        conformance::check_random(|| WgpuBackend::with_max_buffer(None, 700_000));
    }
}

#[test]
fn exact_at_the_extremes_and_beyond_one_range() {
    if adapter_there() {
        let ks = [1, 16, 17, 1024, 65_536, 65_537, 152_064];
        conformance::check_extremes(|| WgpuBackend::new(None), &ks);
    }
}

#[test]
fn wrong_use_is_refused() {
    if adapter_there() {
        conformance::check_refusals(|| WgpuBackend::new(None));
    }
}

#[test]
fn unknown_adapters_and_full_memory_are_errors() {
    if !adapter_there() {
        return;
    }
    let unknown = WgpuBackend::new(Some("no such adapter"));
    assert!(matches!(unknown, Err(BackendError::Device(_))));
    let mut small = WgpuBackend::with_max_buffer(None, 1 << 20).unwrap();
    let shape = MatrixShape {
        k: 1 << 20,
        n: 1,
        format: WeightFormat::Int8,
    };
    let full = small.add_matrix(shape);
    assert!(matches!(full, Err(BackendError::Memory { .. })), "{full:?}");
}

#[test]
fn a_destroyed_device_is_an_error() {
    if !adapter_there() {
        return;
    }
    let mut backend = WgpuBackend::new(None).unwrap();
    let shape = MatrixShape {
        k: 4,
        n: 4,
        format: WeightFormat::Int8,
    };
    let matrix = backend.add_matrix(shape).unwrap();
    backend.gpu.device.destroy();
    let lost = backend.project(matrix, 1, &[0; 8], Planes::Joined);
    assert!(matches!(lost, Err(BackendError::Device(_))), "{lost:?}");
    assert!(backend.add_matrix(shape).is_err());
}
