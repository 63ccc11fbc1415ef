//! Receipts: what was asked and answered, signed.

use ed25519_dalek::SigningKey;
use talaria_wire::{
    channel::message::{FinishReason, Request, Usage},
    receipt::{Receipt, Reply, Statement},
};

use crate::{
    setup::Ready,
    world::{World, fresh_seed},
};

/// Signs for one instance. The key never leaves.
pub(super) struct Notary {
    key: SigningKey,
    payload_sha256: [u8; 32],
    model_digest: [u8; 32],
    masking: String,
}

/// The receipt of a reply under way.
pub(super) struct Draft {
    request_digest: [u8; 32],
    reply: Reply,
}

impl Notary {
    /// Draws the key. `payload_sha256`: what the host says this component is.
    pub(super) fn new(ready: &Ready, payload_sha256: [u8; 32], world: &mut dyn World) -> Self {
        Self {
            key: SigningKey::from_bytes(&fresh_seed(world)),
            payload_sha256,
            model_digest: ready.digest.0,
            masking: ready.masking.name(),
        }
    }

    /// Ed25519.
    pub(super) fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub(super) fn payload_sha256(&self) -> &[u8; 32] {
        &self.payload_sha256
    }

    /// The reply is complete, as its last event says.
    pub(super) fn sign(
        &self,
        draft: Draft,
        usage: Usage,
        reason: FinishReason,
        seed: u64,
        logits_digest: Option<[u8; 32]>,
    ) -> Receipt {
        let statement = Statement {
            payload_sha256: self.payload_sha256,
            model_digest: self.model_digest,
            masking: self.masking.clone(),
            request_digest: draft.request_digest,
            reply_digest: draft.reply.digest(),
            seed,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            finish_reason: reason,
            logits_digest,
        };
        Receipt::sign(statement, &self.key)
    }
}

impl Draft {
    /// `None` if the client asked for no receipt.
    pub(super) fn of(request: &Request) -> Option<Self> {
        request.receipt.then(|| Self {
            request_digest: request.digest(),
            reply: Reply::default(),
        })
    }

    /// A token as it is sent.
    pub(super) fn push(&mut self, id: u32, text: &str) {
        self.reply.push(id, text);
    }
}
