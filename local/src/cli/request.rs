//! What `run` asks for: a prompt, and how it is answered.

use clap::{ArgGroup, Args};
use talaria_client::cli::sampling::SamplingArgs;
use talaria_program::values::not_empty;
use talaria_wire::channel::message::{Message, Prompt, Request, Sampling};
use talaria_wire::manifest::Generation;

/// A request as flags.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["prompt", "chat", "prompt_ids"]))]
pub struct RequestArgs {
    /// Text to continue.
    #[arg(long, value_name = "TEXT", value_parser = not_empty, conflicts_with = "date")]
    pub prompt: Option<String>,
    /// A user's message, rendered with the checkpoint's chat template.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub chat: Option<String>,
    /// System message before --chat.
    #[arg(long, value_name = "TEXT", requires = "chat", conflicts_with_all = ["prompt", "prompt_ids"])]
    pub system: Option<String>,
    /// Token ids to continue.
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        conflicts_with = "date"
    )]
    pub prompt_ids: Option<Vec<u32>>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub sampling: SamplingArgs,
    /// Begin with the checkpoint's generation_config.json; other sampling flags override it.
    #[arg(long, help_heading = "Sampling")]
    pub model_sampling_defaults: bool,
}

impl RequestArgs {
    /// The request. `generation`: the checkpoint's sampling defaults, where they were asked for.
    pub fn request(&self, generation: Option<&Generation>) -> Request {
        let own = generation.map(model_defaults).unwrap_or_default();
        Request {
            sampling: self.sampling.over(own),
            ..self.sampling.request(self.prompt())
        }
    }

    /// One of the three is there: the command line saw to it.
    fn prompt(&self) -> Prompt {
        if let Some(ids) = &self.prompt_ids {
            return Prompt::Ids(ids.clone());
        }
        if let Some(text) = &self.prompt {
            return Prompt::Text(text.clone());
        }
        let message = |role: &str, content: &Option<String>| {
            content.clone().map(|content| Message::new(role, content))
        };
        let messages = [message("system", &self.system), message("user", &self.chat)];
        Prompt::Chat(messages.into_iter().flatten().collect())
    }
}

/// A checkpoint's own sampling: greedy unless it says `do_sample`.
fn model_defaults(generation: &Generation) -> Sampling {
    let greedy = Sampling {
        repetition_penalty: generation.repetition_penalty.unwrap_or(1.0),
        ..Sampling::GREEDY
    };
    match generation.do_sample {
        false => greedy,
        true => Sampling {
            temperature: generation.temperature.unwrap_or(1.0),
            top_k: generation.top_k.unwrap_or(greedy.top_k),
            top_p: generation.top_p.unwrap_or(greedy.top_p),
            min_p: generation.min_p.unwrap_or(greedy.min_p),
            ..greedy
        },
    }
}
