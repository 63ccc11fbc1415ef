//! Measures the products of the CPU backend: multiply-adds a second (one int8 weight times one element
//! modulo both primes) and, for one row, weight bytes a second against the read bandwidth measured in
//! the same run. `--wgpu` measures the wgpu backend instead.
//!
//! ```sh
//! cargo run --release -p talaria-host-gpu --example kernels
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};
use talaria_arithmetic::PRIMES;
use talaria_host_gpu::backend::cpu::{CpuBackend, path::Path};
use talaria_host_gpu::backend::wgpu::WgpuBackend;
use talaria_host_gpu::backend::{Backend, BackendError, MatrixShape, Planes};
use talaria_wire::manifest::WeightFormat;

/// Every figure is the best of the runs that fit into this time.
const TIME: Duration = Duration::from_millis(1500);
/// 128 MiB of planes: several times the L3 cache of a core complex.
const SHAPE: MatrixShape = MatrixShape {
    k: 4096,
    n: 16384,
    format: WeightFormat::Int16,
};
const ROWS: [usize; 6] = [1, 2, 4, 8, 16, 32];

fn main() -> Result<(), BackendError> {
    if std::env::args().any(|arg| arg == "--wgpu") {
        let mut backend = WgpuBackend::new(None)?;
        println!("{}", backend.describe());
        return products(&mut backend, 1, f64::NAN);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, cores];
    counts.dedup();
    for threads in counts {
        let bandwidth = read_bandwidth(threads);
        println!("\n{threads} threads: {bandwidth:.1} GB/s read");
        for path in Path::available() {
            let mut backend = CpuBackend::with_path(Some(threads), path)?;
            println!("{}", backend.describe());
            products(&mut backend, threads, bandwidth)?;
        }
    }
    Ok(())
}

fn products(backend: &mut dyn Backend, threads: usize, bandwidth: f64) -> Result<(), BackendError> {
    let matrix = load(backend)?;
    for rows in ROWS {
        let x = residues(rows);
        let seconds = best(|| backend.project(matrix, rows, &x, Planes::Joined).map(drop))?;
        if seconds > TIME.as_secs_f64() {
            println!("  {rows:2} rows: {seconds:.1} s, more are not measured");
            break;
        }
        let bytes = backend.weight_bytes() as f64;
        let products = bytes * rows as f64;
        let (rate, share) = (bytes / seconds / 1e9, bytes / seconds / 1e7 / bandwidth);
        println!(
            "  {rows:2} rows: {:7.2} ms  {:6.2} G multiply-adds/s  {:6.2} a core  {rate:5.1} GB/s ({share:3.0} %)",
            seconds * 1e3,
            products / seconds / 1e9,
            products / seconds / 1e9 / threads as f64,
        );
    }
    Ok(())
}

fn load(backend: &mut dyn Backend) -> Result<usize, BackendError> {
    let matrix = backend.add_matrix(SHAPE)?;
    let outputs = 1024;
    for plane in 0..SHAPE.format.planes() {
        for first in (0..SHAPE.n).step_by(outputs) {
            let weights: Vec<i8> = (0..outputs * SHAPE.k)
                .map(|i| (i * 37 + first) as i8)
                .collect();
            backend.store(matrix, plane, first, &weights)?;
        }
    }
    Ok(matrix)
}

fn residues(rows: usize) -> Vec<u32> {
    (0..rows * 2 * SHAPE.k)
        .map(|i| (i as u32).wrapping_mul(2_654_435_761) % PRIMES[i / SHAPE.k % 2])
        .collect()
}

/// Bytes a second that `threads` threads read from memory, in GB/s.
fn read_bandwidth(threads: usize) -> f64 {
    // Not zeros: those would all be one page.
    let parts: Vec<Vec<u64>> = (0..threads).map(|i| vec![i as u64 + 1; 1 << 25]).collect();
    let read = || {
        std::thread::scope(|scope| {
            for part in &parts {
                scope.spawn(|| black_box(part.iter().fold(0u64, |sum, x| sum.wrapping_add(*x))));
            }
        });
        Ok::<_, BackendError>(())
    };
    let bytes = parts
        .iter()
        .map(|part| size_of_val(&part[..]))
        .sum::<usize>();
    best(read).map_or(f64::NAN, |seconds| bytes as f64 / seconds / 1e9)
}

/// Shortest run in seconds, after one that warms up.
fn best(mut run: impl FnMut() -> Result<(), BackendError>) -> Result<f64, BackendError> {
    run()?;
    let (start, mut shortest) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < TIME {
        let begin = Instant::now();
        run()?;
        shortest = shortest.min(begin.elapsed().as_secs_f64());
    }
    Ok(shortest)
}
