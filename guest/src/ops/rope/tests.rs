use std::f64::consts::TAU;

use super::*;
use crate::ops::self_test::Numbers;

fn rope(theta: f64, scaling: RopeScaling, head_dim: usize) -> Rope {
    Rope::new(&manifest::Rope { theta, scaling }, head_dim)
}

fn assert_close(computed: &[f32], exact: impl IntoIterator<Item = f64>, tolerance: f64) {
    for (i, (y, exact)) in computed.iter().zip(exact).enumerate() {
        let error = (f64::from(*y) - exact).abs();
        assert!(
            error <= tolerance * exact.abs(),
            "element {i}: {y}, expected {exact}"
        );
    }
}

/// theta^(-2i / d) in f64.
fn base(theta: f64, d: usize) -> impl Iterator<Item = f64> {
    (0..d / 2).map(move |i| theta.powf(-2.0 * i as f64 / d as f64))
}

#[test]
fn default_frequencies() {
    for (theta, d) in [(1e4, 64), (1e6, 128), (5e5, 2), (1e6, 80)] {
        let rope = rope(theta, RopeScaling::None, d);
        assert_eq!(rope.inv_freq().len(), d / 2);
        // An exponent rounded to f32 moves the power by ln(theta) * 2^-25 at most.
        assert_close(rope.inv_freq(), base(theta, d), 6e-7);
    }
}

#[test]
fn linear_divides_every_frequency() {
    let rope = rope(1e4, RopeScaling::Linear { factor: 4.0 }, 64);
    assert_close(rope.inv_freq(), base(1e4, 64).map(|f| f / 4.0), 6e-7);
}

/// The formula of Llama 3.1, in f64.
fn llama3_reference(f: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let turns = original * f / TAU;
    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - smooth) * f / factor + smooth * f
}

#[test]
fn llama3_scales_long_keeps_short_and_ramps_between() {
    let scaling = |factor, original_max_position_embeddings| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings,
    };
    // The shape of a tiny test model with all three branches, then of Llama 3.2.
    for (d, factor, original) in [(32, 8.0, 64), (64, 32.0, 8192)] {
        let rope = rope(5e5, scaling(factor, original), d);
        let original = f64::from(original);
        let exact = base(5e5, d).map(|f| llama3_reference(f, factor, 1.0, 4.0, original));
        assert_close(rope.inv_freq(), exact, 1e-5);
        let kept = |(f, scaled): (f64, &f32)| (f64::from(*scaled) / f * factor * 1e4).round();
        let ratios: Vec<f64> = base(5e5, d).zip(rope.inv_freq()).map(kept).collect();
        assert_eq!(ratios[0], factor * 1e4, "the shortest wavelength is kept");
        assert_eq!(ratios[d / 2 - 1], 1e4, "the longest is divided");
        assert!(
            ratios.iter().any(|r| *r > 1e4 && *r < factor * 1e4),
            "some are between"
        );
    }
}

#[test]
fn rotation_is_of_the_f32_angle() {
    let rope = rope(1e6, RopeScaling::None, 128);
    for position in [0, 1, 1000, 40_959, 131_071] {
        let rotation = rope.rotation(position);
        for (i, f) in rope.inv_freq().iter().enumerate() {
            let angle = f64::from(position as f32 * f);
            assert!((f64::from(rotation.cos[i]) - angle.cos()).abs() <= 6e-8);
            assert!((f64::from(rotation.sin[i]) - angle.sin()).abs() <= 6e-8);
        }
    }
}

#[test]
fn rotates_halves_of_every_head() {
    let (heads, d, position) = (3, 16, 77);
    let rope = rope(1e4, RopeScaling::None, d);
    let x = Numbers(3).take(heads * d, 2.0);
    let mut y = x.clone();
    rope.rotation(position).apply(&mut y);
    for (x, y) in x.chunks(d).zip(y.chunks(d)) {
        for (i, f) in base(1e4, d).enumerate() {
            let (sin, cos) = (position as f64 * f).sin_cos();
            let (a, b) = (f64::from(x[i]), f64::from(x[i + d / 2]));
            assert!((f64::from(y[i]) - (a * cos - b * sin)).abs() < 3e-5);
            assert!((f64::from(y[i + d / 2]) - (b * cos + a * sin)).abs() < 3e-5);
        }
    }
}

#[test]
fn position_0_changes_nothing() {
    let x = Numbers(4).take(64, 2.0);
    let mut y = x.clone();
    rope(1e4, RopeScaling::None, 32).rotation(0).apply(&mut y);
    assert_eq!(x, y);
}
