//! `replay`: an answer computed again, on a machine of one's own, and compared token by token.
//!
//! A receipt proves who answered; a replay shows that the answer is what the model gives. It needs the
//! checkpoint, but not the masking: all maskings give the same bits.

use std::path::Path;

use talaria_client::answer::{Answer, MAX_ANSWER_BYTES};
use talaria_wire::channel::message::Request;

use crate::cli::ReplayArgs;
use crate::error::LocalError;
use crate::generate::{Outcome, generate};
use crate::output;
use crate::run::Parties;

/// Runs the subcommand.
///
/// # Errors
/// The file is no answer; the model is not the one that answered; or the replay gives something else.
pub async fn replay(args: ReplayArgs) -> Result<(), LocalError> {
    let answer = read(&args.answer)?;
    let expected = answer.receipt.statement.model_digest;
    let parties = Parties::start(&args.parties, Some(expected)).await?;
    let payload = parties.cvm.summary().payload_sha256;
    if payload != answer.receipt.statement.payload_sha256 {
        eprintln!(
            "warning: another payload answered ({}), this one is {}: the same only if its arithmetic did not change",
            hex::encode(answer.receipt.statement.payload_sha256),
            hex::encode(payload),
        );
    }
    let replayed = generate(&parties.cvm, request(&answer), |_| Ok(())).await?;
    parties.stop().await;
    compare(&answer, &replayed)?;
    let tokens = replayed.token_ids.len();
    let line = format!(
        "the same {tokens} tokens, bit for bit (seed {})\n",
        answer.seed
    );
    output::print(&line)
}

fn read(file: &Path) -> Result<Answer, LocalError> {
    let unreadable = |error| LocalError::File(file.into(), error);
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_ANSWER_BYTES as u64 {
        let long = format!("{}: {size} bytes are no answer", file.display());
        return Err(LocalError::Mismatch(long));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    Answer::from_json(&bytes)
        .map_err(|error| LocalError::Mismatch(format!("{}: {error}", file.display())))
}

/// What was asked, with the seed that was used. Nobody here signs.
fn request(answer: &Answer) -> Request {
    let mut request = answer.request.clone();
    request.sampling.seed = Some(answer.seed);
    request.receipt = false;
    request
}

fn compare(answer: &Answer, replayed: &Outcome) -> Result<(), LocalError> {
    let answered = answer.tokens.iter().map(|token| token.id);
    let place = answered
        .clone()
        .zip(&replayed.token_ids)
        .position(|(a, b)| a != *b);
    let differ = |what: String| Err(LocalError::Mismatch(format!("the replay differs: {what}")));
    if let Some(place) = place {
        let number = place + 1;
        return differ(format!("token {number} is another one"));
    }
    if answered.len() != replayed.token_ids.len() {
        let (a, b) = (answered.len(), replayed.token_ids.len());
        return differ(format!("the answer has {a} tokens, the replay {b}"));
    }
    if answer.text() != replayed.text {
        return differ("the same tokens, but another text".into());
    }
    if answer.finish_reason != replayed.finish_reason {
        let (a, b) = (answer.finish_reason, replayed.finish_reason);
        let (a, b) = (a.name(), b.name());
        return differ(format!("the answer ends by {a}, the replay by {b}"));
    }
    if answer.logits_digest.map(|digest| digest.0) != replayed.logits_digest {
        return differ("the same tokens, but other logits".into());
    }
    Ok(())
}
