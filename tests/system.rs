//! The whole system in one process: GPU hosts on loopback sockets, and the CVM with the payload.

use std::{io::Write, path::Path, sync::Arc, time::Duration};
use talaria_host_cvm::{Cvm, CvmConfig, CvmError, Deadlines, Masking, Parameters, Prompt, Request};
use talaria_host_gpu::{
    backend::BackendKind, record::Observer, server::fault::Faults, weights::Model,
};
use talaria_local::{
    LocalError,
    generate::{Outcome, generate, generate_all, greedy, load_payload},
    hosts::{Device, Host, HostOptions, load, serve, urls},
};

/// A running system.
pub struct System {
    /// The GPU hosts, stopped when dropped.
    pub hosts: Vec<Host>,
    /// The CVM.
    pub cvm: Cvm,
}

/// How a test wants its system.
#[derive(Clone)]
pub struct Setup {
    /// Masking, which says how many hosts there are.
    pub masking: Masking,
    /// CPU or wgpu.
    pub device: Device,
    /// Engine instances.
    pub engines: usize,
    /// Minting instances.
    pub minting: usize,
    /// Most rows of a pass.
    pub max_batch_rows: u32,
    /// Parameter set of module-lwe.
    pub parameters: &'static Parameters,
    /// Where R_pub is kept.
    pub cache_dir: Option<std::path::PathBuf>,
    /// What each host does wrong.
    pub faults: Vec<Option<Faults>>,
    /// Looks at what the first host sees.
    pub observer: Option<Arc<dyn Observer>>,
    /// Most memory for masks.
    pub mask_memory: Option<u64>,
    /// Waiting times.
    pub deadlines: Deadlines,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            masking: Masking::Shares,
            device: Device::default(),
            engines: 1,
            minting: 1,
            max_batch_rows: 64,
            parameters: Parameters::default_set(),
            cache_dir: None,
            faults: Vec::new(),
            observer: None,
            mask_memory: None,
            deadlines: Deadlines {
                patience: Duration::ZERO,
                project: Duration::from_secs(60),
                ..Deadlines::default()
            },
        }
    }
}

impl Setup {
    /// With this masking.
    pub fn masked(masking: Masking) -> Self {
        Self {
            masking,
            ..Self::default()
        }
    }

    /// On this backend.
    pub fn on(mut self, backend: BackendKind) -> Self {
        self.device.backend = backend;
        self
    }

    /// Loads a checkpoint and starts everything.
    pub async fn start(&self, dir: &Path) -> System {
        let model = load(dir, self.device, |_| {})
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        self.serve(&model).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Starts everything with a loaded checkpoint.
    ///
    /// # Errors
    /// If set-up refuses.
    pub async fn serve(&self, model: &Arc<Model>) -> Result<System, LocalError> {
        let mut hosts = Vec::new();
        for host in 0..self.masking.hosts() {
            let faults = self.faults.get(host).cloned().flatten();
            hosts.push(
                serve(
                    model,
                    HostOptions {
                        faults,
                        observer: self.observer.clone().filter(|_| host == 0),
                        ..HostOptions::default()
                    },
                )
                .await?,
            );
        }
        let cvm = self.connect(urls(&hosts)).await?;
        Ok(System { hosts, cvm })
    }

    /// Starts a CVM with hosts that run already.
    ///
    /// # Errors
    /// If set-up refuses.
    pub async fn connect(&self, hosts: Vec<String>) -> Result<Cvm, LocalError> {
        let payload = load_payload(Some(cache_dir())).await?;
        let config = CvmConfig {
            masking: self.masking,
            hosts,
            engines: self.engines,
            minting: self.minting,
            max_batch_rows: self.max_batch_rows,
            parameters: self.parameters,
            cache_dir: self.cache_dir.clone(),
            mask_memory: self.mask_memory,
            deadlines: self.deadlines,
            ..CvmConfig::default()
        };
        Ok(Cvm::start(&payload, config, |_| {}).await?)
    }
}

impl System {
    /// Answers one request.
    ///
    /// # Errors
    /// If it is refused or breaks off.
    pub async fn ask(&self, request: Request) -> Result<Outcome, LocalError> {
        generate(&self.cvm, request, |_| Ok(())).await
    }

    /// Answers many at once.
    pub async fn ask_all(&self, requests: Vec<Request>) -> Vec<Outcome> {
        let outcomes = generate_all(&self.cvm, requests).await;
        outcomes
            .into_iter()
            .map(|o| o.unwrap_or_else(|e| panic!("{e}")))
            .collect()
    }
}

/// Greedy continuation of token ids over stop tokens, logits hashed.
pub fn ids_request(ids: &[u32], max_new_tokens: u32) -> Request {
    Request {
        ignore_eos: true,
        logits_digest: true,
        ..greedy(Prompt::Ids(ids.to_vec()), max_new_tokens)
    }
}

/// The CVM's error inside a local one.
pub fn cvm_error(error: LocalError) -> CvmError {
    match error {
        LocalError::Cvm(error) => error,
        other => panic!("expected an error of the CVM, found: {other}"),
    }
}

/// Where the tests keep the compiled payload, so that one compilation serves them all.
fn cache_dir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("talaria-tests-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the build directory is writable");
    dir
}

/// Whether there is an adapter for wgpu tests. Says so loudly if not; fails where one is required.
pub fn has_gpu() -> bool {
    let found = !talaria_host_gpu::backend::wgpu::devices().is_empty();
    if !found {
        assert!(
            std::env::var_os("TALARIA_REQUIRE_GPU").is_none_or(|v| v != "1"),
            "TALARIA_REQUIRE_GPU=1, but wgpu finds no adapter"
        );
        // Not eprintln: the test harness would swallow it.
        let warning = "\n*** NO VULKAN ADAPTER: the wgpu half of this test did NOT run. Install Mesa's lavapipe. ***\n";
        let _ = std::io::stderr().write_all(warning.as_bytes());
    }
    found
}
