//! Handshake, sealing and every parser, both ends in memory.

use proptest::prelude::*;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use super::message::*;
use super::noise::{Initiating, PROTOCOL, StaticKey, prologue, respond};
use super::*;
use crate::receipt::{Receipt, Statement};

fn drawn(byte: u8) -> Zeroizing<[u8; KEY_BYTES]> {
    Zeroizing::new([byte; KEY_BYTES])
}

/// Client and payload after their handshake.
fn connected() -> (Sealed, Sealed) {
    let key = StaticKey::new(drawn(1));
    let (client, hello) = Initiating::begin(key.public(), drawn(2)).unwrap();
    let (payload, answer) = respond(&key, drawn(3), &hello, 40_960).unwrap();
    let (client, context) = client.finish(&answer).unwrap();
    assert_eq!(context, 40_960);
    (client, payload)
}

fn open(end: &mut Sealed, frame: &[u8]) -> Result<Vec<u8>, ChannelError> {
    end.open(frame).map(|fragment| fragment.content.to_vec())
}

fn frames(end: &mut Sealed, count: u8) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| end.seal(0, &[i; 9]).unwrap().remove(0))
        .collect()
}

#[test]
fn both_ends_open_what_the_other_sealed() {
    let (mut client, mut payload) = connected();
    for i in 0..3 {
        let there = client.seal(7, &[i; 100]).unwrap();
        let fragment = payload.open(&there[0]).unwrap();
        assert_eq!((fragment.stream, fragment.last), (7, true));
        assert_eq!(*fragment.content, [i; 100]);
        let back = payload.seal(9, &[i; 5]).unwrap();
        assert_eq!(open(&mut client, &back[0]).unwrap(), [i; 5]);
    }
}

/// snow's own primitives. The generator is never asked, as ephemeral keys are fixed.
struct Reference;

impl CryptoResolver for Reference {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        struct None;
        impl Random for None {
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), snow::Error> {
                Err(snow::Error::Rng)
            }
        }
        Some(Box::new(None))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A client of ours, connected to a payload that is snow alone.
fn connected_to_reference() -> (Sealed, snow::TransportState) {
    let (secret, prologue) = (drawn(1), prologue());
    let (client, hello) =
        Initiating::begin(StaticKey::new(secret.clone()).public(), drawn(2)).unwrap();
    let mut payload = snow::Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Reference))
        .local_private_key(&*secret)
        .and_then(|builder| builder.prologue(prologue.as_bytes()))
        .map(|builder| builder.fixed_ephemeral_key_for_testing_only(&[3; KEY_BYTES]))
        .and_then(snow::Builder::build_responder)
        .unwrap();
    payload.read_message(&hello, &mut [0; 64]).unwrap();
    let mut answer = [0; ANSWER_BYTES];
    let said = payload.write_message(&[0, 1, 0, 2], &mut answer);
    assert_eq!(said, Ok(ANSWER_BYTES));
    let (client, context) = client.finish(&answer).unwrap();
    assert_eq!(context, 0x1_0002);
    (client, payload.into_transport_mode().unwrap())
}

#[test]
fn the_protocol_is_the_one_that_its_name_says() {
    let (mut client, mut payload) = connected_to_reference();
    for _ in 0..2 * REKEY_FRAMES + 2 {
        let frame = client.seal(5, b"hello").unwrap().remove(0);
        let mut plaintext = [1; 256];
        assert_eq!(payload.read_message(&frame, &mut plaintext), Ok(240));
        assert_eq!(plaintext[..12], *b"\x01\0\0\0\x05\0\x05hello");
        assert_eq!(plaintext[12..240], [0; 228]);
        if payload.receiving_nonce().is_multiple_of(REKEY_FRAMES) {
            payload.rekey_incoming();
        }
    }
}

#[test]
fn another_version_does_not_come_together() {
    let key = StaticKey::new(drawn(1));
    let named = |version| format!("talaria-channel-v{version}");
    assert_eq!(prologue(), named(VERSION));
    let later = named(VERSION + 1);
    let mut client = snow::Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Reference))
        .remote_public_key(key.public())
        .and_then(|builder| builder.prologue(later.as_bytes()))
        .map(|builder| builder.fixed_ephemeral_key_for_testing_only(&[2; KEY_BYTES]))
        .and_then(snow::Builder::build_initiator)
        .unwrap();
    let mut hello = [0; HANDSHAKE_BYTES];
    client.write_message(&[], &mut hello).unwrap();
    let answered = respond(&key, drawn(3), &hello, 1);
    assert_eq!(answered.err(), Some(ChannelError::Handshake));
}

/// What a first message says has no forward secrecy, so it says nothing.
#[test]
fn a_first_message_that_says_something_is_refused() {
    let (key, prologue) = (StaticKey::new(drawn(1)), prologue());
    for (payload, expected) in [(&b""[..], None), (b"x", Some(ChannelError::Handshake))] {
        let mut client =
            snow::Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Reference))
                .remote_public_key(key.public())
                .and_then(|builder| builder.prologue(prologue.as_bytes()))
                .map(|builder| builder.fixed_ephemeral_key_for_testing_only(&[2; KEY_BYTES]))
                .and_then(snow::Builder::build_initiator)
                .unwrap();
        let mut hello = [0; HANDSHAKE_BYTES + 1];
        let length = client.write_message(payload, &mut hello).unwrap();
        let answered = respond(&key, drawn(3), &hello[..length], 1);
        assert_eq!(answered.err(), expected);
    }
}

#[test]
fn only_the_holder_of_the_key_can_answer() {
    let key = StaticKey::new(drawn(1));
    let other = StaticKey::new(drawn(4));
    let (client, hello) = Initiating::begin(key.public(), drawn(2)).unwrap();
    assert_eq!(
        respond(&other, drawn(3), &hello, 1).err(),
        Some(ChannelError::Handshake)
    );
    // Whoever answers a first message that was meant for himself.
    let (_, mine) = Initiating::begin(other.public(), drawn(2)).unwrap();
    let (_, answer) = respond(&other, drawn(3), &mine, 1).unwrap();
    assert_eq!(client.finish(&answer).err(), Some(ChannelError::Handshake));
}

#[test]
fn every_flipped_bit_of_a_handshake_is_refused() {
    let key = StaticKey::new(drawn(1));
    let (_, hello) = Initiating::begin(key.public(), drawn(2)).unwrap();
    let (_, answer) = respond(&key, drawn(3), &hello, 1).unwrap();
    for bit in 0..8 * HANDSHAKE_BYTES {
        let (mut hello, mut answer) = (hello, answer);
        hello[bit / 8] ^= 1 << (bit % 8);
        answer[bit / 8] ^= 1 << (bit % 8);
        assert!(respond(&key, drawn(3), &hello, 1).is_err(), "bit {bit}");
        let (client, _) = Initiating::begin(key.public(), drawn(2)).unwrap();
        assert!(client.finish(&answer).is_err(), "bit {bit}");
    }
    for length in (0..HANDSHAKE_BYTES).chain([49, 65_535, 65_536]) {
        let mut longer = hello.to_vec();
        longer.resize(length, 0);
        assert!(
            respond(&key, drawn(3), &longer, 1).is_err(),
            "{length} bytes"
        );
    }
}

/// With such a key the result of the key agreement is zero whatever the secret.
#[test]
fn public_keys_of_low_order_are_refused() {
    let mut order_8 = [0; KEY_BYTES];
    hex::decode_to_slice(
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        &mut order_8,
    )
    .unwrap();
    let one = core::array::from_fn(|i| u8::from(i == 0));
    for public in [[0; KEY_BYTES], one, order_8] {
        assert!(Initiating::begin(&public, drawn(2)).is_err());
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_refused() {
    let frame = connected().0.seal(1, b"prompt").unwrap().remove(0);
    for bit in 0..8 * frame.len() {
        let mut changed = frame.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (_, mut payload) = connected();
        assert_eq!(
            open(&mut payload, &changed),
            Err(ChannelError::Frame),
            "bit {bit}"
        );
        assert_eq!(
            open(&mut payload, &frame),
            Err(ChannelError::Closed),
            "nothing opens after it"
        );
    }
    assert!(open(&mut connected().1, &frame).is_ok());
}

#[test]
fn a_frame_shorter_than_its_tag_is_refused() {
    for length in 0..=TAG_BYTES + 1 {
        let (_, mut payload) = connected();
        let opened = open(&mut payload, &vec![0; length]);
        assert_eq!(opened, Err(ChannelError::Frame), "{length} bytes");
    }
}

/// Sealed by the other end, which then does not keep to the protocol.
#[test]
fn a_sealed_frame_of_another_length_is_refused() {
    for length in [0, 7, 200, 239, 241, 1000] {
        let (mut client, mut reference) = connected_to_reference();
        let mut frame = vec![0; length + TAG_BYTES];
        reference
            .write_message(&vec![0; length], &mut frame)
            .unwrap();
        let opened = open(&mut client, &frame);
        assert_eq!(opened, Err(ChannelError::Frame), "{length} bytes");
    }
}

#[test]
fn a_frame_opens_only_in_its_place() {
    let (mut client, mut payload) = connected();
    let sent = frames(&mut client, 3);
    assert!(payload.open(&sent[0]).is_ok());
    assert!(payload.open(&sent[0]).is_err(), "repeated");

    let (_, mut payload) = connected();
    assert!(payload.open(&sent[1]).is_err(), "reordered");

    let (_, mut payload) = connected();
    assert!(payload.open(&sent[0]).is_ok());
    assert!(payload.open(&sent[2]).is_err(), "one left out");

    let (mut client, _) = connected();
    let own = client.seal(0, b"own").unwrap().remove(0);
    assert!(client.open(&own).is_err(), "sent back");

    let (_, mut payload) = connected();
    assert!(payload.open(&sent[0][..255]).is_err(), "cut");
    let (_, mut payload) = connected();
    let padded = [&sent[0][..], &[0; 768]].concat();
    assert!(payload.open(&padded).is_err(), "made longer");
}

#[test]
fn an_end_that_gave_up_seals_and_opens_nothing() {
    let (mut client, mut payload) = connected();
    let frame = client.seal(0, b"prompt").unwrap().remove(0);
    payload.give_up();
    assert_eq!(open(&mut payload, &frame), Err(ChannelError::Closed));
    assert_eq!(payload.seal(0, b"reply"), Err(ChannelError::Closed));
}

#[test]
fn keys_are_replaced_after_a_number_of_frames() {
    let (mut client, mut payload) = connected();
    for i in 0..3 * REKEY_FRAMES {
        let frame = client.seal(0, &i.to_be_bytes()).unwrap().remove(0);
        assert_eq!(open(&mut payload, &frame).unwrap(), i.to_be_bytes());
    }
    let back = payload.seal(0, b"the other direction").unwrap().remove(0);
    assert!(client.open(&back).is_ok());

    // The first key opens the first frames and no other.
    let (mut client, mut forgetful) = connected_to_reference();
    for i in 0..=REKEY_FRAMES {
        let frame = client.seal(0, b"").unwrap().remove(0);
        let opened = forgetful.read_message(&frame, &mut [0; 256]);
        assert_eq!(opened.is_ok(), i < REKEY_FRAMES);
    }
}

#[test]
fn frames_have_few_lengths() {
    let header = BUCKETS[0] - TAG_BYTES - 233;
    let (mut client, _) = connected();
    let mut lengths = |bytes: usize| {
        let sealed = client.seal(0, &vec![7; bytes]).unwrap();
        sealed.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(lengths(0), [256]);
    for pair in BUCKETS.windows(2) {
        let fits = pair[0] - TAG_BYTES - header;
        assert_eq!(lengths(fits), [pair[0]]);
        assert_eq!(lengths(fits + 1), [pair[1]]);
    }
    assert_eq!(MAX_CONTENT_BYTES, 65_512);
    assert_eq!(lengths(65_512), [65_535]);
    assert_eq!(lengths(65_513), [65_535, 256]);
    assert_eq!(lengths(2 * 65_512 + 234), [65_535, 65_535, 1024]);
}

#[test]
fn long_messages_come_whole_among_others() {
    let (mut client, mut payload) = connected();
    let long: Vec<u8> = (0..200_000).map(|i: u32| (i % 251) as u8).collect();
    let mut assembler = Assembler::default();
    let mut messages = Vec::new();
    let pieces = [(1, &long[..]), (2, &long[..70_000]), (3, b"short")]
        .map(|(stream, message)| Fragment::split(stream, message).collect::<Vec<_>>());
    for i in 0..4 {
        for fragment in pieces.iter().filter_map(|pieces| pieces.get(i)) {
            let frame = client.seal_fragment(fragment).unwrap();
            let fragment = payload.open(&frame).unwrap();
            let stream = fragment.stream;
            if let Some(message) = assembler.push(fragment).unwrap() {
                messages.push((stream, message.to_vec()));
            }
        }
    }
    let expected = [
        (3, b"short".to_vec()),
        (2, long[..70_000].to_vec()),
        (1, long),
    ];
    assert!(messages == expected);
}

fn fragment(stream: u32, last: bool, bytes: usize) -> Fragment {
    Fragment {
        stream,
        last,
        content: Zeroizing::new(vec![0; bytes]),
    }
}

#[test]
fn messages_under_way_are_bounded() {
    let (mut client, _) = connected();
    let long = vec![0; MAX_MESSAGE_BYTES + 1];
    assert_eq!(client.seal(0, &long), Err(ChannelError::TooLong));
    assert!(client.seal(0, &long[1..]).is_ok(), "still usable");

    let mut assembler = Assembler::default();
    let half = MAX_MESSAGE_BYTES / 2;
    assert!(assembler.push(fragment(0, false, half)).unwrap().is_none());
    assert!(assembler.push(fragment(1, false, half)).unwrap().is_none());
    let over = assembler.push(fragment(0, true, 1));
    assert_eq!(over, Err(ChannelError::TooLong));
    assembler.forget(1);
    let whole = assembler.push(fragment(0, true, half)).unwrap().unwrap();
    assert_eq!(whole.len(), MAX_MESSAGE_BYTES);

    let mut assembler = Assembler::default();
    let empty = assembler.push(fragment(0, false, 0));
    assert_eq!(empty, Err(ChannelError::Protocol));
    for stream in 0..MAX_STREAMS as u32 {
        assert!(assembler.push(fragment(stream, false, 1)).is_ok());
    }
    let more = assembler.push(fragment(1000, false, 1));
    assert_eq!(more, Err(ChannelError::Protocol));
}

#[test]
fn only_what_is_laid_out_right_is_a_fragment() {
    let good = fragment(1, true, 9).padded().unwrap();
    assert!(Fragment::parse(&good).is_ok());
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        Fragment::parse(&bytes).err()
    };
    let refused = Some(ChannelError::Protocol);
    assert_eq!(changed(0, 2), refused, "unknown flag");
    assert_eq!(changed(0, 0x81), refused, "unknown flag");
    assert_eq!(changed(5, 1), refused, "more content than there is");
    assert_eq!(changed(239, 1), refused, "padding");
    assert_eq!(changed(16, 1), refused, "padding");
    for length in 0..7 {
        assert_eq!(Fragment::parse(&good[..length]).err(), refused);
    }
}

fn request(prompt: Prompt) -> Request {
    Request {
        prompt,
        now: Some("2026-07-26T14:30:05".parse().unwrap()),
        sampling: Sampling {
            temperature: 0.7,
            logit_bias: vec![(3, -100.0)],
            seed: Some(u64::MAX),
            ..Sampling::GREEDY
        },
        max_new_tokens: 77,
        stop: vec!["\n\n".into(), "é".into()],
        ignore_eos: true,
        logits_digest: true,
        top_logprobs: Some(2),
        receipt: true,
    }
}

fn call(text: &str) -> ToolCall {
    ToolCall {
        id: text.into(),
        name: text.into(),
        arguments: text.into(),
    }
}

#[test]
fn messages_decode_to_what_was_encoded() {
    let said = |content: &str| Message::new("user", content);
    let called = Message {
        content: None,
        name: Some("Ann".into()),
        tool_calls: vec![call("a"), call("")],
        tool_call_id: Some("a".into()),
        ..said("")
    };
    for prompt in [
        Prompt::Text("Once".into()),
        Prompt::Chat(vec![said("a"), said(""), called]),
        Prompt::Ids(vec![0, 1, u32::MAX]),
    ] {
        let message = ToPayload::Request(request(prompt));
        let bytes = message.to_bytes();
        assert!(ToPayload::from_bytes(&bytes) == Ok(message));
        let longer = [&bytes[..], &[0]].concat();
        assert!(ToPayload::from_bytes(&longer).is_err());
        for length in 0..bytes.len() {
            assert!(ToPayload::from_bytes(&bytes[..length]).is_err());
        }
    }
    let alone = request(Prompt::Ids(vec![5]));
    assert!(Request::from_bytes(&alone.to_bytes()) == Ok(alone));
    for message in [
        ToPayload::Credit(9),
        ToPayload::Cancel,
        ToPayload::Key([3; 32]),
        ToPayload::Ready,
    ] {
        assert!(ToPayload::from_bytes(&message.to_bytes()) == Ok(message));
    }
    let usage = Usage {
        prompt_tokens: 1,
        completion_tokens: 2,
        cached_tokens: 0,
    };
    let token_logprob = TokenLogprob {
        id: 70_000,
        bytes: vec![0xC3],
        logprob: -0.5,
    };
    let token = Event::Token {
        id: 70_000,
        text: "é".into(),
        logprobs: Some(Logprobs {
            chosen: token_logprob.clone(),
            top: vec![token_logprob],
        }),
    };
    let statement = Statement {
        payload_sha256: [1; 32],
        model_digest: [2; 32],
        masking: "shares".into(),
        request_digest: [3; 32],
        reply_digest: [4; 32],
        seed: 9,
        prompt_tokens: 1,
        completion_tokens: 2,
        finish_reason: FinishReason::Length,
        logits_digest: Some([5; 32]),
    };
    let finished = Event::Finished {
        reason: FinishReason::Length,
        usage,
        seed: 9,
        logits_digest: Some([5; 32]),
        receipt: Some(Box::new(Receipt {
            statement,
            signature: [6; 64],
        })),
    };
    let failed = Event::Failed {
        failure: Failure::Busy,
        message: "later".into(),
    };
    for (event, ends) in [(token, false), (finished, true), (failed, true)] {
        assert_eq!(event.ends(), ends);
        assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
    }
}

/// Two bytes would make 48 otherwise.
#[test]
fn short_encodings_do_not_become_large_values() {
    let with = |messages: usize, calls: usize, stops: usize| {
        let mut messages = vec![Message::new("", ""); messages];
        if let Some(last) = messages.last_mut() {
            last.tool_calls = vec![call(""); calls];
        }
        let mut request = request(Prompt::Chat(messages));
        request.stop = vec![String::new(); stops];
        ToPayload::from_bytes(&ToPayload::Request(request).to_bytes()).is_ok()
    };
    assert!(with(MAX_CHAT_MESSAGES, MAX_TOOL_CALLS, MAX_STOP_STRINGS));
    assert!(!with(MAX_CHAT_MESSAGES + 1, 0, 0));
    assert!(!with(1, MAX_TOOL_CALLS + 1, 0));
    assert!(!with(0, 0, MAX_STOP_STRINGS + 1));
}

proptest! {
    #[test]
    fn fuzz_fragment(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(fragment) = Fragment::parse(&bytes) {
            prop_assert!(fragment.content.len() + 7 <= bytes.len());
        }
    }

    #[test]
    fn fuzz_to_payload(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = ToPayload::from_bytes(&bytes) {
            prop_assert!(ToPayload::from_bytes(&message.to_bytes()).is_ok());
        }
    }

    /// Close to a real one, so that the deep parts are reached.
    #[test]
    fn fuzz_request(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let message = ToPayload::Request(request(Prompt::Ids(vec![1, 2, 3])));
        let mut bytes = message.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(message) = ToPayload::from_bytes(&bytes) {
            prop_assert!(ToPayload::from_bytes(&message.to_bytes()).is_ok());
        }
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(ToPayload::from_bytes(&bytes).is_err());
    }

    #[test]
    fn fuzz_event(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(event) = Event::from_bytes(&bytes) {
            prop_assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
        }
    }

    #[test]
    fn fuzz_open(bucket in 0..BUCKETS.len(), fill in any::<u8>(), length in 0..70_000_usize) {
        for length in [BUCKETS[bucket], length] {
            let (_, mut payload) = connected();
            prop_assert!(payload.open(&vec![fill; length]).is_err());
        }
    }

    #[test]
    fn fuzz_handshake(bytes in prop::array::uniform32(any::<u8>()), tag in prop::array::uniform16(any::<u8>())) {
        let message = [&bytes[..], &tag].concat();
        prop_assert!(respond(&StaticKey::new(drawn(1)), drawn(2), &message, 1).is_err());
        let key = StaticKey::new(drawn(1));
        let (client, _) = Initiating::begin(key.public(), drawn(2)).unwrap();
        prop_assert!(client.finish(&message).is_err());
    }
}

#[test]
fn debug_output_holds_no_content() {
    let message = Message {
        name: Some("sesame".into()),
        tool_calls: vec![call("sesame")],
        tool_call_id: Some("sesame".into()),
        ..Message::new("sesame", "sesame")
    };
    let mut asked = request(Prompt::Text("sesame".into()));
    asked.stop = vec!["sesame".into()];
    let said = TokenLogprob {
        id: 4711,
        bytes: b"sesame".to_vec(),
        logprob: -4711.0,
    };
    let token = Event::Token {
        id: 4711,
        text: "sesame".into(),
        logprobs: Some(Logprobs {
            chosen: said.clone(),
            top: vec![said.clone()],
        }),
    };
    let failed = Event::Failed {
        failure: Failure::Refused,
        message: "sesame".into(),
    };
    let shown = format!(
        "{message:?} {asked:?} {said:?} {token:?} {failed:?} {:?} {:?}",
        Prompt::Chat(vec![message.clone()]),
        Prompt::Ids(vec![4711])
    );
    assert!(
        !shown.contains("sesame") && !shown.contains("4711"),
        "{shown}"
    );
}
