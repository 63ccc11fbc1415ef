//! Checks and times minting, and all mask work of a token against the product that it replaces:
//! `cargo build --release --workspace --examples && target/release/examples/mask_bench`.
//!
//! Builds guest/examples/mask_bench.rs for Wasm as the payload is built (or takes the path of a module),
//! runs it with the payload's wasmtime settings, compares masks with native ones bit for bit, and
//! prints nanoseconds for a mask of one element, both primes. One thread, medians. Natively:
//! arithmetic/examples/mint_bench.rs.
//!
//! "cache": the same block again and again. "stream": blocks from a buffer larger than the last
//! cache, copied into the module's memory as an import would.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use talaria_arithmetic::module_lwe::{LANES, PARAMETERS, Parameters, Secret, mint_block};
use talaria_arithmetic::residue::from_small;
use talaria_host_cvm::{Masking, MatrixShape, Part, Payload, Rehearsal, embedded_payload};
use talaria_wire::manifest::WeightFormat;
use wasmtime::error::Context;
use wasmtime::{
    Config, Engine, Instance, Memory, Module, OptLevel, Result, Store, TypedFunc, bail, ensure,
};

const RUN_FOR: Duration = Duration::from_millis(700);
/// Larger than any last-level cache slice that one core can use.
const STREAM_BYTES: usize = 256 << 20;
const EPOCH: Duration = Duration::from_millis(10);
/// Shape of the product with weights that minting competes with; weights of [`STREAM_BYTES`].
const K: usize = 4096;
/// Its outputs in one run.
const N: usize = 64;
/// Matrices of Qwen3-8B: how many, input features, outputs. The embedding first: computed locally it would be a
/// look-up, no product.
const LARGE: [(u32, u32, u32); 6] = [
    (1, 151_936, 4096),
    (36, 4096, 6144),
    (36, 4096, 4096),
    (36, 4096, 24_576),
    (36, 12_288, 4096),
    (1, 4096, 151_936),
];

fn main() -> Result<()> {
    let module = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let wasm = std::fs::read(&module).with_context(|| format!("{}", module.display()))?;
    let engine = engine()?;
    let module = Module::new(&engine, &wasm)?;
    println!("ns per mask and element       cache   stream");
    const SETS: &[Parameters] = &PARAMETERS;
    for (number, set) in SETS.iter().enumerate() {
        for secrets in [1, 4] {
            let mut wasm = Wasm::new(&engine, &module)?;
            wasm.prepare(number, secrets)?;
            compare(set, &mut wasm, secrets)?;
            let [cache, stream] = minting(set, &mut wasm, secrets)?;
            println!(
                "{:7} {secrets} secret(s) a block {cache:8.2} {stream:8.2}",
                set.name
            );
        }
    }
    let mut wasm = Wasm::new(&engine, &module)?;
    let product = time_product(&mut wasm)?;
    println!(
        "local int16 x int8 product, k = {K}, weights streamed: {product:.1} ns per output (Wasm)\n"
    );
    mask_work(product / K as f64)
}

/// A token of [`LARGE`] with int8 weights: its mask work in the payload, and the product there, at `product` ns per
/// weight.
fn mask_work(product: f64) -> Result<()> {
    let weights: f64 = LARGE[1..]
        .iter()
        .map(|(count, k, n)| f64::from(*count) * f64::from(*k) * f64::from(*n))
        .sum();
    let local = weights * product / 1e6;
    let payload = Payload::load(embedded_payload(), None)?;
    let mut rehearsal = Rehearsal::new(&payload)?;
    const PARTS: [Part; 3] = [Part::Mask, Part::Check, Part::Unmask];
    let mut parts = [0.0; PARTS.len()];
    for (count, k, n) in LARGE {
        let matrix = MatrixShape {
            k: k as usize,
            n: n as usize,
            format: WeightFormat::Int8,
        };
        let times = rehearsal.parts((Masking::ModuleLwe, 0.0), matrix, 1, &PARTS)?;
        for (total, time) in parts.iter_mut().zip(times) {
            *total += f64::from(count) * time.as_secs_f64() * 1e3;
        }
    }
    let columns: f64 = LARGE
        .iter()
        .map(|(count, k, n)| f64::from(*count) * f64::from(k + n))
        .sum();
    println!("a token of Qwen3-8B, int8, one thread, Wasm: ms");
    println!("           mint + store    mask   check  unmask   total   local   ratio");
    const SETS: &[Parameters] = &PARAMETERS;
    for set in SETS {
        let mint = rehearsal.minting(set)? * columns / 1e6;
        let [mask, check, unmask] = parts;
        let total = mint + mask + check + unmask;
        println!(
            "{:10} {mint:12.1} {mask:7.1} {check:7.1} {unmask:7.1} {total:7.1} {local:7.1} {:7.3}",
            set.name,
            total / local
        );
    }
    Ok(())
}

/// Deterministic numbers that look like nothing.
fn words(seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        // Knuth's MMIX generator, high half.
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 32) as u32
    })
}

/// A block of centred residues; every 16th at an end of its range.
fn block(set: &Parameters, seed: u64) -> Vec<i32> {
    let half = set.block_words() / 2;
    let mut words = words(seed);
    let mut out = Vec::with_capacity(2 * half);
    for p in talaria_arithmetic::PRIMES {
        let end = ((p - 1) / 2) as i32;
        out.extend(words.by_ref().take(half).map(|word| match word % 32 {
            0 => end,
            1 => -end,
            _ => (word % p) as i32 - end,
        }));
    }
    out
}

/// Both must give the same bits, with and without noise, and residues below their primes.
fn compare(set: &'static Parameters, wasm: &mut Wasm, secrets: usize) -> Result<()> {
    for round in 0..4u8 {
        let block = block(set, round.into());
        wasm.write_block(&block)?;
        wasm.mint(round % 2, round)?;
        let found = wasm.read_masks(set.mask_words() * secrets)?;
        for (i, found) in found.chunks(set.mask_words()).enumerate() {
            let secret = Secret::draw(set, &[i as u8; 32]);
            let mut expected = vec![0; set.mask_words()];
            let seed = [round; 32];
            let noise = (round % 2 == 1).then_some((&seed, u64::from(round)));
            mint_block(&secret, noise, &block, &mut expected)?;
            ensure!(
                found == expected,
                "{}: Wasm and native masks differ",
                set.name
            );
            let below = |(at, x): (usize, &u32)| {
                let p = talaria_arithmetic::PRIMES[at / (set.mask_words() / 2)];
                *x < p && from_small(*x as i32, p) == *x
            };
            ensure!(expected.iter().enumerate().all(below), "no residues");
        }
    }
    Ok(())
}

/// Time of a run in ns, divided by `masks`: the median, as a run is short against what disturbs it.
fn time(masks: usize, mut run: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let (mut times, started) = (Vec::new(), Instant::now());
    while started.elapsed() < RUN_FOR || times.is_empty() {
        let start = Instant::now();
        run(times.len())?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e9 / masks as f64)
}

/// Blocks of [`STREAM_BYTES`] altogether.
fn stream(set: &Parameters) -> Vec<Vec<i32>> {
    let count = STREAM_BYTES / (4 * set.block_words());
    let one = block(set, 9);
    (0..count).map(|_| one.clone()).collect()
}

fn minting(set: &Parameters, wasm: &mut Wasm, secrets: usize) -> Result<[f64; 2]> {
    let each = LANES * set.rows() * secrets;
    let cache = time(each, |_| wasm.mint(1, 7))?;
    let blocks = stream(set);
    let stream = time(each, |run| {
        wasm.write_block(&blocks[run % blocks.len()])?;
        wasm.mint(1, 7)
    })?;
    Ok([cache, stream])
}

fn time_product(wasm: &mut Wasm) -> Result<f64> {
    let prepare: TypedFunc<(u32, u32), ()> = wasm.function("prepare_product")?;
    let product: TypedFunc<(u32, u32), i64> = wasm.function("product")?;
    let outputs = STREAM_BYTES / K;
    call(&prepare, &mut wasm.store, (K as u32, outputs as u32))?;
    time(N, |run| {
        let first = run * N % outputs;
        black_box(call(&product, &mut wasm.store, (first as u32, N as u32))?);
        Ok(())
    })
}

/// The settings of `host-cvm/src/payload.rs`, with its epoch.
fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(false);
    let engine = Engine::new(&config)?;
    let ticking = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    });
    Ok(engine)
}

struct Wasm {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    mint: TypedFunc<(u32, u32), u32>,
    block: usize,
    block_words: usize,
    masks: usize,
}

impl Wasm {
    fn new(engine: &Engine, module: &Module) -> Result<Self> {
        let mut store = Store::new(engine, ());
        // Interruption is compiled in and never comes.
        store.set_epoch_deadline(1 << 40);
        let instance = Instance::new(&mut store, module, &[])?;
        let memory = instance.get_memory(&mut store, "memory");
        let mint = instance.get_typed_func(&mut store, "mint")?;
        Ok(Self {
            store,
            instance,
            memory: memory.context("the module exports no memory")?,
            mint,
            block: 0,
            block_words: 0,
            masks: 0,
        })
    }

    fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        self.instance.get_typed_func(&mut self.store, name)
    }

    fn prepare(&mut self, set: usize, secrets: usize) -> Result<()> {
        let prepare: TypedFunc<(u32, u32), u32> = self.function("prepare")?;
        let refused = call(&prepare, &mut self.store, (set as u32, secrets as u32))?;
        ensure!(refused == 0, "the module knows no set {set}");
        let block: TypedFunc<(), u32> = self.function("block")?;
        let masks: TypedFunc<(), u32> = self.function("masks")?;
        self.block = call(&block, &mut self.store, ())? as usize;
        self.masks = call(&masks, &mut self.store, ())? as usize;
        self.block_words = PARAMETERS[set].block_words();
        Ok(())
    }

    fn write_block(&mut self, block: &[i32]) -> Result<()> {
        ensure!(block.len() == self.block_words, "another set's block");
        let bytes: &[u8] = bytemuck::cast_slice(block);
        Ok(self.memory.write(&mut self.store, self.block, bytes)?)
    }

    fn mint(&mut self, noise: u8, number: u8) -> Result<()> {
        let refused = call(&self.mint, &mut self.store, (noise.into(), number.into()))?;
        if refused != 0 {
            bail!("the module refused");
        }
        Ok(())
    }

    fn read_masks(&mut self, words: usize) -> Result<Vec<u32>> {
        let mut masks = vec![0u32; words];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut masks);
        self.memory.read(&self.store, self.masks, bytes)?;
        Ok(masks)
    }
}

fn call<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    function: &TypedFunc<P, R>,
    store: &mut Store<()>,
    parameters: P,
) -> Result<R> {
    function.call(store, parameters)
}

/// The module, built by a nested cargo with the payload's flags and none of this build's environment.
fn build() -> Result<PathBuf> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest");
    let target_dir = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir).join("mask-bench"),
        None => guest.join("../target/mask-bench"),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let building = name.starts_with("CARGO_") || name.starts_with("RUSTC");
        if (building && name != "CARGO_HOME") || name == "RUSTFLAGS" {
            cargo.env_remove(&*name);
        }
    }
    let flags = "-Ctarget-feature=+simd128\x1f--cfg=getrandom_backend=\"custom\"";
    let status = cargo
        .current_dir(&guest)
        .args(["build", "--release", "--locked", "--example", "mask_bench"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .status()?;
    ensure!(status.success(), "the module could not be built");
    Ok(target_dir
        .join(TARGET)
        .join("release/examples/mask_bench.wasm"))
}
