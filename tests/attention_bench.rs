//! Attention in the payload, as wasmtime runs it, against the same source natively: one thread, medians, equal
//! bits: `cargo build --release --workspace --examples && target/release/examples/attention_bench`. With the file of a
//! payload, that one, whatever its bits.

use std::time::{Duration, Instant};

use talaria_guest::ops::Heads;
use talaria_guest::rehearsal::Attention;
use talaria_host_cvm::{Payload, Rehearsal, embedded_payload};

/// Query heads, key and value heads, elements of a head: those of Qwen3-0.6B.
const HEADS: (u32, u32, u32) = (16, 8, 128);
const RUNS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let other = std::env::args_os().nth(1).map(std::fs::read).transpose()?;
    let payload = Payload::load(other.as_deref().unwrap_or(embedded_payload()), None)?;
    let mut rehearsal = Rehearsal::new(&payload)?;
    println!("attention, 16 query heads over 8 key heads of 128");
    println!("context  rows    native      Wasm   ratio");
    for (context, rows) in [(512, 1), (2048, 1), (512, 64), (2048, 64)] {
        let (native, expected) = natively(context, rows)?;
        let (wasm, found) = rehearsal.attention(HEADS, context, rows)?;
        if other.is_none() && found != expected {
            return Err("native attention and the payload's differ".into());
        }
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{context:7} {rows:5} {:6.0} us {:6.0} us {:7.2}",
            us(native),
            us(wasm),
            us(wasm) / us(native)
        );
    }
    Ok(())
}

fn natively(context: u32, rows: u32) -> Result<(Duration, u64), String> {
    let (query, key_value, dimension) = HEADS;
    let heads = Heads {
        num_attention_heads: query as usize,
        num_key_value_heads: key_value as usize,
        head_dim: dimension as usize,
    };
    let attention = Attention::new(heads, context, rows)?;
    let mut digest = 0;
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            digest = attention.attend();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    Ok((times[RUNS / 2], digest))
}
