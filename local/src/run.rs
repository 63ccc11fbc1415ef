//! `run`: one prompt through masked projections, with any checkpoint.

mod report;
mod servers;

use std::sync::Arc;
use std::time::Instant;

use talaria_host_cvm::{Cvm, CvmConfig, Masking, Summary};
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
    let masking = args.parties.protocol.masking_for(args.parties.gpu.len());
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
    pub async fn start(args: &PartiesArgs, expected: Option<Digest>) -> Result<Self, LocalError> {
        servers::check_hosts(args.protocol.masking_for(args.gpu.len()), &args.gpu)?;
        if !args.gpu.is_empty() {
            return Self::with_servers(args, expected).await;
        }
        let dir = args.model.as_deref().ok_or_else(|| {
            LocalError::Usage("neither --model nor --gpu is given: what is to be run?".into())
        })?;
        let device = Device {
            backend: args.device.backend,
            weights: args.device.weights.unwrap_or(WeightFormat::Int16),
            threads: args.threads,
        };
        let bar = Bar::new("quantising");
        let model = hosts::load(dir, device, bar.loading()).await;
        bar.clear();
        let model = model?;
        let hosts = hosts::serve_many(&model, args.protocol.masking_for(0).hosts()).await?;
        let cvm = start_cvm(args, hosts::urls(&hosts), expected).await?;
        Ok(Self {
            model: Some(model),
            hosts,
            cvm,
        })
    }

    async fn with_servers(
        args: &PartiesArgs,
        expected: Option<Digest>,
    ) -> Result<Self, LocalError> {
        let cvm = start_cvm(args, args.gpu.clone(), expected).await?;
        servers::check_weights(args.device.weights, cvm.summary().weights)?;
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
            .sampling
            .model_sampling_defaults
            .then(|| &self.cvm.summary().generation)
    }

    pub async fn stop(self) {
        self.cvm.shutdown().await;
        drop(self.hosts);
    }
}

async fn start_cvm(
    args: &PartiesArgs,
    hosts: Vec<String>,
    expected_digest: Option<Digest>,
) -> Result<Cvm, LocalError> {
    let cache_dir = args.cache.dir();
    let payload = load_payload(cache_dir.clone()).await?;
    let mut config = CvmConfig {
        masking: args.protocol.masking_for(args.gpu.len()),
        remo_rank: args.protocol.remo_rank,
        expected_digest,
        hosts,
        engines: args.protocol.engines as usize,
        max_batch_rows: args.protocol.max_batch_rows,
        cache_dir,
        ..CvmConfig::default()
    };
    args.protocol.minting.apply(&mut config);
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
