//! How a reply is made.

use clap::Args;
use talaria_wire::channel::message::{DateTime, Prompt, Request, Sampling};

use crate::time::local_now;

/// Sampling and limits. The payload checks ranges.
#[derive(Clone, Debug, Args)]
pub struct SamplingArgs {
    /// Most tokens of the reply; up to the model's context if not given.
    #[arg(long, visible_alias = "max-new-tokens", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// 0: the likeliest token each time.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Only the so many likeliest tokens; 0: all.
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Only the likeliest tokens that have this probability together.
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Only tokens that are at least so likely, compared with the likeliest.
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Of tokens that are there already; 1: off.
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Of tokens of the reply, once; 0: off.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Of tokens of the reply, each time; 0: off.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Same seed, same reply; drawn by the payload if not given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The reply ends before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after tokens that end a reply.
    #[arg(long)]
    pub ignore_eos: bool,
    /// Date that the model's chat template is told, with or without a time, such as 2026-07-26 or 2026-07-26T14:30; now
    /// if not given.
    #[arg(long, value_name = "DATE")]
    pub date: Option<DateTime>,
}

impl SamplingArgs {
    /// A request.
    pub fn request(&self, prompt: Prompt) -> Request {
        let is_chat = matches!(prompt, Prompt::Chat(_));
        let now = self.date.or_else(local_now);
        Request {
            now: now.filter(|_| is_chat),
            sampling: self.sampling(),
            max_new_tokens: self.max_tokens.unwrap_or(u32::MAX),
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            ..Request::new(prompt)
        }
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: Vec::new(),
            seed: self.seed,
        }
    }
}
