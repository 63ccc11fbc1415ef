//! How a reply is made: the same flags in `talaria` and `talaria-local`.

use clap::Args;
use talaria_program::values::{not_empty, number};
use talaria_wire::channel::message::{DateTime, Prompt, Request, Sampling};

use crate::ranges;
use crate::time::local_now;

/// Tokens of a reply where nothing else is said: enough for most answers, and an end where a model finds none.
pub const DEFAULT_NEW_TOKENS: u32 = 512;

/// Sampling and limits; greedy unless a flag says otherwise.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Most tokens of the reply.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_NEW_TOKENS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// 0 takes the likeliest token each time [default: 1 with --top-k, --top-p or --min-p, else 0].
    #[arg(long, value_name = "T", value_parser = number(ranges::TEMPERATURE))]
    pub temperature: Option<f32>,
    /// Sample among the K likeliest tokens; 0: off.
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Sample among the likeliest tokens that have this probability together; 0: the likeliest, 1: off.
    #[arg(long, value_name = "P", value_parser = number(ranges::TOP_P))]
    pub top_p: Option<f32>,
    /// Sample among tokens at least this likely, relative to the likeliest; 0: off.
    #[arg(long, value_name = "P", value_parser = number(ranges::MIN_P))]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that are there already (multiplies negative ones); 1: off.
    #[arg(long, value_name = "F", value_parser = number(ranges::REPETITION_PENALTY))]
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens of the reply, once; 0: off.
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = number(ranges::PENALTY))]
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logits of tokens of the reply, each time; 0: off.
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = number(ranges::PENALTY))]
    pub frequency_penalty: Option<f32>,
    /// Same seed, same reply; drawn by the payload if not given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The reply ends before this text; may be given more than once.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
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
            sampling: self.over(Sampling::GREEDY),
            max_new_tokens: self.max_new_tokens,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            ..Request::new(prompt)
        }
    }

    /// These over a model's own. Who narrows the choice wants one: it is not silently greedy.
    pub fn over(&self, own: Sampling) -> Sampling {
        let narrowed = self.top_k.is_some_and(|k| k > 0)
            || self.top_p.is_some_and(|p| p < 1.0)
            || self.min_p.is_some_and(|p| p > 0.0);
        let temperature = match narrowed && own.temperature == 0.0 {
            true => 1.0,
            false => own.temperature,
        };
        Sampling {
            temperature: self.temperature.unwrap_or(temperature),
            top_k: self.top_k.unwrap_or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            logit_bias: own.logit_bias,
            seed: self.seed.or(own.seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    fn sampling(flags: &str) -> Result<Sampling, clap::Error> {
        let words = ["talaria"].into_iter().chain(flags.split_whitespace());
        let flags = Flags::try_parse_from(words)?;
        Ok(flags.sampling.over(Sampling::GREEDY))
    }

    #[test]
    fn narrowing_flags_turn_sampling_on_unless_told_otherwise() {
        let temperature = |flags: &str| sampling(flags).unwrap().temperature;
        for flags in ["--top-k 5", "--top-p 0.9", "--min-p 0.1"] {
            assert_eq!(temperature(flags), 1.0, "{flags}");
            assert_eq!(temperature(&format!("{flags} --temperature 0")), 0.0);
            assert_eq!(temperature(&format!("{flags} --temperature 0.5")), 0.5);
        }
        for flags in ["", "--top-k 0", "--top-p 1", "--min-p 0", "--seed 1"] {
            assert_eq!(temperature(flags), 0.0, "{flags}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for flags in [
            "--temperature nan",
            "--temperature -1",
            "--top-p 1.1",
            "--min-p -0.1",
            "--repetition-penalty 0",
            "--presence-penalty -2.5",
            "--frequency-penalty 3",
            "--max-new-tokens 0",
            "--stop=",
        ] {
            assert!(sampling(flags).is_err(), "{flags}");
        }
        assert_eq!(
            sampling("--presence-penalty -2").unwrap().presence_penalty,
            -2.0
        );
    }
}
