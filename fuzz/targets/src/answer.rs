//! Saved answers with their receipts.

use ed25519_dalek::SigningKey;
use talaria_client::answer::{Answer, SavedToken, check};
use talaria_wire::channel::message::{FinishReason, Prompt, Request};
use talaria_wire::receipt::{Receipt, Reply, Statement};

use crate::Seed;
use crate::evidence::{claims, development};
use crate::message::{finished, full_request, request};

/// [`Answer::from_json`]: what it accepts, it reads again from what it writes, and only the signed answer passes.
pub fn answer(data: &[u8]) {
    let Ok(answer) = Answer::from_json(data) else {
        return;
    };
    let passes = check(&answer, &claims())
        .iter()
        .all(|check| check.refusal.is_none());
    if passes {
        assert_eq!(answer.receipt, receipt());
        assert_eq!(answer.reply_digest(), reply().digest());
    }
    // A number too large for f32 is infinite, which JSON does not have.
    if is_finite(&answer.request) {
        let again = Answer::from_json(&answer.to_json()).expect("what was read can be written");
        assert_eq!(again, answer);
    }
}

fn is_finite(request: &Request) -> bool {
    let s = &request.sampling;
    let numbers = [
        s.temperature,
        s.top_p,
        s.min_p,
        s.repetition_penalty,
        s.presence_penalty,
        s.frequency_penalty,
    ];
    let biases = s.logit_bias.iter().map(|(_, bias)| *bias);
    numbers.into_iter().chain(biases).all(f32::is_finite)
}

/// Signs the receipts of all seeds.
pub fn receipt_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

fn reply() -> Reply {
    let mut reply = Reply::default();
    reply.push(5, "b");
    reply
}

/// Of the token 5, "b", in reply to [`full_request`].
pub fn receipt() -> Receipt {
    let claims = claims();
    let statement = Statement {
        payload_sha256: claims.payload_sha256,
        model_digest: claims.model_digest,
        masking: claims.masking,
        request_digest: full_request().digest(),
        reply_digest: reply().digest(),
        seed: 9,
        prompt_tokens: 4,
        completion_tokens: 1,
        finish_reason: FinishReason::Length,
        logits_digest: Some([6; 32]),
    };
    Receipt::sign(statement, &receipt_key())
}

/// An answer that passes, and two that parse.
pub fn seeds() -> Vec<Seed> {
    let answer = |prompt: Option<Prompt>| {
        let asked = prompt.map_or_else(full_request, request);
        let token = SavedToken {
            id: 5,
            text: "b".into(),
        };
        let answer = Answer::new(asked, vec![token], &finished(), development());
        answer.expect("it has a receipt").to_json()
    };
    vec![
        Seed::new("chat.json", answer(None)),
        Seed::new("text.json", answer(Some(Prompt::Text("a".into())))),
        Seed::new("ids.json", answer(Some(Prompt::Ids(vec![1, 2])))),
    ]
}
