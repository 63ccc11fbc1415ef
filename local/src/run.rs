//! `run`: one prompt through masked projections, with any checkpoint.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use talaria_host_cvm::{
    Counters, Cvm, CvmConfig, FinishReason, Masking, Message, Prompt, Request, Summary,
};
use talaria_host_gpu::weights::{Model, digest_dir};
use talaria_wire::manifest::{Generation, WeightFormat};

use crate::cli::RunArgs;
use crate::error::LocalError;
use crate::generate::{Outcome, generate, load_payload};
use crate::hosts::{self, Device, Host, blocking};
use crate::progress::Bar;
use crate::table;

/// Runs the subcommand.
///
/// # Errors
/// Whatever keeps the reply from being complete.
pub async fn run(args: RunArgs) -> Result<(), LocalError> {
    let begun = Instant::now();
    check_hosts(args.protocol.masking, &args.gpu)?;
    let parties = Parties::start(&args).await?;
    let setup = begun.elapsed();
    warn_of_leaks(args.protocol.masking, parties.cvm.summary());

    let before = parties.cvm.counters();
    let request = request(&args, parties.generation(&args));
    let streamed = !args.json;
    let outcome = generate(&parties.cvm, request, |text| stream(streamed, text)).await?;
    let counters = parties.cvm.counters().since(before);

    let report = Report::new(&parties, &outcome, counters, setup);
    if args.json {
        report.print_json()?;
    } else {
        stream(true, "\n").map_err(LocalError::Output)?;
        eprintln!("{}", report.line());
    }
    parties.stop().await;
    Ok(())
}

/// The CVM, and the GPU hosts of this process if no servers were given.
struct Parties {
    model: Option<Arc<Model>>,
    hosts: Vec<Host>,
    cvm: Cvm,
}

impl Parties {
    async fn start(args: &RunArgs) -> Result<Self, LocalError> {
        if !args.gpu.is_empty() {
            return Self::with_servers(args).await;
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
        let hosts = hosts::serve_many(&model, args.protocol.masking.hosts()).await?;
        let cvm = start_cvm(args, hosts::urls(&hosts)).await?;
        Ok(Self {
            model: Some(model),
            hosts,
            cvm,
        })
    }

    async fn with_servers(args: &RunArgs) -> Result<Self, LocalError> {
        let cvm = start_cvm(args, args.gpu.clone()).await?;
        check_weights(args.device.weights, cvm.summary().weights)?;
        if let Some(dir) = &args.model {
            check_model(dir, cvm.summary()).await?;
        }
        Ok(Self {
            model: None,
            hosts: Vec::new(),
            cvm,
        })
    }

    /// Name of the backend, as far as it is known: a server does not tell its own.
    fn backend(&self) -> &str {
        self.model
            .as_ref()
            .map_or("remote", |model| model.backend.name())
    }

    /// The checkpoint's sampling defaults, if they were asked for.
    fn generation(&self, args: &RunArgs) -> Option<&Generation> {
        args.sampling
            .model_sampling_defaults
            .then(|| &self.cvm.summary().generation)
    }

    async fn stop(self) {
        self.cvm.shutdown().await;
        drop(self.hosts);
    }
}

async fn start_cvm(args: &RunArgs, hosts: Vec<String>) -> Result<Cvm, LocalError> {
    let cache_dir = args.cache.dir();
    let payload = load_payload(cache_dir.clone()).await?;
    let config = CvmConfig {
        masking: args.protocol.masking,
        remo_rank: args.protocol.remo_rank,
        expected_digest: args.expect_digest,
        hosts,
        engines: args.protocol.engines as usize,
        max_batch_rows: args.protocol.max_batch_rows,
        cache_dir,
        ..CvmConfig::default()
    };
    let bar = Bar::new("set-up pass");
    let cvm = Cvm::start(&payload, config, bar.setup()).await;
    bar.clear();
    Ok(cvm?)
}

/// As many servers as the masking needs, and no server twice.
fn check_hosts(masking: Masking, gpu: &[String]) -> Result<(), LocalError> {
    let needed = masking.hosts();
    if !gpu.is_empty() && gpu.len() != needed {
        let why = match masking {
            Masking::Shares => "one host gets rows plus masks, the other the masks",
            Masking::Remo => "one host gets all rows, masked within a subspace",
            Masking::DangerousPlaintext => "one host gets all rows as they are",
        };
        let given = gpu.len();
        return Err(LocalError::Usage(format!(
            "masking {masking} needs --gpu {needed} times, {given} given: {why}"
        )));
    }
    match gpu {
        [first, second] if first == second => Err(LocalError::Usage(format!(
            "{first} is given twice: with both shares of a row it would see the row; \
             give two servers of different operators"
        ))),
        _ => Ok(()),
    }
}

fn check_weights(wanted: Option<WeightFormat>, served: WeightFormat) -> Result<(), LocalError> {
    match wanted {
        Some(wanted) if wanted != served => Err(LocalError::Usage(format!(
            "the servers have {} weights, --weights {} was asked for: start them with it, or leave \
             the flag out",
            served.name(),
            wanted.name()
        ))),
        _ => Ok(()),
    }
}

/// The servers have the model in `dir`.
async fn check_model(dir: &Path, summary: &Summary) -> Result<(), LocalError> {
    let (path, format) = (dir.to_owned(), summary.weights);
    let bar = Bar::new("digesting");
    let mut progress = bar.loading();
    let digest = blocking("digesting the model", move || {
        digest_dir(&path, format, &mut progress).map_err(|source| LocalError::Load {
            dir: path,
            source: source.into(),
        })
    })
    .await?;
    bar.clear();
    let digest = digest?;
    if digest.0 == summary.model_digest {
        return Ok(());
    }
    Err(LocalError::Usage(format!(
        "the servers have the model {}, {} has {digest}: start them with this directory, or leave \
         --model out",
        hex::encode(summary.model_digest),
        dir.display()
    )))
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

fn request(args: &RunArgs, generation: Option<&Generation>) -> Request {
    Request {
        prompt: prompt(args),
        sampling: args.sampling.resolve(generation),
        max_new_tokens: args.max_new_tokens,
        stop: args.sampling.stop.clone(),
        ignore_eos: args.ignore_eos,
        logits_digest: args.json,
    }
}

/// One of the three is there: the command line saw to it.
fn prompt(args: &RunArgs) -> Prompt {
    if let Some(ids) = &args.prompt_ids {
        return Prompt::Ids(ids.clone());
    }
    if let Some(text) = &args.prompt {
        return Prompt::Text(text.clone());
    }
    let message = |role: &str, content: &Option<String>| {
        content.clone().map(|content| Message {
            role: role.into(),
            content,
        })
    };
    let messages = [message("system", &args.system), message("user", &args.chat)];
    Prompt::Chat(messages.into_iter().flatten().collect())
}

/// Writes at once, so that a reader sees tokens as they come.
fn stream(wanted: bool, text: &str) -> io::Result<()> {
    if !wanted || text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    text: String,
    finish_reason: &'static str,
    logits_digest: Option<String>,
    payload_sha256: String,
    model_digest: String,
    masking: &'static str,
    backend: String,
    weights: &'static str,
    counters: Traffic,
    seconds: Seconds,
}

#[derive(Debug, Serialize)]
struct Traffic {
    projections: u64,
    rows: u64,
    bytes_up: u64,
    bytes_down: u64,
    checks: u64,
}

#[derive(Debug, Serialize)]
struct Seconds {
    setup: f64,
    prefill: f64,
    decode: f64,
}

impl Report {
    fn new(parties: &Parties, outcome: &Outcome, counters: Counters, setup: Duration) -> Self {
        let summary = parties.cvm.summary();
        let Counters {
            projections,
            rows,
            bytes_up,
            bytes_down,
            checks,
            ..
        } = counters;
        Self {
            prompt_ids: outcome.prompt_ids.clone(),
            token_ids: outcome.token_ids.clone(),
            text: outcome.text.clone(),
            finish_reason: match outcome.finish_reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
            },
            logits_digest: outcome.logits_digest.map(hex::encode),
            payload_sha256: hex::encode(summary.payload_sha256),
            model_digest: hex::encode(summary.model_digest),
            masking: summary.masking.name(),
            backend: parties.backend().to_owned(),
            weights: summary.weights.name(),
            counters: Traffic {
                projections,
                rows,
                bytes_up,
                bytes_down,
                checks,
            },
            seconds: Seconds {
                setup: setup.as_secs_f64(),
                prefill: outcome.prefill().as_secs_f64(),
                decode: outcome.decode().as_secs_f64(),
            },
        }
    }

    fn print_json(&self) -> Result<(), LocalError> {
        let mut json = serde_json::to_string(self).map_err(|e| LocalError::Output(e.into()))?;
        json.push('\n');
        stream(true, &json).map_err(LocalError::Output)
    }

    /// One line for people.
    fn line(&self) -> String {
        let Traffic {
            projections,
            bytes_up,
            bytes_down,
            checks,
            ..
        } = self.counters;
        let tokens = self.token_ids.len();
        let rate = match (tokens, self.seconds.decode) {
            (2.., decode) if decode > 0.0 => format!(", {:.1}/s", (tokens - 1) as f64 / decode),
            _ => String::new(),
        };
        format!(
            "[{} prompt tokens in {:.2} s, {tokens} tokens{rate}, set-up {:.2} s; {} projections \
             masked by {}, {} up, {} down, {} checks passed]",
            self.prompt_ids.len(),
            self.seconds.prefill,
            self.seconds.setup,
            table::thousands(projections),
            self.masking,
            table::bytes(bytes_up),
            table::bytes(bytes_down),
            table::thousands(checks),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_must_be_as_many_as_the_masking_needs() {
        let url = |i: u32| format!("http://host{i}:1");
        let error = |masking, gpu: &[String]| check_hosts(masking, gpu).unwrap_err().to_string();
        assert!(check_hosts(Masking::Shares, &[]).is_ok());
        assert!(check_hosts(Masking::Shares, &[url(1), url(2)]).is_ok());
        assert!(check_hosts(Masking::Remo, &[url(1)]).is_ok());
        assert!(error(Masking::Shares, &[url(1)]).contains("--gpu 2 times, 1 given"));
        assert!(error(Masking::Remo, &[url(1), url(2)]).contains("--gpu 1 times, 2 given"));
        assert!(error(Masking::Shares, &[url(1), url(1)]).contains("twice"));
    }

    #[test]
    fn the_json_has_the_documented_keys() {
        let report = Report {
            prompt_ids: vec![1],
            token_ids: vec![2, 3, 4],
            text: "hi".into(),
            finish_reason: "stop",
            logits_digest: None,
            payload_sha256: "aa".into(),
            model_digest: "bb".into(),
            masking: "shares",
            backend: "cpu".into(),
            weights: "int16",
            counters: Traffic {
                projections: 18,
                rows: 18,
                bytes_up: 1,
                bytes_down: 2,
                checks: 18,
            },
            seconds: Seconds {
                setup: 1.0,
                prefill: 0.5,
                decode: 0.25,
            },
        };
        let json = serde_json::to_string(&report).unwrap();
        let expected = concat!(
            r#"{"prompt_ids":[1],"token_ids":[2,3,4],"text":"hi","finish_reason":"stop","#,
            r#""logits_digest":null,"payload_sha256":"aa","model_digest":"bb","masking":"shares","#,
            r#""backend":"cpu","weights":"int16","counters":{"projections":18,"rows":18,"#,
            r#""bytes_up":1,"bytes_down":2,"checks":18},"#,
            r#""seconds":{"setup":1.0,"prefill":0.5,"decode":0.25}}"#
        );
        assert_eq!(json, expected);
        assert!(
            report.line().contains("3 tokens, 8.0/s"),
            "{}",
            report.line()
        );
    }
}
