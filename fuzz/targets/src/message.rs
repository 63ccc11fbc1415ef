//! What client and payload say to each other.

use talaria_wire::channel::message::{
    Event, Failure, FinishReason, Logprobs, MAX_CHAT_MESSAGES, MAX_LOGIT_BIAS, MAX_STOP_STRINGS,
    Message, Prompt, Request, Sampling, ToPayload, TokenLogprob, ToolCall, Usage,
};

use crate::{Seed, answer};

/// [`ToPayload::from_bytes`]: lists have at most their length, and what it accepts, it reads again from what it writes.
pub fn to_payload(data: &[u8]) {
    let Ok(message) = ToPayload::from_bytes(data) else {
        return;
    };
    let bytes = message.to_bytes();
    let again = ToPayload::from_bytes(&bytes).expect("what was read can be written");
    // Not the messages themselves: numbers may be NaN.
    assert_eq!(*again.to_bytes(), *bytes);
    if let (ToPayload::Request(request), ToPayload::Request(again)) = (message, again) {
        assert!(request.stop.len() <= MAX_STOP_STRINGS);
        assert!(request.sampling.logit_bias.len() <= MAX_LOGIT_BIAS);
        if let Prompt::Chat(messages) = &request.prompt {
            assert!(messages.len() <= MAX_CHAT_MESSAGES);
        }
        assert_eq!(request.digest(), again.digest());
    }
}

/// [`Event::from_bytes`], likewise. Nobody has signed anything with the key of zeros.
pub fn event(data: &[u8]) {
    let Ok(event) = Event::from_bytes(data) else {
        return;
    };
    let bytes = event.to_bytes();
    let again = Event::from_bytes(&bytes).expect("what was read can be written");
    assert_eq!(*again.to_bytes(), *bytes);
    assert_eq!(again.ends(), event.ends());
    if let Event::Finished {
        receipt: Some(receipt),
        ..
    } = event
    {
        assert!(receipt.verify(&[0; 32]).is_err());
    }
}

/// A request for a prompt, in no special way.
pub fn request(prompt: Prompt) -> Request {
    Request {
        max_new_tokens: 3,
        ..Request::new(prompt)
    }
}

/// A request with everything.
pub fn full_request() -> Request {
    let conversation = vec![
        Message::new("system", "be brief"),
        Message {
            content: None,
            name: Some("Ann".into()),
            tool_calls: vec![ToolCall {
                id: "a".into(),
                name: "owl".into(),
                arguments: r#"{"x": [1, 2.5, null]}"#.into(),
            }],
            ..Message::new("assistant", "")
        },
        Message {
            tool_call_id: Some("a".into()),
            ..Message::new("tool", "1")
        },
        Message::new("user", "hi."),
    ];
    Request {
        now: "2026-07-26T14:30:05".parse().ok(),
        sampling: Sampling {
            temperature: 0.7,
            top_k: 5,
            top_p: 0.9,
            min_p: 0.01,
            repetition_penalty: 1.1,
            presence_penalty: 0.5,
            frequency_penalty: -0.5,
            logit_bias: vec![(3, 1.5), (7, -100.0)],
            seed: Some(9),
        },
        stop: vec!["end".into(), "\u{1f989}".into()],
        ignore_eos: true,
        logits_digest: true,
        top_logprobs: Some(2),
        receipt: true,
        ..request(Prompt::Chat(conversation))
    }
}

/// Requests of each kind of prompt, credit, and an end.
pub fn to_payload_seeds() -> Vec<Seed> {
    let seed = |name, message: ToPayload| Seed::new(name, message.to_bytes().to_vec());
    let asked = |prompt| ToPayload::Request(request(prompt));
    vec![
        seed("text", asked(Prompt::Text("a slice is".into()))),
        seed("ids", asked(Prompt::Ids(vec![1, 2, 300]))),
        seed("chat", ToPayload::Request(full_request())),
        seed("credit", ToPayload::Credit(64)),
        seed("cancel", ToPayload::Cancel),
        seed("key", ToPayload::Key([7; 32])),
        seed("ready", ToPayload::Ready),
    ]
}

/// A token, with and without logprobs; ends of each kind.
pub fn event_seeds() -> Vec<Seed> {
    let seed = |name, event: Event| Seed::new(name, event.to_bytes().to_vec());
    let likely = |id, logprob| TokenLogprob {
        id,
        bytes: b" the".to_vec(),
        logprob,
    };
    let token = |logprobs| Event::Token {
        id: 785,
        text: " the".into(),
        logprobs,
    };
    let logprobs = Logprobs {
        chosen: likely(785, -0.25),
        top: vec![likely(785, -0.25), likely(2, f32::MIN)],
    };
    let failed = Event::Failed {
        failure: Failure::Refused,
        message: "shorten it".into(),
    };
    vec![
        seed("token", token(None)),
        seed("logprobs", token(Some(logprobs))),
        seed("finished", finished()),
        seed("failed", failed),
    ]
}

/// The end of a reply to [`full_request`], with a receipt.
pub fn finished() -> Event {
    Event::Finished {
        reason: FinishReason::Length,
        usage: Usage {
            prompt_tokens: 4,
            completion_tokens: 1,
            cached_tokens: 0,
        },
        seed: 9,
        logits_digest: Some([6; 32]),
        receipt: Some(Box::new(answer::receipt())),
    }
}
