use super::*;
use crate::ops::self_test::Numbers;

fn rope(frequencies: RopeFrequencies, attention_factor: f32, head_dim: usize) -> Rope {
    let rope = manifest::Rope {
        frequencies,
        attention_factor,
    };
    Rope::new(&rope, head_dim)
}

fn fixed(theta: f32, head_dim: usize) -> Rope {
    let all = frequencies(theta, head_dim).collect();
    rope(RopeFrequencies::Fixed(all), 1.0, head_dim)
}

fn longrope() -> Rope {
    let by_length = RopeFrequencies::ByLength {
        short: vec![1.0, 0.5],
        long: vec![0.25, 0.125],
        original_max_position_embeddings: 10,
    };
    rope(by_length, 1.25, 4)
}

/// theta^(-2i / d) in f64.
fn base(theta: f64, d: usize) -> impl Iterator<Item = f64> {
    (0..d / 2).map(move |i| theta.powf(-2.0 * i as f64 / d as f64))
}

#[test]
fn longrope_goes_by_the_length_of_the_sequence() {
    let rope = longrope();
    for length in [0, 1, 10] {
        assert_eq!(rope.of_length(length).radians(), [1.0, 0.5]);
    }
    for length in [11, 1000] {
        assert_eq!(rope.of_length(length).radians(), [0.25, 0.125]);
    }
}

#[test]
fn only_growing_past_the_original_context_outgrows_keys() {
    let rope = longrope();
    assert!(rope.outgrows(10, 11));
    assert!(rope.outgrows(3, 40));
    for (from, to) in [(0, 10), (9, 10), (10, 10), (11, 12), (40, 41)] {
        assert!(!rope.outgrows(from, to), "{from} to {to}");
    }
    assert!(!fixed(1e4, 4).outgrows(10, 11));
}

#[test]
fn dynamic_scales_the_base_beyond_the_original_context_only() {
    let dynamic = RopeFrequencies::Dynamic {
        theta: 1e4,
        factor: 2.0,
        original_max_position_embeddings: 64,
    };
    let rope = rope(dynamic, 1.0, 32);
    let plain: Vec<f32> = frequencies(1e4, 32).collect();
    assert_eq!(rope.of_length(64).radians(), plain);
    assert!(!rope.outgrows(64, 65));
    let mut before = plain;
    for length in [65, 100, 128, 500] {
        let all = rope.of_length(length).radians().to_vec();
        // transformers: base * ((factor * length / original) - (factor - 1)) ** (d / (d - 2))
        let theta = 1e4 * (2.0 * length as f64 / 64.0 - 1.0).powf(32.0 / 30.0);
        for (found, exact) in all.iter().zip(base(theta, 32)) {
            assert!((f64::from(*found) / exact - 1.0).abs() < 3e-6);
        }
        assert_eq!(all[0], 1.0);
        assert!(
            all[1..]
                .iter()
                .zip(&before[1..])
                .all(|(now, before)| now < before)
        );
        before = all;
    }
}

#[test]
fn attention_factor_scales_cosines_and_sines() {
    let rope = longrope();
    let rotation = rope.of_length(4).rotation(3);
    for (i, radians) in [3.0f64, 1.5].into_iter().enumerate() {
        assert!((f64::from(rotation.cos()[i]) - 1.25 * radians.cos()).abs() < 2e-7);
        assert!((f64::from(rotation.sin()[i]) - 1.25 * radians.sin()).abs() < 2e-7);
    }
}

#[test]
fn rotation_is_of_the_f32_angle() {
    let rope = fixed(1e6, 128);
    let frequencies = rope.of_length(131_072);
    for position in [0, 1, 1000, 40_959, 131_071] {
        let rotation = frequencies.rotation(position);
        for (i, f) in frequencies.radians().iter().enumerate() {
            let angle = f64::from(position as f32 * f);
            assert!((f64::from(rotation.cos[i]) - angle.cos()).abs() <= 6e-8);
            assert!((f64::from(rotation.sin[i]) - angle.sin()).abs() <= 6e-8);
        }
    }
}

#[test]
fn rotates_halves_of_every_head() {
    let (heads, d, position) = (3, 16, 77);
    let rope = fixed(1e4, d);
    let x = Numbers(3).take(heads * d, 2.0);
    let mut y = x.clone();
    rope.of_length(78).rotation(position).apply(&mut y);
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
    fixed(1e4, 32).of_length(1).rotation(0).apply(&mut y);
    assert_eq!(x, y);
}
