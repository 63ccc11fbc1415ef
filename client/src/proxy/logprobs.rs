//! Logarithms of probabilities in the two forms that OpenAI has.

use serde_json::{Map, Value, json};
use talaria_wire::channel::message::{Logprobs, TokenLogprob};

/// For `choices[].logprobs.content` of a chat.
pub(super) fn chat(logprobs: &Logprobs) -> Value {
    let mut entry = token(&logprobs.chosen);
    entry["top_logprobs"] = logprobs.top.iter().map(token).collect();
    entry
}

fn token(token: &TokenLogprob) -> Value {
    json!({ "token": text(token), "logprob": finite(token.logprob), "bytes": token.bytes })
}

/// `choices[].logprobs` of a completion, token by token.
#[derive(Default)]
pub(super) struct Lists {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

impl Lists {
    /// The next token, whose text begins so many characters into the completion.
    pub(super) fn push(&mut self, logprobs: &Logprobs, offset: usize) {
        let top = logprobs.top.iter();
        let top: Map<_, _> = top.map(|t| (text(t), finite(t.logprob))).collect();
        self.tokens.push(text(&logprobs.chosen).into());
        self.token_logprobs.push(finite(logprobs.chosen.logprob));
        self.top_logprobs.push(top.into());
        self.text_offset.push(offset.into());
    }

    /// As it stands in a choice.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// A part of a character has no text: OpenAI writes such bytes so.
fn text(token: &TokenLogprob) -> String {
    match std::str::from_utf8(&token.bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let escaped = token.bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", escaped.collect::<String>())
        }
    }
}

/// JSON has no infinity; OpenAI writes -9999 for what cannot be.
fn finite(logprob: f32) -> Value {
    json!(if logprob.is_finite() {
        logprob
    } else {
        -9999.0
    })
}
