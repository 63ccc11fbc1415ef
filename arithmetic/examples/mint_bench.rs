//! Times minting natively, one thread, medians; what the payload's minting is compared with:
//! `RUSTFLAGS="-C target-cpu=native" cargo run --release -p talaria-arithmetic --target-dir target/native --example mint_bench`.
//!
//! Nanoseconds for a mask of one element, both primes, noise included. "cache": the same block again and again.
//! "stream": blocks from a buffer larger than the last cache.

use std::hint::black_box;
use std::time::{Duration, Instant};

use talaria_arithmetic::PRIMES;
use talaria_arithmetic::module_lwe::{LANES, PARAMETERS, Parameters, Secret, mint_block};

const RUN_FOR: Duration = Duration::from_millis(700);
const STREAM_BYTES: usize = 256 << 20;

fn main() {
    println!("ns per mask and element       cache   stream");
    const SETS: &[Parameters] = &PARAMETERS;
    for set in SETS {
        for secrets in [1, 4] {
            let [cache, stream] = minting(set, secrets);
            println!(
                "{:7} {secrets} secret(s) a block {cache:8.2} {stream:8.2}",
                set.name
            );
        }
    }
}

fn minting(set: &'static Parameters, secrets: usize) -> [f64; 2] {
    let drawn: Vec<Secret> = (0..secrets)
        .map(|i| Secret::draw(set, &[i as u8; 32]))
        .collect();
    let blocks: Vec<_> = (0..STREAM_BYTES / (4 * set.block_words()))
        .map(|number| block(set, number as u32))
        .collect();
    let mut masks = vec![0; set.mask_words()];
    let mut mint = |block: &[i32]| {
        for secret in &drawn {
            let noise = Some((&[7; 32], 7));
            mint_block(secret, noise, black_box(block), &mut masks).expect("the set's shapes");
            black_box(&masks);
        }
    };
    let each = (LANES * set.rows() * secrets) as f64;
    let cache = median(|_| mint(&blocks[0])) / each;
    let stream = median(|run| mint(&blocks[run % blocks.len()])) / each;
    [cache, stream]
}

/// Centred residues that look like nothing.
fn block(set: &Parameters, seed: u32) -> Vec<i32> {
    let mut state = seed;
    let half = set.block_words() / 2;
    let mut residues = |p: u32| {
        // The generator of Numerical Recipes.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state % p) as i32 - ((p - 1) / 2) as i32
    };
    PRIMES
        .into_iter()
        .flat_map(|p| (0..half).map(|_| residues(p)).collect::<Vec<_>>())
        .collect()
}

/// Nanoseconds of a run.
fn median(mut run: impl FnMut(usize)) -> f64 {
    let (mut times, started) = (Vec::new(), Instant::now());
    while started.elapsed() < RUN_FOR || times.is_empty() {
        let start = Instant::now();
        run(times.len());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e9
}
