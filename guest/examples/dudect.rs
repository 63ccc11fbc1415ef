//! Whether exp and attention take longer for some scores than for others, in the manner of dudect (Reparaz, Balasch and
//! Verbauwhede, 2017): measurements of two classes of inputs in random order, the slowest tenth left out, Welch's t.
//!
//! `cargo run --profile constant-time --features testing --example dudect [measurements]`, natively. |t| above 4.5 says that the classes differ; how much
//! they do, the means say. What it compares with each time are scores spread over -8 to 0.

use core::hint::black_box;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use std::time::Instant;
use talaria_guest::ops::{Heads, KvCache, KvMemory, exp::exp_in_place};

/// Positions that a row attends to.
const POSITIONS: usize = 512;

const HEADS: Heads = Heads {
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 64,
};

/// Scores, the largest of them 0.
type Scores = Vec<f32>;

fn main() {
    let measurements = std::env::args().nth(1);
    let measurements = measurements.map_or(20_000, |arg| arg.parse().expect("a number"));
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let spread: Scores = spread(&mut rng);
    let classes = [
        ("spread again, other numbers", self::spread(&mut rng)),
        ("all equal", vec![0.0; POSITIONS]),
        ("one dominant, exp normal", one_above(-60.0)),
        ("one dominant, exp subnormal", one_above(-95.0)),
        ("one dominant, exp times value subnormal", one_above(-87.0)),
        ("one dominant, exp zero", one_above(-1e30)),
    ];
    println!("{POSITIONS} scores, {measurements} measurements of each pair of classes");
    println!("what       against spread scores                           ns      ns        t");
    // What is measured lies in the same place for both classes.
    let mut x = spread.clone();
    for (name, scores) in &classes {
        report("exp", name, measurements, &mut rng, |class| {
            x.copy_from_slice([&spread, scores][class]);
            time(|| exp_in_place(black_box(&mut x)))
        });
    }
    let values = (0..POSITIONS * HEADS.kv_size()).map(|_| unit(&mut rng));
    let values: Vec<f32> = values.collect();
    // Of a query that is zero but for its first element the score is the key's first element.
    let mut q = vec![0.0; HEADS.q_size()];
    let first = q.iter_mut().step_by(HEADS.head_dim);
    first.for_each(|q| *q = (HEADS.head_dim as f32).sqrt());
    let mut keys = vec![0.25; POSITIONS * HEADS.kv_size()];
    let mut cache = KvCache::new(HEADS, None, &KvMemory::default());
    for (name, scores) in &classes {
        report("attention", name, measurements, &mut rng, |class| {
            let keys_of_heads = keys.chunks_exact_mut(HEADS.head_dim);
            for (key, score) in keys_of_heads.zip([&spread, scores][class]) {
                key[0] = *score;
            }
            cache.truncate(0);
            cache.append(&keys, &values);
            time(|| cache.attend(black_box(&q), POSITIONS - 1))
        });
    }
}

/// Uniform in [-1, 1).
fn unit(rng: &mut ChaCha20Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
}

fn spread(rng: &mut ChaCha20Rng) -> Scores {
    (0..POSITIONS).map(|_| 4.0 * unit(rng) - 4.0).collect()
}

fn one_above(others: f32) -> Scores {
    let mut scores = vec![others; POSITIONS];
    scores[POSITIONS / 2] = 0.0;
    scores
}

/// Nanoseconds.
fn time<T>(of: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(of());
    start.elapsed().as_nanos() as f64
}

fn report(
    what: &str,
    name: &str,
    measurements: usize,
    rng: &mut ChaCha20Rng,
    mut measure: impl FnMut(usize) -> f64,
) {
    let mut times = [Vec::new(), Vec::new()];
    for turn in 0..measurements + measurements / 10 {
        let class = rng.next_u32() as usize % 2;
        let time = measure(class);
        // The first are for the caches.
        if turn >= measurements / 10 {
            times[class].push(time);
        }
    }
    times.iter_mut().for_each(|times| {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
    });
    let [a, b] = times.map(|times| Sample::of(&times));
    let t = (b.mean - a.mean) / (a.variance / a.count + b.variance / b.count).sqrt();
    println!(
        "{what:<10} {name:<40} {:>9.0} {:>7.0} {t:>8.1}",
        a.mean, b.mean
    );
}

struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of(times: &[f64]) -> Self {
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let squares = times.iter().map(|time| (time - mean) * (time - mean));
        let variance = squares.sum::<f64>() / (count - 1.0);
        Self {
            count,
            mean,
            variance,
        }
    }
}
