//! Whether a receipt says of an answer what the answer says of itself.

use talaria_evidence::Claims;

use super::Answer;

/// One thing that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What the receipt says.
    pub value: String,
    /// Why it is refused; none: passed.
    pub refusal: Option<String>,
}

/// Compares an answer with its receipt, and the receipt with claims that were verified. All checks run, so that one
/// look shows everything that is wrong; the receipt says something only if each passed.
pub fn check(answer: &Answer, claims: &Claims) -> Vec<Check> {
    let receipt = &answer.receipt;
    let said = &receipt.statement;
    let signed = receipt.verify(&claims.receipt_public_key);
    let signature = Check {
        name: "receipt's signature",
        value: format!("by {}", hex::encode(claims.receipt_public_key)),
        refusal: signed.err().map(|forged| forged.to_string()),
    };
    let mut checks = vec![signature];
    let mut equal = |name, found: String, expected: String, source| {
        let refusal = (found != expected).then(|| format!("{source} {expected}"));
        checks.push(Check {
            name,
            value: found,
            refusal,
        });
    };
    let request_digest = answer.request.digest();
    let evidence = "the evidence says";
    let file = "by the file it is";
    equal(
        "payload",
        hex::encode(said.payload_sha256),
        hex::encode(claims.payload_sha256),
        evidence,
    );
    equal(
        "model",
        hex::encode(said.model_digest),
        hex::encode(claims.model_digest),
        evidence,
    );
    equal(
        "masking",
        said.masking.clone(),
        claims.masking.clone(),
        evidence,
    );
    equal(
        "request",
        hex::encode(said.request_digest),
        hex::encode(request_digest),
        file,
    );
    equal(
        "reply",
        hex::encode(said.reply_digest),
        hex::encode(answer.reply_digest()),
        file,
    );
    equal("seed", said.seed.to_string(), answer.seed.to_string(), file);
    equal(
        "tokens of the prompt",
        said.prompt_tokens.to_string(),
        answer.prompt_tokens.to_string(),
        file,
    );
    equal(
        "tokens of the reply",
        said.completion_tokens.to_string(),
        answer.tokens.len().to_string(),
        file,
    );
    equal(
        "finish reason",
        said.finish_reason.name().into(),
        answer.finish_reason.name().into(),
        file,
    );
    let shown = |digest: Option<[u8; 32]>| digest.map_or("not asked for".into(), hex::encode);
    equal(
        "digest of the logits",
        shown(said.logits_digest),
        shown(answer.logits_digest.map(|digest| digest.0)),
        file,
    );
    checks
}
