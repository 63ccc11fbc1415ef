//! Planes against the tensors they come from, exactly.

use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::json;
use std::ops::ControlFlow;
use talaria_wire::digest::ModelHasher;
use talaria_wire::manifest::{Projection, Role, WeightFormat};

use super::checkpoint::{HIDDEN, LAYERS, Tiny, VOCAB};
use super::{load, load_tiny};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::layout::Layout;
use crate::weights::planes::Budget;
use crate::weights::{LoadProgress, Model, config, digest_dir, quantise};

const FORMATS: [WeightFormat; 2] = [WeightFormat::Int16, WeightFormat::Int8];

/// Integers of projection i, (n, k).
fn integers(model: &Model, i: usize) -> Vec<i32> {
    let n = model.manifest.projections[i].n as usize;
    let planes = 0..model.manifest.weights.planes();
    let planes = planes.map(|plane| model.backend.read(i, plane, 0, n).unwrap());
    planes.fold(
        vec![0; n * model.manifest.projections[i].k as usize],
        |sum, plane| {
            let digits = plane.iter().map(|w| i32::from(*w));
            sum.iter()
                .zip(digits)
                .map(|(w, digit)| 256 * w + digit)
                .collect()
        },
    )
}

/// The column values (n, k) that a projection should have, in f32 as they are folded.
fn folded(tiny: &Tiny, projection: &Projection) -> Vec<f32> {
    let values = |name: &str| -> Vec<f32> {
        let stored = &tiny.tensors[name];
        let bytes = stored.bytes();
        match stored.dtype {
            Dtype::BF16 => (bytes.chunks(2))
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::F16 => (bytes.chunks(2))
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            _ => stored.values.clone(),
        }
    };
    let at = |name: &str| {
        values(&format!(
            "model.layers.{}.{name}.weight",
            projection.place.layer
        ))
    };
    let join = |names: &[&str]| names.iter().flat_map(|name| at(name)).collect::<Vec<_>>();
    let (weights, gain) = match projection.place.role {
        Role::Embedding => {
            let table = values("model.embed_tokens.weight");
            let column = |c: usize| table.iter().skip(c).step_by(HIDDEN).copied();
            return (0..HIDDEN).flat_map(column).collect();
        }
        Role::Qkv => (
            join(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
            at("input_layernorm"),
        ),
        Role::O => return at("self_attn.o_proj"),
        Role::GateUp => (
            join(&["mlp.gate_proj", "mlp.up_proj"]),
            at("post_attention_layernorm"),
        ),
        Role::Down => return at("mlp.down_proj"),
        Role::LmHead => (values("lm_head.weight"), values("model.norm.weight")),
    };
    let gains = gain.iter().cycle();
    weights.iter().zip(gains).map(|(w, g)| w * g).collect()
}

/// |w - W * unit| <= unit / 2, but for the last bit of a quotient.
fn assert_rounded(w: f32, integer: i32, unit: f32, limit: i32) {
    let unit = f64::from(unit);
    let error = (f64::from(w) - f64::from(integer) * unit).abs();
    assert!(
        error <= unit / 2.0 * (1.0 + f64::EPSILON),
        "{w} became {integer} * {unit}"
    );
    assert!(integer.abs() <= limit);
}

#[test]
fn every_projection_of_every_family_type_and_format() {
    for model_type in ["qwen2", "qwen3", "llama", "mistral"] {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let tiny = Tiny::of(model_type, dtype);
            let dir = tiny.write();
            for format in FORMATS {
                let model = load(dir.path(), format).unwrap();
                for (i, projection) in model.manifest.projections.iter().enumerate() {
                    let expected = folded(&tiny, projection);
                    let found = integers(&model, i);
                    assert_eq!(found.len(), expected.len());
                    for (j, (w, integer)) in expected.iter().zip(&found).enumerate() {
                        let unit = projection.scales[j / projection.k as usize];
                        assert_rounded(*w, *integer, unit, quantise::limit(format));
                    }
                }
            }
        }
    }
}

#[test]
fn bf16_within_eight_bits_of_the_largest_is_exact() {
    let model = load_tiny(&Tiny::plain());
    let tiny = Tiny::plain();
    // down has no gain folded in: its bf16 weights are integers times the scale.
    let i = model.manifest.index_of(Role::Down.of(LAYERS as u32 - 1));
    let i = i.unwrap();
    let projection = &model.manifest.projections[i];
    let k = projection.k as usize;
    let (weights, integers) = (folded(&tiny, projection), integers(&model, i));
    let mut exact = 0;
    for (c, column) in weights.chunks(k).enumerate() {
        let largest = column.iter().fold(0f32, |m, w| m.max(w.abs()));
        let unit = f64::from(projection.scales[c]);
        for (w, integer) in column.iter().zip(&integers[c * k..]) {
            if w.abs() * 64.0 >= largest {
                assert_eq!(f64::from(*w), f64::from(*integer) * unit);
                exact += 1;
            }
        }
    }
    assert!(exact > weights.len() / 2);
}

#[test]
fn shards_blocks_and_digests_agree() {
    let tiny = Tiny::of("qwen3", Dtype::F16);
    let (single, sharded) = (tiny.write(), tiny.write_sharded());
    for format in FORMATS {
        let model = load(single.path(), format).unwrap();
        let digest = model.digest().unwrap();
        let other = load(sharded.path(), format).unwrap();
        assert_eq!(other.digest().unwrap(), digest);
        assert_eq!(
            digest_dir(single.path(), format, &mut |_| ()).unwrap(),
            digest
        );
        for chunk_bytes in [1, 7, 64, 1 << 20] {
            let mut hasher = ModelHasher::new(&model.manifest_bytes);
            let mut longest = 0;
            let flow = model.stream_planes(chunk_bytes, &mut |bytes| {
                longest = longest.max(bytes.len());
                hasher.planes(bytes);
                ControlFlow::Continue(())
            });
            assert_eq!(flow.unwrap(), ControlFlow::Continue(()));
            assert!(longest <= chunk_bytes);
            assert_eq!(hasher.finish(), digest);
        }
    }
}

#[test]
fn streaming_stops_when_told() {
    let model = load_tiny(&Tiny::plain());
    let mut calls = 0;
    let flow = model.stream_planes(16, &mut |_| {
        calls += 1;
        if calls == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!((flow.unwrap(), calls), (ControlFlow::Break(()), 3));
}

#[test]
fn progress_counts_every_byte_once() {
    let dir = Tiny::plain().write();
    let mut reports: Vec<LoadProgress> = Vec::new();
    let backend = Box::new(super::Memory::default());
    let model = Model::load(dir.path(), WeightFormat::Int16, backend, &mut |p| {
        reports.push(p)
    })
    .unwrap();
    let total = model.manifest.weight_bytes();
    assert!(reports.iter().all(|r| r.total_bytes == total));
    assert!(reports.is_sorted_by_key(|r| r.done_bytes));
    assert_eq!(reports.last().unwrap().done_bytes, total);
    assert_eq!(reports[0].what, "embedding");
    reports.clear();
    digest_dir(dir.path(), WeightFormat::Int16, &mut |p| reports.push(p)).unwrap();
    let last = reports.last().unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (3 * total, 3 * total));
}

#[test]
fn a_column_of_zeros_has_scale_one() {
    let mut tiny = Tiny::plain();
    tiny.tensor("lm_head.weight").values[..HIDDEN].fill(0.0);
    let model = load_tiny(&tiny);
    let lm_head = model.manifest.projections.last().unwrap();
    assert_eq!(lm_head.scales[0], 1.0);
    assert!(
        integers(&model, 4 * LAYERS + 1)[..HIDDEN]
            .iter()
            .all(|w| *w == 0)
    );
}

/// All planes of all matrices, concatenated in order of arrival by matrix and plane, and the blocks.
fn visit_all(dir: &std::path::Path, budget: Budget) -> (Vec<Vec<i8>>, usize) {
    let bytes = std::fs::read(dir.join("config.json")).unwrap();
    let described = config::describe(&bytes).unwrap();
    let checkpoint = Checkpoint::open(dir, "test", None).unwrap();
    let layout = Layout::of(&checkpoint, &described).unwrap();
    let (mut all, mut blocks) = (Vec::new(), 0);
    for matrix in &layout.matrices {
        let mut planes = vec![Vec::new(); 2];
        let mut next = 0;
        let visited = matrix.quantise(WeightFormat::Int16, budget, &mut |block| {
            assert_eq!(block.first, next);
            next += block.scales.len();
            blocks += 1;
            for (all, plane) in planes.iter_mut().zip(block.planes()) {
                assert_eq!(plane.len(), block.scales.len() * matrix.k);
                all.extend_from_slice(plane);
            }
            Ok(())
        });
        visited.unwrap();
        assert_eq!(next, matrix.n);
        all.extend(planes);
    }
    (all, blocks)
}

#[test]
fn block_sizes_do_not_matter() {
    let mut tiny = Tiny::of("qwen2", Dtype::BF16);
    // More than one tile of columns, and not a multiple of it.
    let vocab = 75;
    tiny.set("vocab_size", json!(vocab));
    tiny.add("model.embed_tokens.weight", &[vocab, HIDDEN], Dtype::F32);
    tiny.add("lm_head.weight", &[vocab, HIDDEN], Dtype::F32);
    assert!(vocab > VOCAB);
    let dir = tiny.write();
    let whole = Budget {
        block_bytes: 1 << 20,
        transposed_bytes: 1 << 20,
    };
    let (expected, few) = visit_all(dir.path(), whole);
    assert_eq!(few, 2 + LAYERS * 7);
    for (block_bytes, transposed_bytes) in [(1, 1), (100, 500), (77, 1 << 20), (1 << 20, 333)] {
        let (found, blocks) = visit_all(
            dir.path(),
            Budget {
                block_bytes,
                transposed_bytes,
            },
        );
        assert!(blocks > few);
        assert_eq!(found, expected);
    }
}

proptest! {
    /// Any finite values, subnormal and huge ones among them.
    #[test]
    fn columns_are_rounded_to_half_a_unit(
        values in prop::collection::vec(any::<f32>().prop_filter("finite", |w| w.is_finite()), 1..40),
        near in prop::collection::vec(-1f32..1.0, 1..40),
        wide in any::<bool>(),
    ) {
        for format in FORMATS {
            let values = if wide { &values } else { &near };
            let largest = quantise::largest_magnitude(values).unwrap();
            let unit = quantise::unit(largest, format);
            prop_assert!(unit.is_normal() && unit > 0.0);
            match format {
                WeightFormat::Int16 => prop_assert_eq!(unit.to_bits() << 9, 0, "{} is no power of two", unit),
                // The whole range is used, but for columns that are next to nothing.
                WeightFormat::Int8 if largest >= 128.0 * f32::MIN_POSITIVE => {
                    prop_assert_eq!((f64::from(largest) / f64::from(unit)).round(), 127.0)
                }
                WeightFormat::Int8 => {}
            }
            let (mut hi, mut lo) = (vec![0; values.len()], vec![0; values.len()]);
            if format == WeightFormat::Int8 {
                lo.clear();
            }
            let l1 = quantise::split(values, unit, [&mut hi, &mut lo]);
            let sum = |plane: &[i8]| plane.iter().map(|w| i64::from(*w).unsigned_abs()).sum::<u64>();
            prop_assert_eq!(l1, sum(&hi).max(sum(&lo)));
            for (j, w) in values.iter().enumerate() {
                let integer = match format {
                    WeightFormat::Int16 => 256 * i32::from(hi[j]) + i32::from(lo[j]),
                    WeightFormat::Int8 => i32::from(hi[j]),
                };
                prop_assert!(integer.abs() <= quantise::limit(format));
                // A quotient that is rounded to f64 is a tie at worst where it was next to one.
                let quotient = f64::from(*w) / f64::from(unit);
                prop_assert!((quotient - f64::from(integer)).abs() <= 0.5);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_found(
        mut values in prop::collection::vec(-1f32..1.0, 1..40),
        at in any::<prop::sample::Index>(),
        bad in prop::sample::select(vec![f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ) {
        let at = at.index(values.len());
        values[at] = bad;
        prop_assert_eq!(quantise::largest_magnitude(&values), Err(at));
    }
}
