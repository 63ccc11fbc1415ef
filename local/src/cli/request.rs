//! What `run` asks for: a prompt, and how it is answered.

use clap::{ArgGroup, Args};
use talaria_client::time::local_now;
use talaria_wire::channel::message::{DateTime, Message, Prompt, Request};
use talaria_wire::manifest::Generation;

use super::{SamplingArgs, not_empty};

/// A request as flags.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["prompt", "chat", "prompt_ids"]))]
pub struct RequestArgs {
    /// Text to continue.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub prompt: Option<String>,
    /// A user's message, rendered with the checkpoint's chat template.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub chat: Option<String>,
    /// System message before --chat.
    #[arg(long, value_name = "TEXT", requires = "chat", conflicts_with_all = ["prompt", "prompt_ids"])]
    pub system: Option<String>,
    /// Date that the chat template is told, with or without a time, such as 2026-07-26 or 2026-07-26T14:30 (default: now).
    #[arg(long, value_name = "DATE", requires = "chat")]
    pub date: Option<DateTime>,
    /// Token ids to continue.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub prompt_ids: Option<Vec<u32>>,
    /// Longest reply, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// Go on after tokens that end a reply.
    #[arg(long)]
    pub ignore_eos: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub sampling: SamplingArgs,
}

impl RequestArgs {
    /// The request. `generation`: the checkpoint's sampling defaults, where they were asked for.
    pub fn request(&self, generation: Option<&Generation>) -> Request {
        let now = || self.date.or_else(local_now);
        Request {
            now: self.chat.as_ref().and_then(|_| now()),
            sampling: self.sampling.resolve(generation),
            max_new_tokens: self.max_new_tokens,
            stop: self.sampling.stop.clone(),
            ignore_eos: self.ignore_eos,
            ..Request::new(self.prompt())
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
            content.clone().map(|content| Message {
                role: role.into(),
                content,
            })
        };
        let messages = [message("system", &self.system), message("user", &self.chat)];
        Prompt::Chat(messages.into_iter().flatten().collect())
    }
}
