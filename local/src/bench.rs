//! `bench`: what masking costs against plaintext on the same backend.
//!
//! Every GPU host gets weights and threads of its own, as if it were a machine of its own, and
//! plaintext uses one such host: the ratio then shows what masking costs where hosts are not this
//! process. Both hosts of `shares` still share this machine's memory bandwidth and caches.

mod measure;
mod rates;
mod report;
mod scratch;
mod split;

use std::path::PathBuf;
use std::sync::Arc;

use talaria_host_cvm::cli::masking::configured;
use talaria_host_cvm::{Cvm, CvmConfig, Masking, Payload, Rehearsal};
use talaria_host_gpu::weights::{Model, synthetic};
use talaria_wire::manifest::Manifest;

use crate::cli::BenchArgs;
use crate::demo_model;
use crate::error::LocalError;
use crate::generate::load_payload;
use crate::hosts::{self, Device, Host, HostOptions, blocking};
use crate::progress::Bar;
use measure::{Load, Measured, measure};
use report::Report;
use scratch::Scratch;

/// Of random checkpoints: every run measures the same model.
const SEED: u64 = 1;

/// Runs the subcommand.
///
/// # Errors
/// Whatever keeps a run from being complete.
pub async fn bench(args: BenchArgs) -> Result<(), LocalError> {
    let source = Source::open(&args).await?;
    let maskings = maskings(&args.masking);
    let config = configured(Masking::DangerousPlaintext, &args.schemes, &args.engines);
    let hosts = maskings
        .iter()
        .map(|masking| masking.hosts())
        .max()
        .unwrap_or(1);
    let machines = Machines::start(&source, &args, hosts).await?;
    let payload = load_payload(args.cache.dir()).await?;
    let mut cvms = Vec::with_capacity(maskings.len());
    for masking in maskings {
        let config = CvmConfig {
            masking,
            cache_dir: args.cache.dir(),
            ..config.clone()
        };
        cvms.push((masking, machines.cvm(&payload, config).await?));
    }

    let manifest = &machines.model()?.manifest;
    let mut report = Report::new(source.name.clone(), &machines, &args, config.engines)?;
    let mut rounds = Rounds::new(&args, config.remo_rank, &payload, cvms.len())?;
    for sessions in &args.sessions {
        let load = Load {
            sessions: *sessions as usize,
            ..Load::of(&args)
        };
        for (masking, measured) in rounds.run(&cvms, manifest, load).await? {
            report.add(masking, load.sessions, measured);
        }
    }
    for (_, cvm) in cvms {
        cvm.shutdown().await;
    }
    report.print(args.json)
}

/// The same load on every masking in turn, again and again, so that whatever else the machine does
/// meets all of them.
struct Rounds {
    repeats: usize,
    remo_rank: f32,
    rehearsal: Rehearsal,
    bar: Bar,
}

impl Rounds {
    fn new(
        args: &BenchArgs,
        remo_rank: f32,
        payload: &Payload,
        maskings: usize,
    ) -> Result<Self, LocalError> {
        let repeats = args.repeats as usize;
        let runs = repeats * maskings * args.sessions.len();
        Ok(Self {
            repeats,
            remo_rank,
            rehearsal: Rehearsal::new(payload)?,
            bar: Bar::counting("measuring", runs as u64),
        })
    }

    /// Of each masking the run with the median decode rate.
    async fn run(
        &mut self,
        cvms: &[(Masking, Cvm)],
        manifest: &Manifest,
        load: Load,
    ) -> Result<Vec<(Masking, Measured)>, LocalError> {
        let mut runs = vec![Vec::with_capacity(self.repeats); cvms.len()];
        for _ in 0..self.repeats {
            for ((masking, cvm), runs) in cvms.iter().zip(&mut runs) {
                let masking = (*masking, self.remo_rank);
                runs.push(measure(cvm, &mut self.rehearsal, masking, manifest, load).await?);
                self.bar.advance();
            }
        }
        let medians = runs.into_iter().filter_map(median);
        Ok(cvms
            .iter()
            .map(|(masking, _)| *masking)
            .zip(medians)
            .collect())
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.bar.clear();
    }
}

fn median(mut runs: Vec<Measured>) -> Option<Measured> {
    runs.sort_by(|a, b| a.rates.decode.total_cmp(&b.rates.decode));
    runs.get(runs.len() / 2).copied()
}

/// Plaintext first, then each of the others once.
fn maskings(asked: &[Masking]) -> Vec<Masking> {
    let mut all = vec![Masking::DangerousPlaintext];
    for masking in asked {
        if !all.contains(masking) {
            all.push(*masking);
        }
    }
    all
}

/// The checkpoint, in a directory that may be gone afterwards.
struct Source {
    name: String,
    dir: PathBuf,
    _temporary: Option<Scratch>,
}

impl Source {
    async fn open(args: &BenchArgs) -> Result<Self, LocalError> {
        match (&args.model, args.synthetic) {
            (Some(dir), _) => Ok(Self {
                name: dir.display().to_string(),
                dir: dir.clone(),
                _temporary: None,
            }),
            (None, Some(size)) => {
                let made = Scratch::new().map_err(LocalError::Temporary)?;
                let dir = made.path().to_owned();
                let write = move || synthetic::write(&dir, &size.preset().size(), SEED);
                let written = blocking("making a model", write).await?;
                written.map_err(LocalError::Temporary)?;
                let name = format!("random {size:?}").to_lowercase();
                Ok(Self::temporary(name, made))
            }
            (None, None) => {
                let made = demo_model::unpack().map_err(LocalError::Temporary)?;
                Ok(Self::temporary("demo".into(), Scratch::from(made)))
            }
        }
    }

    fn temporary(name: String, dir: Scratch) -> Self {
        Self {
            name,
            dir: dir.path().to_owned(),
            _temporary: Some(dir),
        }
    }
}

/// As many GPU hosts as the most demanding masking needs, none sharing anything with another.
struct Machines {
    models: Vec<Arc<Model>>,
    hosts: Vec<Host>,
    threads_per_host: usize,
}

impl Machines {
    async fn start(source: &Source, args: &BenchArgs, count: usize) -> Result<Self, LocalError> {
        let threads_per_host = args.threads_per_host.unwrap_or_else(half_of_the_cores);
        let device = Device {
            backend: args.backend.backend,
            weights: args.weights,
            threads: Some(threads_per_host),
        };
        let mut machines = Self {
            models: Vec::new(),
            hosts: Vec::new(),
            threads_per_host,
        };
        for _ in 0..count {
            let bar = Bar::new("quantising");
            let model = hosts::load(&source.dir, device, bar.loading()).await;
            bar.clear();
            let model = model?;
            machines
                .hosts
                .push(hosts::serve(&model, HostOptions::default()).await?);
            machines.models.push(model);
        }
        Ok(machines)
    }

    fn model(&self) -> Result<&Model, LocalError> {
        self.models
            .first()
            .map(|model| &**model)
            .ok_or(LocalError::Defect("starting GPU hosts"))
    }

    async fn cvm(&self, payload: &Payload, config: CvmConfig) -> Result<Cvm, LocalError> {
        let config = CvmConfig {
            hosts: hosts::urls(&self.hosts)
                .into_iter()
                .take(config.masking.hosts())
                .collect(),
            ..config
        };
        let bar = Bar::new("set-up pass");
        let cvm = Cvm::start(payload, config, bar.setup()).await;
        bar.clear();
        Ok(cvm?)
    }
}

fn half_of_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
