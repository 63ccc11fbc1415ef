use super::*;
use crate::backend::conformance;

#[test]
fn every_path_multiplies_exactly() {
    for path in Path::available() {
        for threads in [1, 3] {
            conformance::check_random(|| CpuBackend::with_path(Some(threads), path));
        }
    }
}

#[test]
fn every_path_is_exact_at_the_extremes() {
    for path in Path::available() {
        conformance::check_extremes(|| CpuBackend::with_path(Some(2), path), &[1020, 1021, 4100]);
    }
}

#[test]
fn sums_beyond_one_pass_of_the_widest_path() {
    for path in Path::available() {
        conformance::check_extremes(
            || CpuBackend::with_path(Some(2), path),
            &[65_536, 65_793, 152_064],
        );
    }
}

#[test]
fn wrong_use_is_refused() {
    conformance::check_refusals(|| CpuBackend::new(Some(1)));
}

#[test]
fn memory_stays_close_to_the_planes() {
    let mut backend = CpuBackend::new(Some(1)).unwrap();
    let shape = MatrixShape {
        k: 896,
        n: 1152,
        format: talaria_wire::manifest::WeightFormat::Int16,
    };
    backend.add_matrix(shape).unwrap();
    assert_eq!(backend.weight_bytes(), 2 * 896 * 1152);
}
