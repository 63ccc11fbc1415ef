//! An answer kept in a file: what was asked, what was answered, and what proves where it comes from.
//!
//! JSON, bytes in hexadecimal, unknown keys refused. `talaria receipt verify` checks one, `talaria-local replay`
//! computes one again.

mod check;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use talaria_evidence::Evidence;
use talaria_wire::channel::message::{self, Event, FinishReason, Request};
use talaria_wire::receipt::{Receipt, Reply};

use crate::hex_array::HexArray;

pub use check::{Check, check};

/// Version of the file format: that of the messages, as a kept request is the one that was sent.
pub const VERSION: u32 = message::VERSION;

/// Longest file, in bytes: a request of the longest kind in JSON, its reply, and evidence.
pub const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// [`VERSION`].
    pub version: u32,
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub tokens: Vec<SavedToken>,
    /// `stop` or `length`.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, as the payload counted them.
    pub prompt_tokens: u32,
    /// Of sampling: as asked for, or as drawn by the payload.
    pub seed: u64,
    /// SHA-256 over all logits, if asked for.
    pub logits_digest: Option<HexArray<32>>,
    /// What the payload signed.
    pub receipt: Receipt,
    /// What shows whose signature it is.
    pub evidence: Evidence,
}

/// A token of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedToken {
    /// Its id.
    pub id: u32,
    /// The text that became final with it.
    pub text: String,
}

/// Why bytes are no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Longer than [`MAX_ANSWER_BYTES`].
    #[error("answer of {0} bytes is longer than {MAX_ANSWER_BYTES}")]
    TooLong(usize),
    /// Not the JSON of this module.
    #[error("answer does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version.
    #[error("answer of version {0}, expected {VERSION}: use the release that wrote it")]
    Version(u32),
    /// Evidence in it that is none.
    #[error(transparent)]
    Evidence(#[from] talaria_evidence::EvidenceError),
}

/// Why there is no answer to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload sent no receipt: use client and CVM of one release")]
pub struct NoReceipt;

impl Answer {
    /// Puts together what was asked, the tokens that came, and the event that ended them.
    pub fn new(
        request: Request,
        tokens: Vec<SavedToken>,
        finished: &Event,
        evidence: Evidence,
    ) -> Result<Self, NoReceipt> {
        let Event::Finished {
            reason,
            usage,
            seed,
            logits_digest,
            receipt: Some(receipt),
        } = finished
        else {
            return Err(NoReceipt);
        };
        Ok(Self {
            version: VERSION,
            request,
            tokens,
            finish_reason: *reason,
            prompt_tokens: usage.prompt_tokens,
            seed: *seed,
            logits_digest: logits_digest.map(HexArray),
            receipt: (**receipt).clone(),
            evidence,
        })
    }

    /// Parses a file of anybody's.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AnswerError> {
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(AnswerError::TooLong(bytes.len()));
        }
        // Version first: another one may have other keys.
        let version: Version = serde_json::from_slice(bytes)?;
        if version.version != VERSION {
            return Err(AnswerError::Version(version.version));
        }
        let answer: Self = serde_json::from_slice(bytes)?;
        // Bounds of evidence are checked where it is parsed.
        let evidence = answer.evidence.to_json();
        Evidence::from_json(&evidence)?;
        Ok(answer)
    }

    /// For people to read and programs to parse.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain data always serialises");
        json.push(b'\n');
        json
    }

    /// As receipts state it.
    pub fn reply_digest(&self) -> [u8; 32] {
        let mut reply = Reply::default();
        for token in &self.tokens {
            reply.push(token.id, &token.text);
        }
        reply.digest()
    }

    /// All of the reply's text.
    pub fn text(&self) -> String {
        self.tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect()
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}
