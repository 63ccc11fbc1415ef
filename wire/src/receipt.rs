//! Receipts: what the payload signs about a reply, on demand.
//!
//! The key that signs is a claim of the evidence (`Claims::receipt_public_key`), so a
//! receipt proves something only next to evidence that was verified. A receipt holds digests of request and
//! reply, never their content.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::channel::message::FinishReason;

/// Separates receipts from everything else that is signed.
const DOMAIN: &[u8] = b"talaria-receipt-v1";

/// What is said about a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The payload component, as the CVM host named it to the payload.
    #[serde(with = "hex::serde")]
    pub payload_sha256: [u8; 32],
    /// The model as measured by the payload.
    #[serde(with = "hex::serde")]
    pub model_digest: [u8; 32],
    /// The masking scheme with its parameters.
    pub masking: String,
    /// [`Request::digest`](crate::channel::message::Request::digest) of what was asked.
    #[serde(with = "hex::serde")]
    pub request_digest: [u8; 32],
    /// [`Reply::digest`] of what was answered.
    #[serde(with = "hex::serde")]
    pub reply_digest: [u8; 32],
    /// Of sampling: the same request with this seed gives the same reply.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the reply.
    pub completion_tokens: u32,
    /// Why the reply is complete.
    pub finish_reason: FinishReason,
    /// SHA-256 over the f32 bits of every step's logits in order, if asked for.
    #[serde(with = "optional_hex")]
    pub logits_digest: Option<[u8; 32]>,
}

/// A statement with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What is said.
    pub statement: Statement,
    /// Ed25519 (RFC 8032) over [`Statement::message`].
    #[serde(with = "hex::serde")]
    pub signature: [u8; 64],
}

/// The signature is none of this key over this statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receipt's signature does not verify: it was changed, or another payload signed it")]
pub struct Forged;

impl Statement {
    /// What is signed:
    ///
    /// ```text
    /// "talaria-receipt-v1" || for each field: u64le(length) || field
    /// ```
    ///
    /// with the fields in the order of this struct, numbers little-endian, reasons as [`FinishReason::name`] has
    /// them, and an absent digest of length 0.
    pub fn message(&self) -> Vec<u8> {
        let Self {
            payload_sha256,
            model_digest,
            masking,
            request_digest,
            reply_digest,
            seed,
            prompt_tokens,
            completion_tokens,
            finish_reason,
            logits_digest,
        } = self;
        let mut message = DOMAIN.to_vec();
        for field in [
            &payload_sha256[..],
            model_digest,
            masking.as_bytes(),
            request_digest,
            reply_digest,
            &seed.to_le_bytes(),
            &prompt_tokens.to_le_bytes(),
            &completion_tokens.to_le_bytes(),
            finish_reason.name().as_bytes(),
            logits_digest.as_ref().map_or(&[], |digest| &digest[..]),
        ] {
            message.extend((field.len() as u64).to_le_bytes());
            message.extend(field);
        }
        message
    }
}

impl Receipt {
    /// Signs.
    pub fn sign(statement: Statement, key: &SigningKey) -> Self {
        let signature = key.sign(&statement.message()).to_bytes();
        Self {
            statement,
            signature,
        }
    }

    /// Checks the signature. Strictly (no key or point of low order), so that one statement has one meaning.
    pub fn verify(&self, public_key: &[u8; 32]) -> Result<&Statement, Forged> {
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| Forged)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.statement.message(), &signature)
            .map_err(|_| Forged)?;
        Ok(&self.statement)
    }
}

/// Its digests: what is short can be guessed from them.
impl Zeroize for Receipt {
    fn zeroize(&mut self) {
        self.statement.request_digest.zeroize();
        self.statement.reply_digest.zeroize();
        self.statement.logits_digest.zeroize();
        self.signature.zeroize();
    }
}

/// The digest of a reply, token by token.
#[derive(Clone)]
pub struct Reply(Sha256);

impl Default for Reply {
    fn default() -> Self {
        Self(Sha256::new_with_prefix(b"talaria-reply-v1"))
    }
}

impl Reply {
    /// The next token, and the text that became final with it.
    pub fn push(&mut self, id: u32, text: &str) {
        self.0.update(id.to_le_bytes());
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    /// SHA-256 over `"talaria-reply-v1"` and, for each token, u32le(id) || u64le(length of its text) || text.
    pub fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Hexadecimal digits, or none.
mod optional_hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        digest: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let decode = |text: String| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest).map_err(de::Error::custom)?;
            Ok(digest)
        };
        text.map(decode).transpose()
    }
}

#[cfg(test)]
mod tests;
