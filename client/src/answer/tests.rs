use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use talaria_evidence::Claims;
use talaria_wire::channel::message::{Message, Prompt, Request, Sampling, Usage};
use talaria_wire::receipt::Statement;

use super::*;
use crate::verify::snp::test_ca::Case;

fn request() -> Request {
    let mut sampling = Sampling::GREEDY;
    (sampling.temperature, sampling.top_p) = (0.7, 0.1 + 0.2);
    sampling.logit_bias = vec![(3, -99.9)];
    sampling.seed = Some(u64::MAX);
    Request {
        prompt: Prompt::Chat(vec![Message::new("user", "a\u{1f989}\n\"")]),
        now: Some("2026-07-26T09:05:03".parse().unwrap()),
        sampling,
        max_new_tokens: 9,
        stop: vec!["x".into()],
        ignore_eos: false,
        logits_digest: true,
        top_logprobs: Some(3),
        receipt: true,
    }
}

fn answer() -> (Answer, Claims) {
    let key = SigningKey::from_bytes(&[8; 32]);
    let mut case = Case::new();
    case.claims.receipt_public_key = key.verifying_key().to_bytes();
    let claims = case.claims.clone();
    let tokens = vec![SavedToken {
        id: 5,
        text: "b".into(),
    }];
    let mut reply = Reply::default();
    reply.push(5, "b");
    let statement = Statement {
        payload_sha256: claims.payload_sha256,
        model_digest: claims.model_digest,
        masking: claims.masking.clone(),
        request_digest: request().digest(),
        reply_digest: reply.digest(),
        seed: u64::MAX,
        prompt_tokens: 4,
        completion_tokens: 1,
        finish_reason: FinishReason::Length,
        logits_digest: Some([1; 32]),
    };
    let finished = Event::Finished {
        reason: FinishReason::Length,
        usage: Usage {
            prompt_tokens: 4,
            completion_tokens: 1,
            cached_tokens: 0,
        },
        seed: u64::MAX,
        logits_digest: Some([1; 32]),
        receipt: Some(Box::new(Receipt::sign(statement, &key))),
    };
    let answer = Answer::new(request(), tokens, &finished, case.evidence()).unwrap();
    (answer, claims)
}

fn refused(answer: &Answer, claims: &Claims) -> Vec<&'static str> {
    let checks = check(answer, claims).into_iter();
    checks
        .filter(|check| check.refusal.is_some())
        .map(|check| check.name)
        .collect()
}

#[test]
fn what_was_written_is_read_and_passes() {
    let (answer, claims) = answer();
    let read = Answer::from_json(&answer.to_json()).unwrap();
    assert_eq!(read, answer);
    assert_eq!(read.request.digest(), request().digest());
    assert_eq!(refused(&read, &claims), Vec::<&str>::new());
}

#[test]
fn each_change_is_found() {
    type Change = fn(&mut Answer, &mut Claims);
    let changes: [(Change, &str); 13] = [
        (|_, c| c.receipt_public_key = [0; 32], "receipt's signature"),
        (|a, _| a.receipt.signature[5] ^= 1, "receipt's signature"),
        (|_, c| c.payload_sha256[0] ^= 1, "payload"),
        (|_, c| c.model_digest[0] ^= 1, "model"),
        (|_, c| c.masking.push('x'), "masking"),
        (|a, _| a.request.max_new_tokens += 1, "request"),
        (|a, _| a.request.sampling.temperature = 0.8, "request"),
        (|a, _| a.tokens[0].text.push('!'), "reply"),
        (|a, _| a.seed -= 1, "seed"),
        (|a, _| a.prompt_tokens += 1, "tokens of the prompt"),
        (|a, _| a.finish_reason = FinishReason::Stop, "finish reason"),
        (|a, _| a.logits_digest = None, "digest of the logits"),
        (
            |a, _| a.logits_digest = Some(HexArray([2; 32])),
            "digest of the logits",
        ),
    ];
    for (change, name) in changes {
        let (mut answer, mut claims) = answer();
        change(&mut answer, &mut claims);
        assert_eq!(refused(&answer, &claims), [name]);
    }
    let (mut answer, claims) = answer();
    answer.tokens.clear();
    assert_eq!(refused(&answer, &claims), ["reply", "tokens of the reply"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_the_parser_or_the_checks_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        static VALID: std::sync::OnceLock<(Vec<u8>, Claims)> = std::sync::OnceLock::new();
        let (valid, claims) = VALID.get_or_init(|| {
            let (answer, claims) = answer();
            (answer.to_json(), claims)
        });
        let mut bytes = valid.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(answer) = Answer::from_json(&bytes) {
            check(&answer, claims);
        }
    }
}

#[test]
fn unknown_keys_and_versions_are_refused() {
    let json = String::from_utf8(answer().0.to_json()).unwrap();
    for (from, to) in [
        ("\"seed\"", "\"sead\": 1, \"seed\""),
        ("\"max_new_tokens\"", "\"x\": 1, \"max_new_tokens\""),
        ("\"temperature\"", "\"x\": 1, \"temperature\""),
    ] {
        assert!(json.contains(from));
        let changed = json.replacen(from, to, 1);
        let error = Answer::from_json(changed.as_bytes()).unwrap_err();
        assert!(matches!(error, AnswerError::Malformed(_)), "{error}");
    }
    let version = |version: u32| format!("\"version\": {version}");
    let newer = version(VERSION + 1) + ", \"new\": 1";
    let newer = json.replacen(&version(VERSION), &newer, 1);
    let error = Answer::from_json(newer.as_bytes()).unwrap_err();
    assert!(
        matches!(error, AnswerError::Version(found) if found == VERSION + 1),
        "{error}"
    );
}
