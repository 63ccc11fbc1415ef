//! The payload: a component that is refused unless its imports and exports are exactly its world's.
//!
//! Its hash is what users audit and pin, its import list is its whole interface to the world: both
//! are facts about the `.wasm`; compiled code is only ever a cache ([`cache`]).

pub(crate) mod bindings;
mod cache;
mod counters;
mod imports;
mod instance;
mod rehearsal;
mod store;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, OptLevel};

use bindings::PayloadPre;
pub(crate) use counters::InstanceCounters;
pub use counters::{Counters, MOST_HOSTS, Occupancy, Traffic};
pub(crate) use instance::{Blueprint, Instance};
pub use instance::{Keys, Refused};
pub use rehearsal::{Part, Rehearsal};
use store::GuestState;
pub(crate) use store::MAX_MEMORY_BYTES;

/// Period of the epoch: how late a computation over its deadline is noticed.
const EPOCH: Duration = Duration::from_millis(10);

/// The payload's world, without versions of `wasi:random`.
const IMPORTS: [&str; 2] = [
    "talaria:payload/mask-supply@0.1.0",
    "talaria:payload/weighted@0.1.0",
];
const EXPORTS: [&str; 5] = [
    "talaria:payload/channel@0.1.0",
    "talaria:payload/engine@0.1.0",
    "talaria:payload/minting@0.1.0",
    "talaria:payload/rehearsal@0.1.0",
    "talaria:payload/setup@0.1.0",
];
/// WASI 0.2 promises that later patch versions keep this interface.
const RANDOM: &str = "wasi:random/random@0.2.";
const RANDOM_SHOWN: &str = "wasi:random/random@0.2.x";

/// Why a component is not run.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Not a component at all.
    #[error("not a WebAssembly component: {0} (expected a payload as built from guest/)")]
    NotAComponent(String),
    /// It could reach more than it may.
    #[error(
        "the component imports `{0}`, which no payload may: allowed are {allowed} and {RANDOM_SHOWN}",
        allowed = IMPORTS.join(", ")
    )]
    ForeignImport(String),
    /// It is no payload.
    #[error("the component does not import `{0}`, as every payload does")]
    MissingImport(&'static str),
    /// It offers more than a payload.
    #[error("the component exports `{0}`, which no payload does")]
    ForeignExport(String),
    /// It is no payload.
    #[error("the component does not export `{0}`, as every payload does")]
    MissingExport(&'static str),
    /// The interfaces have the right names and other functions.
    #[error("the component's interfaces are not those of this release: {0}")]
    Interface(String),
    /// wasmtime cannot run on this machine.
    #[error("wasmtime cannot be configured on this machine: {0}")]
    Engine(String),
}

/// A checked and compiled payload, shared by all instances. Cloning is cheap.
#[derive(Clone)]
pub struct Payload {
    sha256: [u8; 32],
    pre: PayloadPre<GuestState>,
}

impl Payload {
    /// Checks and compiles a component, the `.wasm` itself.
    ///
    /// With `cache_dir` the compiled code is kept there and found again: seconds become
    /// milliseconds. The directory is made if missing, readable by its owner only. Code in it is as
    /// trusted as this program, and nothing that [`sha256`](Self::sha256) or evidence speaks of: for a user's own
    /// machine only, so `talaria-cvm` gives none. Any doubt about directory or file and the component is compiled anew.
    pub fn load(wasm: &[u8], cache_dir: Option<&Path>) -> Result<Self, PayloadError> {
        let sha256: [u8; 32] = Sha256::digest(wasm).into();
        let engine = engine()?;
        let component = match cache_dir {
            Some(dir) => cache::component(&engine, wasm, &sha256, dir)?,
            None => compile(&engine, wasm)?,
        };
        check_interface(&component)?;
        let pre = link(&component)?;
        start_epoch(&engine);
        Ok(Self { sha256, pre })
    }

    /// SHA-256 of the `.wasm`: what users pin.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    pub(crate) fn pre(&self) -> &PayloadPre<GuestState> {
        &self.pre
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({})", hex::encode(self.sha256))
    }
}

fn engine() -> Result<Engine, PayloadError> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .wasm_simd(true)
        // Results would depend on the machine.
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        // Makes attention 4.8 times slower; no bit of a NaN reaches a result.
        .cranelift_nan_canonicalization(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_backtrace_max_frames(None);
    Engine::new(&config).map_err(|e| PayloadError::Engine(format!("{e:#}")))
}

fn compile(engine: &Engine, wasm: &[u8]) -> Result<Component, PayloadError> {
    Component::from_binary(engine, wasm).map_err(|e| PayloadError::NotAComponent(format!("{e:#}")))
}

/// Exactly the world's imports and exports, by name.
fn check_interface(component: &Component) -> Result<(), PayloadError> {
    let engine = component.engine();
    let ty = component.component_type();
    let imports: BTreeSet<&str> = ty.imports(engine).map(|(name, _)| name).collect();
    let exports: BTreeSet<&str> = ty.exports(engine).map(|(name, _)| name).collect();

    let foreign = |name: &&&str| !IMPORTS.contains(*name) && !is_random(name);
    if let Some(name) = imports.iter().find(foreign) {
        return Err(PayloadError::ForeignImport((*name).to_owned()));
    }
    if let Some(missing) = IMPORTS.iter().find(|name| !imports.contains(*name)) {
        return Err(PayloadError::MissingImport(missing));
    }
    if !imports.iter().any(|name| is_random(name)) {
        return Err(PayloadError::MissingImport(RANDOM_SHOWN));
    }
    if let Some(name) = exports.iter().find(|name| !EXPORTS.contains(*name)) {
        return Err(PayloadError::ForeignExport((*name).to_owned()));
    }
    match EXPORTS.iter().find(|name| !exports.contains(*name)) {
        Some(missing) => Err(PayloadError::MissingExport(missing)),
        None => Ok(()),
    }
}

fn is_random(import: &str) -> bool {
    import
        .strip_prefix(RANDOM)
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Binds the imports; fails if an interface has other functions or types than the world's.
fn link(component: &Component) -> Result<PayloadPre<GuestState>, PayloadError> {
    let mut linker = Linker::new(component.engine());
    bindings::Payload::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| {
        state
    })
    .and_then(|()| linker.instantiate_pre(component))
    .and_then(PayloadPre::new)
    .map_err(|e| PayloadError::Interface(format!("{e:#}")))
}

/// Advances the epoch until the engine is gone.
fn start_epoch(engine: &Engine) {
    let engine = engine.weak();
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    };
    std::thread::Builder::new()
        .name("payload-epoch".into())
        .spawn(tick)
        .expect("the system can start a thread");
}

/// Shared by tests of this crate: an engine with the configuration of every payload.
#[cfg(test)]
pub(crate) fn test_engine() -> Engine {
    engine().unwrap()
}

#[cfg(test)]
pub(crate) mod tests;
