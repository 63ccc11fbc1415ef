use super::*;
use crate::backend::conformance;
use talaria_arithmetic::PRIMES;
use talaria_wire::manifest::WeightFormat;

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
fn long_rows_are_cut() {
    for path in Path::available() {
        let open = || CpuBackend::with_path(Some(2), path);
        conformance::check_extremes(open, &[65_536, 152_064]);
    }
}

/// Products cut their rows, so only this reaches the number of steps that a path itself must cut.
#[test]
fn sums_beyond_one_pass_of_every_path() {
    for path in Path::available() {
        for steps in [255, 256, 16_384, 16_385, 20_000] {
            // Unsigned bytes 255, signed words -2^15.
            let x = [vec![0x77ff_ffff; 4 * steps], vec![0x3000_8000; 4 * steps]].concat();
            let units = Units::cut(path, &x, 4 * steps, false);
            let strips = [-128, 127, -128].map(|weight| vec![Block([weight; 64]); steps]);
            let strips = strips.each_ref().map(|strip| &strip[..]);
            let mut sums = [[0; LANES]; 6];
            path.accumulate(&strips, &[units.unit(0), units.unit(1)], &mut sums);
            let mut y = [[0; LANES]; 2];
            for (strip, weight) in [-128i64, 127, -128].into_iter().enumerate() {
                path.reduce(0, &sums[2 * strip..][..2], &mut y);
                for unit in 0..2 {
                    let product = weight * i64::from(x[unit * 4 * steps]) * 4 * steps as i64;
                    let expected = product.rem_euclid(i64::from(PRIMES[unit])) as u32;
                    assert_eq!(y[unit], [expected; LANES], "{path:?}, {steps} steps");
                }
            }
        }
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
        format: WeightFormat::Int16,
    };
    backend.add_matrix(shape).unwrap();
    assert_eq!(backend.weight_bytes(), 2 * 896 * 1152);
}

#[test]
fn weights_that_do_not_fit_into_memory_are_refused() {
    let mut backend = CpuBackend::new(Some(1)).unwrap();
    // 8 TiB.
    let shape = MatrixShape {
        k: 1 << 20,
        n: 1 << 22,
        format: WeightFormat::Int16,
    };
    let full = backend.add_matrix(shape);
    assert!(matches!(full, Err(BackendError::Memory { .. })), "{full:?}");
}
