//! Replies and chunks as OpenAI writes them.

use serde_json::{Value, json};
use talaria_wire::channel::message::{FinishReason, Logprobs, Usage};

use super::Proxy;
use super::error::ApiError;
use super::logprobs::{self, Lists};
use super::request::{Asked, Endpoint};
use crate::answer::Answer;
use crate::channel::ConnectionError;
use crate::remote::{RemoteError, Session};

/// What all of a reply has in common.
pub(super) struct Head {
    endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
    pub include_usage: bool,
    /// Of which each prompt is counted once.
    choices_of_prompt: usize,
}

/// How a choice ended.
pub(super) struct Ending {
    pub reason: FinishReason,
    pub usage: Usage,
    pub seed: u64,
    /// If a receipt was asked for.
    pub answer: Option<Box<Answer>>,
}

/// A choice of a whole reply.
#[derive(Default)]
pub(super) struct Choice {
    pub text: String,
    /// Characters of `text`.
    pub characters: usize,
    pub logprobs: Vec<Value>,
    pub lists: Lists,
    pub has_logprobs: bool,
    pub ending: Option<Ending>,
}

impl Head {
    pub(super) fn new(asked: &Asked, proxy: &Proxy, session: &Session) -> Result<Self, ApiError> {
        let mut id = [0; 12];
        getrandom::fill(&mut id).map_err(|_| RemoteError::from(ConnectionError::Entropy))?;
        let prefix = match asked.endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Completions => "cmpl",
        };
        let payload = session.verified().claims().payload_sha256;
        Ok(Self {
            endpoint: asked.endpoint,
            id: format!("{prefix}-{}", hex::encode(id)),
            created: proxy.upstream.now().0,
            model: asked.model.clone().unwrap_or_else(|| proxy.model.clone()),
            fingerprint: format!("fp_{}", hex::encode(&payload[..6])),
            include_usage: asked.include_usage,
            choices_of_prompt: asked.choices_of_prompt,
        })
    }

    fn object(&self, is_chunk: bool) -> &'static str {
        match (self.endpoint, is_chunk) {
            (Endpoint::Chat, false) => "chat.completion",
            (Endpoint::Chat, true) => "chat.completion.chunk",
            (Endpoint::Completions, _) => "text_completion",
        }
    }

    fn reply(&self, is_chunk: bool, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": self.object(is_chunk),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    fn chunk(&self, choices: Vec<Value>) -> Value {
        let mut chunk = self.reply(true, choices);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// Begins a choice of a chat; a completion has no such chunk.
    pub(super) fn role(&self, index: usize) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        let chat = self.endpoint == Endpoint::Chat;
        chat.then(|| {
            self.chunk(vec![json!({
                "index": index, "delta": delta, "logprobs": null, "finish_reason": null,
            })])
        })
    }

    /// A token of a choice, whose text begins so many characters into it.
    pub(super) fn token(
        &self,
        index: usize,
        text: &str,
        logprobs: Option<&Logprobs>,
        offset: usize,
    ) -> Value {
        let choice = match self.endpoint {
            Endpoint::Chat => json!({
                "index": index,
                "delta": { "content": text },
                "logprobs": logprobs.map(|l| json!({ "content": [logprobs::chat(l)], "refusal": null })),
                "finish_reason": null,
            }),
            Endpoint::Completions => json!({
                "index": index,
                "text": text,
                "logprobs": logprobs.map(|l| {
                    let mut lists = Lists::default();
                    lists.push(l, offset);
                    lists.to_json()
                }),
                "finish_reason": null,
            }),
        };
        self.chunk(vec![choice])
    }

    /// Ends a choice.
    pub(super) fn finish(&self, index: usize, ending: &Ending) -> Value {
        let reason = ending.reason.name();
        let choice = match self.endpoint {
            Endpoint::Chat => json!({
                "index": index, "delta": {}, "logprobs": null, "finish_reason": reason,
                "seed": ending.seed,
            }),
            Endpoint::Completions => json!({
                "index": index, "text": "", "logprobs": null, "finish_reason": reason,
                "seed": ending.seed,
            }),
        };
        let mut chunk = self.chunk(vec![choice]);
        chunk["seed"] = ending.seed.into();
        prove(&mut chunk, &[ending]);
        chunk
    }

    /// The chunk after all choices, with the usage of each.
    pub(super) fn usage(&self, usages: &[Usage]) -> Value {
        let mut chunk = self.chunk(vec![]);
        chunk["usage"] = self.total(usages);
        chunk
    }

    /// As OpenAI counts: a prompt once, however many choices it has.
    fn total(&self, usages: &[Usage]) -> Value {
        let prompts = usages.iter().step_by(self.choices_of_prompt);
        let prompt: u64 = prompts.map(|usage| u64::from(usage.prompt_tokens)).sum();
        let completion = usages.iter();
        let completion: u64 = completion
            .map(|usage| u64::from(usage.completion_tokens))
            .sum();
        let prompts = usages.iter().step_by(self.choices_of_prompt);
        let cached: u64 = prompts.map(|usage| u64::from(usage.cached_tokens)).sum();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }

    /// Everything at once.
    pub(super) fn whole(&self, choices: &[Choice]) -> Value {
        let endings: Vec<_> = choices.iter().filter_map(|c| c.ending.as_ref()).collect();
        let usages: Vec<_> = endings.iter().map(|ending| ending.usage).collect();
        let all = choices.iter().enumerate();
        let all = all.map(|(index, choice)| self.choice(index, choice));
        let mut reply = self.reply(false, all.collect());
        reply["usage"] = self.total(&usages);
        if let Some(first) = endings.first() {
            reply["seed"] = first.seed.into();
        }
        prove(&mut reply, &endings);
        reply
    }

    fn choice(&self, index: usize, choice: &Choice) -> Value {
        let ending = choice.ending.as_ref();
        let logprobs = match (choice.has_logprobs, self.endpoint) {
            (false, _) => Value::Null,
            (true, Endpoint::Chat) => json!({ "content": choice.logprobs, "refusal": null }),
            (true, Endpoint::Completions) => choice.lists.to_json(),
        };
        let mut value = json!({
            "index": index,
            "logprobs": logprobs,
            "finish_reason": ending.map(|ending| ending.reason.name()),
            "seed": ending.map(|ending| ending.seed),
        });
        match self.endpoint {
            Endpoint::Chat => {
                value["message"] =
                    json!({ "role": "assistant", "content": choice.text, "refusal": null });
            }
            Endpoint::Completions => value["text"] = choice.text.as_str().into(),
        }
        value
    }
}

/// Receipts and evidence, if asked for; and all that `talaria receipt verify` needs, for each choice.
fn prove(reply: &mut Value, endings: &[&Ending]) {
    let answers: Vec<_> = endings.iter().filter_map(|e| e.answer.as_deref()).collect();
    let Some(first) = answers.first() else {
        return;
    };
    reply["talaria"] = json!({
        "receipt": first.receipt,
        "evidence": first.evidence,
        "answers": answers,
    });
}
