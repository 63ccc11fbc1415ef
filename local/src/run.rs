//! `run`: one prompt through masked projections, with any checkpoint.

mod report;
mod servers;

use std::sync::Arc;
use std::time::Instant;

use talaria_host_cvm::cli::masking::configured;
use talaria_host_cvm::{Cvm, CvmConfig, CvmError, Masking, Summary};
use talaria_host_gpu::weights::Model;
use talaria_wire::manifest::{Generation, WeightFormat};

use crate::cli::{Digest, PartiesArgs, RunArgs};
use crate::error::LocalError;
use crate::generate::{generate, load_payload};
use crate::hosts::{self, Device, Host};
use crate::output;
use crate::progress::Bar;
use report::{Report, Run};

/// Runs the subcommand.
///
/// # Errors
/// Whatever keeps the reply from being complete.
pub async fn run(args: RunArgs) -> Result<(), LocalError> {
    let begun = Instant::now();
    let masking = args.parties.masking.scheme(args.parties.gpu.len());
    let parties = Parties::start(&args.parties, args.expect_digest).await?;
    let setup = begun.elapsed();
    warn_of_leaks(masking, parties.cvm.summary());

    let before = parties.cvm.counters();
    let mut request = args.asked.request(parties.generation(&args));
    request.logits_digest = args.json;
    let json = args.json;
    let on_text = |text: &str| if json { Ok(()) } else { output::write(text) };
    let outcome = generate(&parties.cvm, request, on_text).await?;
    let run = Run {
        outcome,
        counters: parties.cvm.counters().since(before),
        setup,
        masking,
        backend: parties.backend(),
    };
    let report = Report::new(parties.cvm.summary(), run);
    if json {
        output::print_json(&report)?;
    } else {
        output::print("\n")?;
        eprintln!("{}", report.line());
    }
    parties.stop().await;
    Ok(())
}

/// The CVM, and the GPU hosts of this process if no servers were given.
pub(crate) struct Parties {
    model: Option<Arc<Model>>,
    hosts: Vec<Host>,
    pub cvm: Cvm,
}

impl Parties {
    /// `expected`: refuse any model but the one with this digest.
    pub(crate) async fn start(
        args: &PartiesArgs,
        expected: Option<Digest>,
    ) -> Result<Self, LocalError> {
        if !args.gpu.is_empty() {
            let wrong = |error: CvmError| LocalError::Usage(error.to_string());
            let config = CvmConfig {
                caller_key: args.caller.open().map_err(wrong)?,
                ..config(args, args.gpu.clone(), expected)
            };
            config.validate().map_err(wrong)?;
            return Self::with_servers(args, config).await;
        }
        if args.caller.caller_key.is_some() {
            let wrong = "--caller-key is for GPU hosts that are given with --gpu";
            return Err(LocalError::Usage(wrong.into()));
        }
        let dir = args.model.as_deref().ok_or_else(|| {
            LocalError::Usage("neither --model nor --gpu is given: what is to be run?".into())
        })?;
        let device = Device {
            backend: args.backend.backend,
            weights: args.weights.unwrap_or(WeightFormat::Int16),
            threads: args.threads.threads,
        };
        let bar = Bar::new("quantising");
        let model = hosts::load(dir, device, bar.loading()).await;
        bar.clear();
        let model = model?;
        let hosts = hosts::serve_many(&model, args.masking.scheme(0).hosts()).await?;
        let cvm = start_cvm(config(args, hosts::urls(&hosts), expected)).await?;
        Ok(Self {
            model: Some(model),
            hosts,
            cvm,
        })
    }

    async fn with_servers(args: &PartiesArgs, config: CvmConfig) -> Result<Self, LocalError> {
        let cvm = start_cvm(config).await?;
        servers::check_weights(args.weights, cvm.summary().weights)?;
        if let Some(dir) = &args.model {
            servers::check_model(dir, cvm.summary()).await?;
        }
        Ok(Self {
            model: None,
            hosts: Vec::new(),
            cvm,
        })
    }

    /// Name of the backend, as far as it is known: a server does not tell its own.
    fn backend(&self) -> &'static str {
        let model = self.model.as_ref();
        model.map_or("remote", |model| model.backend.name())
    }

    /// The checkpoint's sampling defaults, if they were asked for.
    fn generation(&self, args: &RunArgs) -> Option<&Generation> {
        args.asked
            .model_sampling_defaults
            .then(|| &self.cvm.summary().generation)
    }

    pub(crate) async fn stop(self) {
        self.cvm.shutdown().await;
        drop(self.hosts);
    }
}

fn config(args: &PartiesArgs, hosts: Vec<String>, expected_digest: Option<Digest>) -> CvmConfig {
    let masking = args.masking.scheme(args.gpu.len());
    CvmConfig {
        expected_digest,
        hosts,
        cache_dir: args.cache.dir(),
        ..configured(masking, &args.masking.settings, &args.engines)
    }
}

async fn start_cvm(config: CvmConfig) -> Result<Cvm, LocalError> {
    let payload = load_payload(config.cache_dir.clone()).await?;
    let bar = Bar::new("set-up pass");
    let cvm = Cvm::start(&payload, config, bar.setup()).await;
    bar.clear();
    Ok(cvm?)
}

fn warn_of_leaks(masking: Masking, summary: &Summary) {
    if masking == Masking::DangerousPlaintext {
        eprintln!(
            "WARNING: NOTHING IS MASKED. The GPU host sees every activation, prompt and reply."
        );
    }
    if !summary.leaks.is_empty() {
        eprintln!("warning: masking {masking} leaks: {}", summary.leaks);
    }
}
