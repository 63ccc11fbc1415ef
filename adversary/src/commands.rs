//! `capture` and `attack`.

use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use talaria_host_cvm::{CvmConfig, Payload, Prompt};
use talaria_host_gpu::weights::Model;
use talaria_local::generate::load_payload;
use talaria_local::hosts::{self, Device};
use talaria_wire::manifest::WeightFormat;

use crate::attacks::{self, ATTACKS, Attack, Effort, Scene};
use crate::capture::{Ask, Capture, Plan, capture as run_capture};
use crate::cli::{AttackArgs, CaptureArgs};
use crate::dice::Dice;
use crate::error::AdversaryError;
use crate::metrics::Outcome;
use crate::own_copy::OwnCopy;
use crate::report::table;
use crate::view::{View, known, truth};

/// Longest prompt file.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

/// Runs `capture`.
///
/// # Errors
/// If prompts cannot be read, the system does not run or files cannot be written.
pub async fn capture(args: CaptureArgs) -> Result<(), AdversaryError> {
    let prompts = read_prompts(&args.prompts)?;
    let asks = match (args.game, &args.own_prompts) {
        (Some(trials), _) => {
            let [a, b, ..] = &prompts[..] else {
                let message = format!("--game needs two prompts in {}", args.prompts.display());
                return Err(AdversaryError::Usage(message));
            };
            let sides = [Prompt::Text(a.clone()), Prompt::Text(b.clone())];
            game(&sides, trials, args.new_tokens, args.seed)
        }
        (None, own) => {
            let own = own
                .as_deref()
                .map(read_prompts)
                .transpose()?
                .unwrap_or_default();
            asks(&own, &prompts, args.new_tokens)
        }
    };
    let model = load(&args.checkpoint.model, args.checkpoint.weights).await?;
    let payload = load_payload(cache_dir()).await?;
    let plan = Plan {
        config: CvmConfig {
            masking: args.masking,
            remo_rank: args.remo_rank,
            cache_dir: cache_dir(),
            ..CvmConfig::default()
        },
        asks,
    };
    let bar = bar("prompts", plan.asks.len());
    run_capture(&model, &payload, &plan, &args.out, |done| {
        bar.set_position(done as u64)
    })
    .await?;
    bar.finish_and_clear();
    eprintln!(
        "{} prompts under {} in {}",
        plan.asks.len(),
        args.masking,
        args.out.display()
    );
    Ok(())
}

/// Runs `attack`.
///
/// # Errors
/// If the capture is broken or not of this model.
pub async fn attack(args: AttackArgs) -> Result<(), AdversaryError> {
    let model = load(&args.checkpoint.model, args.checkpoint.weights).await?;
    let copy = OwnCopy::new(&model)?;
    let capture = Capture::read(&args.capture, copy.digest, &|projection| {
        args.effort.wants(&copy.manifest, projection)
    })?;
    let wanted = |attack: &&'static Attack| {
        args.attack.is_empty() || args.attack.iter().any(|name| name == attack.name)
    };
    let attacks: Vec<&'static Attack> = ATTACKS.into_iter().filter(wanted).collect();
    let outcomes = attack_views(&copy, &capture, &attacks, (args.effort.effort(), args.seed));
    if outcomes.is_empty() {
        return Err(AdversaryError::Mismatch(format!(
            "{} holds nothing that these attacks can use: inversion needs --own-prompts, ind-game and averaging a \
             capture with --game and two prompts of one length",
            args.capture.display()
        )));
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&outcomes)
            .map_err(|error| AdversaryError::malformed(&args.capture, error.to_string()))?,
        false => table::plain(&outcomes),
    };
    println!("{text}");
    Ok(())
}

/// Attacks on every view of a capture, scored.
pub fn attack_views(
    copy: &OwnCopy,
    capture: &Capture,
    attacks: &[&'static Attack],
    (effort, seed): (Effort, u64),
) -> Vec<Outcome> {
    let truth = truth(capture, copy.manifest.decoder.vocab_size as usize);
    let known = known(&truth);
    let views = View::of_capture(capture);
    let bar = bar("attacks", views.len() * attacks.len());
    let outcomes = views.iter().flat_map(|view| {
        let scene = Scene {
            view,
            copy,
            known: &known,
            seed,
            effort,
        };
        attacks::run_all(attacks, &scene, &truth, &|| bar.inc(1))
    });
    let outcomes = outcomes.collect();
    bar.finish_and_clear();
    outcomes
}

/// The attacker's own prompts, then those of others.
pub fn asks(own: &[String], others: &[String], max_new_tokens: u32) -> Vec<Ask> {
    let ask = |own: bool| {
        move |text: &String| Ask {
            own,
            prompt: Prompt::Text(text.clone()),
            max_new_tokens,
        }
    };
    own.iter()
        .map(ask(true))
        .chain(others.iter().map(ask(false)))
        .collect()
}

/// Two prompts in random order; the first half is the attacker's.
pub fn game(sides: &[Prompt; 2], trials: u32, max_new_tokens: u32, seed: u64) -> Vec<Ask> {
    let mut dice = Dice::new(seed, "two prompts");
    let trial = |i: u32| Ask {
        own: i < trials / 2,
        prompt: sides[usize::from(dice.coin())].clone(),
        max_new_tokens,
    };
    (0..trials).map(trial).collect()
}

/// Loads a checkpoint on the CPU.
pub async fn load(dir: &Path, weights: WeightFormat) -> Result<Arc<Model>, AdversaryError> {
    let device = Device {
        weights,
        ..Device::default()
    };
    Ok(hosts::load(dir, device, |_| {}).await?)
}

/// The payload, compiled or from the cache.
pub async fn payload() -> Result<Payload, AdversaryError> {
    Ok(load_payload(cache_dir()).await?)
}

/// Where the compiled payload and R_pub are kept, as by `talaria-local`.
pub fn cache_dir() -> Option<std::path::PathBuf> {
    talaria_local::cli::CacheArgs::default().dir()
}

/// A bar of so many steps on standard error, if that is a terminal.
pub fn bar(label: &'static str, steps: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(label);
    bar
}

fn read_prompts(path: &Path) -> Result<Vec<String>, AdversaryError> {
    let length = std::fs::metadata(path)
        .map_err(AdversaryError::file(path))?
        .len();
    if length > MAX_PROMPT_BYTES {
        let message = format!("{length} bytes, expected at most {MAX_PROMPT_BYTES} of prompts");
        return Err(AdversaryError::malformed(path, message));
    }
    let text = std::fs::read_to_string(path).map_err(AdversaryError::file(path))?;
    let prompts: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    match prompts.is_empty() {
        true => Err(AdversaryError::malformed(
            path,
            "holds no prompt: write one a line",
        )),
        false => Ok(prompts),
    }
}
