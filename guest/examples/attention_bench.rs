//! Times the structural operations natively: `cargo run --release --example attention_bench`.
//!
//! The same sources in Wasm are what `talaria-local bench` runs; this is what they are compared with.
//! Best of many runs, one thread. A multiply-add is one element of q k or of p v.

use std::hint::black_box;
use std::time::{Duration, Instant};

use talaria_guest::ops::{Heads, KvCache, exp::exp_in_place, rms_norm, swiglu};

const RUN_FOR: Duration = Duration::from_millis(700);

fn main() {
    println!("attention of one layer, 16 query heads over 8 key heads of 128");
    let heads = Heads {
        num_attention_heads: 16,
        num_key_value_heads: 8,
        head_dim: 128,
    };
    for (context, rows) in [(512, 1), (2048, 1), (512, 64), (2048, 64)] {
        attention(heads, context, rows);
    }
    println!("one million elements");
    let x = numbers(1 << 20);
    let mut scratch = x.clone();
    report("exp", x.len(), || {
        scratch.copy_from_slice(&x);
        exp_in_place(&mut scratch);
    });
    report("swiglu", x.len() / 2, || drop(black_box(swiglu(&x, 4096))));
    report("rms_norm", x.len(), || {
        drop(black_box(rms_norm(&x, 1024, 1e-6)))
    });
}

/// The last `rows` positions of `context` attend.
fn attention(heads: Heads, context: usize, rows: usize) {
    let mut cache = KvCache::new(heads, None);
    let kv = numbers(context * heads.kv_size());
    cache.append(&kv, &kv);
    let q = numbers(rows * heads.q_size());
    let seen = rows * context - rows * (rows - 1) / 2;
    let name = format!("context {context}, {rows} rows");
    report(&name, 2 * seen * heads.q_size(), || {
        black_box(cache.attend(&q, context - rows));
    });
}

fn report(name: &str, operations: usize, mut run: impl FnMut()) {
    let mut best = f64::INFINITY;
    let started = Instant::now();
    while started.elapsed() < RUN_FOR {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    let (us, rate) = (best * 1e6, operations as f64 / best / 1e9);
    println!("  {name:24} {us:10.1} us {rate:8.2} G operations/s");
}

/// Made-up numbers in [-1, 1).
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
