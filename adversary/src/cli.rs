//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use talaria_host_cvm::Masking;
use talaria_host_cvm::cli::masking::masking;
use talaria_host_gpu::flags::{CheckpointArgs, weights};
use talaria_program::values::{FRACTION, count, number};
use talaria_wire::manifest::{Manifest, WeightFormat};

use crate::attacks::{ATTACKS, Effort};

/// What a GPU host can learn from the rows that it receives: captures, attacks, and a report that compares every
/// masking with chance.
#[derive(Debug, Parser)]
#[command(name = "talaria-adversary", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run prompts through the real system over loopback and keep what its GPU hosts saw, with the true tokens apart.
    Capture(CaptureArgs),
    /// Attack a capture and compare what is recovered with chance.
    Attack(AttackArgs),
    /// Capture every masking, run every attack, write a table and plots.
    Report(ReportArgs),
}

/// Flags of `capture`.
#[derive(Debug, Args)]
pub struct CaptureArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub checkpoint: CheckpointArgs,
    /// How rows are masked.
    #[arg(long, value_name = "SCHEME", value_parser = masking())]
    pub masking: Masking,
    /// Text file with a prompt a line, to be attacked.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Text file with a prompt a line that the attacker sends itself and knows: attacks learn from these.
    #[arg(long, value_name = "FILE")]
    pub own_prompts: Option<PathBuf>,
    /// Directory for the capture.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Tokens of each reply, whatever it says.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub new_tokens: u32,
    /// Instead of the prompts of the file one after the other: its first two, which must have one length in tokens,
    /// this many times in random order, half of them the attacker's own. For ind-game and averaging.
    #[arg(long, value_name = "TRIALS", value_parser = clap::value_parser!(u32).range(32..), conflicts_with = "own_prompts")]
    pub game: Option<u32>,
    /// Rank of remo as a fraction of a row's length.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = number(FRACTION))]
    pub remo_rank: f32,
    /// Seed of the random order of --game.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Flags of `attack`.
#[derive(Debug, Args)]
pub struct AttackArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub checkpoint: CheckpointArgs,
    /// What `capture` wrote.
    #[arg(long, value_name = "DIR")]
    pub capture: PathBuf,
    /// Only these attacks; may be given more than once.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(ATTACKS.map(|attack| attack.name)))]
    pub attack: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub effort: EffortArgs,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Seed of the attacks' own randomness.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// How much is attacked: large checkpoints have hundreds of rows a token, and vocabularies that take hours to try.
#[derive(Clone, Debug, Args)]
pub struct EffortArgs {
    /// Attack only the rows of these layers, of the embedding and of lm_head; may be given more than once
    /// [default: every layer].
    #[arg(long, value_name = "LAYER")]
    pub layer: Vec<u32>,
    /// Rows that vocabulary matching works through at a layer.
    #[arg(long, value_name = "N", default_value_t = Effort::default().matched_rows, value_parser = count(1..=1 << 20))]
    pub matched_rows: usize,
    /// Tokens that it tries at a position, the likeliest first [default: the whole vocabulary].
    #[arg(long, value_name = "N", value_parser = count(1..=1 << 20))]
    pub candidates: Option<usize>,
}

impl EffortArgs {
    /// As attacks take it.
    pub fn effort(&self) -> Effort {
        let effort = Effort::default();
        Effort {
            matched_rows: self.matched_rows,
            candidates: self.candidates.unwrap_or(effort.candidates),
            ..effort
        }
    }

    /// Whether rows of a projection are attacked.
    pub fn wants(&self, manifest: &Manifest, projection: usize) -> bool {
        let place = manifest.projections.get(projection).map(|p| p.place);
        let chosen = |layer: u32| self.layer.is_empty() || self.layer.contains(&layer);
        place.is_some_and(|place| !place.role.is_of_layers() || chosen(place.layer))
    }
}

/// Which baselines a report compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Baselines {
    /// Every one, at every rank, width and size.
    All,
    /// One of each kind.
    Few,
    /// None.
    None,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Hugging Face directory or GGUF file; the bundled demo model if not given.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Integers that stand for weights.
    #[arg(long, value_name = "FORMAT", default_value = "int16", value_parser = weights())]
    pub weights: WeightFormat,
    /// Only this masking; may be given more than once.
    #[arg(long, value_name = "SCHEME", value_parser = masking())]
    pub masking: Vec<Masking>,
    /// Which baselines are simulated on plaintext rows.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Baselines::All)]
    pub baselines: Baselines,
    /// Rank of remo as a fraction of a row's length.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = number(FRACTION))]
    pub remo_rank: f32,
    /// Only so many of the bundled prompts that are attacked.
    #[arg(long, value_name = "N", value_parser = count(1..=1 << 20))]
    pub others: Option<usize>,
    /// Only so many of the bundled prompts that the attacker sends itself.
    #[arg(long, value_name = "N", value_parser = count(1..=1 << 20))]
    pub own: Option<usize>,
    /// How often it sends each of them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1..=1 << 10))]
    pub own_repeats: usize,
    /// Tokens of each reply.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub new_tokens: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub effort: EffortArgs,
    /// Directory for the table and the plots.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Trials of the game of two prompts, for each masking.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(32..))]
    pub trials: u32,
    /// Seed of attacks and baselines; masks are always fresh.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}
