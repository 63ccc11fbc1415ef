//! `report`: captures every masking with one checkpoint, simulates the baselines, runs every attack, and writes
//! `report.md`, `outcomes.json` and plots.

pub mod plots;
pub mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use talaria_host_cvm::{CvmConfig, Masking, Payload, Prompt};
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_local::demo_model;

use crate::attacks::{self, ATTACKS, Attack, Scene, fingerprints, tamper};
use crate::baselines;
use crate::baselines::fingerprints::{Checker, Kind};
use crate::capture::{Capture, Plan, capture};
use crate::cli::{Baselines, ReportArgs};
use crate::commands::{self, asks, bar, cache_dir, game};
use crate::dice::Dice;
use crate::error::AdversaryError;
use crate::metrics::Outcome;
use crate::metrics::score::Truth;
use crate::own_copy::OwnCopy;
use crate::view::{Rows, View, known, truth};

/// Prompts that the attacker sends itself, for attacks that learn.
pub const OWN_PROMPTS: &str = include_str!("../prompts/own.txt");
/// Prompts that are attacked.
pub const OTHER_PROMPTS: &str = include_str!("../prompts/others.txt");
/// Sides of the game of two prompts: one token each.
const SIDES: [u32; 2] = [1, 2];
/// Checks by known answers: how fingerprints are made, and from how many.
const CHECKERS: [(Kind, usize); 3] = [(Kind::Reused, 8), (Kind::Combined, 8), (Kind::Combined, 32)];
/// Tokens that a system answers honestly before its host lies.
const HONEST_TOKENS: usize = 48;
/// For what needs no labels.
const NO_TRUTH: Truth = Truth {
    tokens: Vec::new(),
    requests: Vec::new(),
    vocab_size: 1,
};

/// Everything that a report is made of.
pub struct Report {
    /// For people: what was attacked.
    pub model: String,
    /// Every attack on every view.
    pub outcomes: Vec<Outcome>,
    /// For each width of additive masks, the error of a product in float32.
    pub float32_errors: Vec<(f64, f64)>,
    /// Rows of others, and trials of the game.
    pub sizes: Sizes,
    /// How long it took.
    pub seconds: f64,
}

/// How much was attacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Requests and rows of others.
    pub others: (usize, usize),
    /// Requests and rows of the attacker's own.
    pub own: (usize, usize),
    /// Trials of the game of two prompts.
    pub trials: u32,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Share of others' rows that the most frequent token has.
    pub most_frequent: f64,
    /// What guessing by unigram frequencies would hit.
    pub unigram: f64,
}

/// Runs the subcommand.
///
/// # Errors
/// If the checkpoint is refused, the system does not run or files cannot be written.
pub async fn report(args: ReportArgs) -> Result<(), AdversaryError> {
    std::fs::create_dir_all(&args.out).map_err(AdversaryError::file(&args.out))?;
    let demo = match &args.model {
        Some(_) => None,
        None => Some(demo_model::unpack().map_err(LocalError::Temporary)?),
    };
    let dir = args
        .model
        .as_deref()
        .or(demo.as_ref().map(|dir| dir.path()));
    let Some(dir) = dir else {
        return Err(AdversaryError::Usage("no model".into()));
    };
    let report = make(dir, &args).await?;
    table::write(&report, &args.out)?;
    plots::write(&report, &args.out)?;
    print!("{}", table::summary(&report));
    eprintln!(
        "report.md, outcomes.json and plots are in {}",
        args.out.display()
    );
    Ok(())
}

/// Makes a report of the checkpoint in `dir`.
async fn make(dir: &Path, args: &ReportArgs) -> Result<Report, AdversaryError> {
    let begun = Instant::now();
    let model = commands::load(dir, args.weights).await?;
    let copy = OwnCopy::new(&model)?;
    let payload = commands::payload().await?;
    let temporary = tempfile::tempdir().map_err(LocalError::Temporary)?;
    let lab = Lab {
        model: &model,
        copy: &copy,
        payload: &payload,
        args,
    };
    let mut report = Report {
        model: name(&copy, args.model.as_deref()),
        outcomes: Vec::new(),
        float32_errors: Vec::new(),
        sizes: Sizes {
            trials: args.trials,
            vocab_size: copy.manifest.decoder.vocab_size as usize,
            ..Sizes::default()
        },
        seconds: 0.0,
    };
    let wanted = |masking: &Masking| args.masking.is_empty() || args.masking.contains(masking);
    for masking in Masking::ALL.into_iter().filter(wanted) {
        lab.text(masking, temporary.path(), &mut report).await?;
        lab.game(masking, args.trials, temporary.path(), &mut report)
            .await?;
        lab.tamper(masking, &mut report).await?;
        lab.fingerprints(masking, &mut report).await?;
        let seconds = begun.elapsed().as_secs();
        eprintln!("{masking}: captured and attacked, {seconds} s so far");
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn name(copy: &OwnCopy, dir: Option<&Path>) -> String {
    let d = &copy.manifest.decoder;
    let name = dir.map_or("the bundled demo model".into(), |dir| {
        dir.display().to_string()
    });
    format!(
        "{name}: {}, {} layers, hidden_size {}, vocabulary {}",
        d.model_type,
        copy.layers(),
        d.hidden_size,
        d.vocab_size
    )
}

/// What all captures share.
struct Lab<'l> {
    model: &'l Arc<Model>,
    copy: &'l OwnCopy,
    payload: &'l Payload,
    args: &'l ReportArgs,
}

impl Lab<'_> {
    fn config(&self, masking: Masking) -> CvmConfig {
        CvmConfig {
            masking,
            remo_rank: self.args.remo_rank,
            cache_dir: cache_dir(),
            ..CvmConfig::default()
        }
    }

    /// Texts: all attacks on all views, and on the baselines where rows are plaintext.
    async fn text(
        &self,
        masking: Masking,
        temporary: &Path,
        report: &mut Report,
    ) -> Result<(), AdversaryError> {
        let lines = |text: &str, most: Option<usize>| -> Vec<String> {
            let lines = text.lines().take(most.unwrap_or(usize::MAX));
            lines.map(str::to_owned).collect()
        };
        let own = vec![lines(OWN_PROMPTS, self.args.own); self.args.own_repeats].concat();
        let others = lines(OTHER_PROMPTS, self.args.others);
        let plan = Plan {
            config: self.config(masking),
            asks: asks(&own, &others, self.args.new_tokens),
        };
        let capture = self.capture(&plan, &temporary.join("text")).await?;
        let truth = truth(&capture, report.sizes.vocab_size);
        let mut views = View::of_capture(&capture);
        drop(capture);
        report.sizes = sizes(&truth, report.sizes);
        if masking == Masking::DangerousPlaintext {
            let error = |lambda: f64| {
                let error = baselines::additive::float32_error(
                    &views[0],
                    self.copy,
                    lambda,
                    self.args.seed,
                );
                error.map(|error| (lambda, error))
            };
            report.float32_errors = baselines::LAMBDAS.into_iter().filter_map(error).collect();
            let (plain, seed) = (&views[0], self.args.seed);
            let simulated = match self.args.baselines {
                Baselines::All => baselines::all(plain, self.copy, seed),
                Baselines::Few => baselines::few(plain, self.copy, seed),
                Baselines::None => Vec::new(),
            };
            views.extend(simulated);
        }
        if masking == Masking::Shares && self.args.baselines != Baselines::None {
            self.checkers(&views[0], report);
        }
        let outcomes = self.attack(masking, &views, &truth);
        report.outcomes.extend(outcomes);
        Ok(())
    }

    /// Two prompts of one token, in random order.
    async fn game(
        &self,
        masking: Masking,
        trials: u32,
        temporary: &Path,
        report: &mut Report,
    ) -> Result<(), AdversaryError> {
        let sides = SIDES.map(|token| Prompt::Ids(vec![token]));
        let plan = Plan {
            config: self.config(masking),
            asks: game(&sides, trials, 1, self.args.seed),
        };
        let capture = self.capture(&plan, &temporary.join("game")).await?;
        let truth = truth(&capture, report.sizes.vocab_size);
        let mut views = View::of_capture(&capture);
        drop(capture);
        if masking == Masking::DangerousPlaintext && self.args.baselines != Baselines::None {
            let simulated = baselines::static_bases(&views[0], self.copy, self.args.seed);
            views.extend(simulated);
        }
        let wanted = ["ind-game", "averaging", "static-basis", "traffic"].map(attacks::find);
        let wanted: Vec<_> = wanted.into_iter().flatten().collect();
        let bar = bar("game of two prompts", views.len() * wanted.len());
        for view in &views {
            let outcomes = self.attack_view(&wanted, view, &truth, &bar);
            // Lengths are all the same here.
            let said = outcomes
                .into_iter()
                .filter(|o| o.attack != "traffic, lengths");
            report.outcomes.extend(said);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Lies to schemes that are to hide rows from one host.
    async fn tamper(&self, masking: Masking, report: &mut Report) -> Result<(), AdversaryError> {
        if masking == Masking::Remo {
            // Set-up takes longest, and rows are known without lying.
            return Ok(());
        }
        let bar = bar("lies", 9);
        let prompts = SIDES.map(|token| vec![token; 3]);
        let config = self.config(masking);
        let told = || bar.inc(1);
        let finding = tamper::run(self.model, self.payload, &config, prompts, told).await?;
        bar.finish_and_clear();
        report
            .outcomes
            .push(Outcome::new(masking.name(), finding, &NO_TRUTH));
        Ok(())
    }

    /// Checks by known answers, of rows that host 1 of shares received: each of them alone is uniform.
    fn checkers(&self, view: &View, report: &mut Report) {
        let projection = self.copy.qkv(0);
        let k = self.copy.features(projection);
        let Some(rows) = view.of(projection).and_then(Rows::residues) else {
            return;
        };
        let rows: Vec<Vec<u32>> = rows.iter().map(|row| row[..k].to_vec()).collect();
        for (kind, size) in CHECKERS {
            let mut checker = Checker::new(kind, size, k, self.args.seed);
            let found = fingerprints::on_baseline(&rows, &mut checker, self.args.seed);
            let outcome = found.map(|found| Outcome::new(&checker.scheme(), found, &NO_TRUTH));
            report.outcomes.extend(outcome);
        }
    }

    /// Lies beside what would be fingerprints, to schemes that are to hide rows from one host.
    async fn fingerprints(
        &self,
        masking: Masking,
        report: &mut Report,
    ) -> Result<(), AdversaryError> {
        if masking == Masking::Remo {
            return Ok(());
        }
        // The embedding, all of the first layer, and the last projection.
        let last = self.copy.manifest.projections.len() - 1;
        let projections: Vec<usize> = (0..5).chain([last]).collect();
        let mut dice = Dice::new(self.args.seed, "honest tokens");
        let honest: Vec<u32> = (0..HONEST_TOKENS)
            .map(|_| dice.below(report.sizes.vocab_size) as u32)
            .collect();
        let bar = bar("lies beside fingerprints", projections.len());
        let findings = fingerprints::on_system(
            self.model,
            self.payload,
            &self.config(masking),
            (&honest, &[SIDES[0]; 3]),
            &projections,
            || bar.inc(1),
        )
        .await?;
        bar.finish_and_clear();
        let outcomes = findings.map(|found| Outcome::new(masking.name(), found, &NO_TRUTH));
        report.outcomes.extend(outcomes);
        Ok(())
    }

    /// Runs a plan and reads its capture back; the files go.
    async fn capture(&self, plan: &Plan, dir: &Path) -> Result<Capture, AdversaryError> {
        let bar = bar(plan.config.masking.name(), plan.asks.len());
        let told = |done: usize| bar.set_position(done as u64);
        capture(self.model, self.payload, plan, dir, told).await?;
        bar.finish_and_clear();
        let read = Capture::read(dir, self.copy.digest, &|projection| {
            self.args.effort.wants(&self.copy.manifest, projection)
        })?;
        std::fs::remove_dir_all(dir).map_err(AdversaryError::file(dir))?;
        Ok(read)
    }

    fn attack(&self, masking: Masking, views: &[View], truth: &Truth) -> Vec<Outcome> {
        let wanted = |view: &View| attacks_on(view, view.scheme == masking.name());
        let steps = views.iter().map(|view| wanted(view).len()).sum();
        let bar = bar("attacks", steps);
        let outcomes = views
            .iter()
            .flat_map(|view| self.attack_view(&wanted(view), view, truth, &bar))
            .collect();
        bar.finish_and_clear();
        outcomes
    }

    fn attack_view(
        &self,
        wanted: &[&'static Attack],
        view: &View,
        truth: &Truth,
        bar: &ProgressBar,
    ) -> Vec<Outcome> {
        let known = known(truth);
        let scene = Scene {
            view,
            copy: self.copy,
            known: &known,
            seed: self.args.seed,
            effort: self.args.effort.effort(),
        };
        attacks::run_all(wanted, &scene, truth, &|| bar.inc(1))
    }
}

/// Attacks worth their time on a view: all on what was recorded; on simulated baselines those that could differ.
fn attacks_on(view: &View, recorded: bool) -> Vec<&'static Attack> {
    let rows = &view.scheme;
    let names: BTreeSet<&str> = if recorded || rows.starts_with("shares") {
        return ATTACKS.to_vec();
    } else if rows.starts_with("additive") {
        ["nearest", "averaging", "inversion"].into()
    } else if rows.starts_with("remo modulo q") {
        ["nearest", "null-space", "lattice"].into()
    } else if rows.starts_with("static basis") {
        [
            "nearest",
            "sorted",
            "static-basis",
            "reuse",
            "distinguisher",
        ]
        .into()
    } else if rows.starts_with("remo in floats") {
        ["nearest", "null-space", "vocabulary"].into()
    } else {
        [
            "nearest",
            "sorted",
            "span",
            "gram",
            "ica",
            "correlation",
            "inversion",
            "vocabulary",
        ]
        .into()
    };
    ATTACKS
        .into_iter()
        .filter(|attack| names.contains(attack.name))
        .collect()
}

fn sizes(truth: &Truth, sizes: Sizes) -> Sizes {
    let count = |own: bool| {
        let requests = || truth.requests.iter().filter(|request| request.own == own);
        (
            requests().count(),
            requests().map(|request| request.rows.len()).sum(),
        )
    };
    let others = truth.requests.iter().filter(|request| !request.own);
    let mut tokens: Vec<u32> = others
        .flat_map(|request| request.rows.clone())
        .map(|row| truth.tokens[row])
        .collect();
    tokens.sort_unstable();
    let total = tokens.len().max(1) as f64;
    let shares = tokens
        .chunk_by(|a, b| a == b)
        .map(|same| same.len() as f64 / total);
    Sizes {
        others: count(false),
        own: count(true),
        most_frequent: shares.clone().fold(0.0, f64::max),
        unigram: shares.map(|share| share * share).sum(),
        ..sizes
    }
}
