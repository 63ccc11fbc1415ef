//! The channel below its messages: handshakes, frames, fragments.

use std::collections::BTreeMap;

use talaria_wire::channel::noise::{Drawn, Initiating, StaticKey, respond};
use talaria_wire::channel::{
    ANSWER_BYTES, Assembler, ChannelError, Fragment, HANDSHAKE_BYTES, MAX_CONTENT_BYTES,
    MAX_MESSAGE_BYTES, MAX_STREAMS, Sealed,
};
use zeroize::Zeroizing;

use crate::Seed;
use crate::parts::{join, parts};

/// Bytes of a fragment before its content.
const HEADER_BYTES: usize = 7;

fn key() -> StaticKey {
    StaticKey::new(Drawn::new([1; 32]))
}

/// A client's first message.
fn begin() -> (Initiating, [u8; HANDSHAKE_BYTES]) {
    Initiating::begin(key().public(), Drawn::new([2; 32])).expect("a public key")
}

/// The payload's answer to it.
fn respond_to(message: &[u8]) -> Result<(Sealed, [u8; ANSWER_BYTES]), ChannelError> {
    respond(&key(), Drawn::new([3; 32]), message, 4096)
}

/// Client's end and payload's end, always the same.
fn ends() -> (Sealed, Sealed) {
    let (client, message) = begin();
    let (payload, answer) = respond_to(&message).expect("the client's message");
    (
        client.finish(&answer).expect("the payload's answer").0,
        payload,
    )
}

/// [`respond`]: takes the one message that the client made, as no other was made with this key.
pub fn handshake(data: &[u8]) {
    if respond_to(data).is_ok() {
        assert_eq!(data, begin().1);
    }
}

/// [`Initiating::finish`]: takes the one answer of the holder of the key.
pub fn answer(data: &[u8]) {
    let (client, message) = begin();
    if client.finish(data).is_ok() {
        let (_, answer) = respond_to(&message).expect("the client's message");
        assert_eq!(data, answer);
    }
}

/// [`Sealed::open`]: takes frames exactly as they were sealed, in their order, and nothing after a wrong one.
pub fn frames(data: &[u8]) {
    let (mut client, mut payload) = ends();
    for frame in parts(data) {
        match payload.open(frame) {
            Ok(fragment) => {
                let sealed = client.seal_fragment(&fragment);
                assert_eq!(sealed.expect("it was sealed before"), frame);
            }
            Err(_) => {
                assert!(matches!(payload.open(frame), Err(ChannelError::Closed)));
                return;
            }
        }
    }
}

/// [`Fragment::parse`]: content and zeros, nothing else.
pub fn fragment(data: &[u8]) {
    let Ok(fragment) = Fragment::parse(data) else {
        return;
    };
    let (content, padding) = data[HEADER_BYTES..].split_at(fragment.content.len());
    assert_eq!(content, &**fragment.content);
    assert!(padding.iter().all(|byte| *byte == 0));
    assert_eq!(data[0], u8::from(fragment.last));
}

/// [`Assembler`] against a map of messages. The input is a sequence of `stream, what, length (u16le)`: a fragment of so
/// many bytes `what`, the last of its message if that is odd; 254 forgets the stream.
pub fn assembler(data: &[u8]) {
    let mut assembler = Assembler::default();
    let mut expected = BTreeMap::<u32, Vec<u8>>::new();
    for &[stream, what, low, high] in data.as_chunks().0 {
        let stream = u32::from(stream);
        if what == 254 {
            let pieces = assembler.forget(stream);
            let forgotten: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            assert_eq!(forgotten, expected.remove(&stream).unwrap_or_default());
            continue;
        }
        let content = vec![what; usize::from(u16::from_le_bytes([low, high]))];
        if !push(
            &mut assembler,
            &mut expected,
            stream,
            content,
            what % 2 == 1,
        ) {
            return;
        }
    }
}

/// Whether the connection goes on.
fn push(
    assembler: &mut Assembler,
    expected: &mut BTreeMap<u32, Vec<u8>>,
    stream: u32,
    content: Vec<u8>,
    last: bool,
) -> bool {
    let held: usize = expected.values().map(Vec::len).sum();
    let too_long = held + content.len() > MAX_MESSAGE_BYTES;
    let is_empty = content.is_empty();
    let message = expected.entry(stream).or_default();
    message.extend(&content);
    let fragment = Fragment {
        stream,
        last,
        content: Zeroizing::new(content),
    };
    match assembler.push(fragment) {
        Ok(Some(whole)) => {
            assert!(last && !too_long);
            assert_eq!(expected.remove(&stream).as_ref(), Some(&*whole));
            true
        }
        Ok(None) => {
            assert!(!last && !too_long && !is_empty && expected.len() <= MAX_STREAMS);
            true
        }
        Err(ChannelError::TooLong) => {
            assert!(too_long);
            false
        }
        Err(_) => {
            assert!(!last && (is_empty || expected.len() > MAX_STREAMS));
            false
        }
    }
}

/// The client's message, and one with a key of low order.
pub fn handshake_seeds() -> Vec<Seed> {
    vec![
        Seed::new("message", begin().1),
        Seed::new("low-order", [0; HANDSHAKE_BYTES]),
    ]
}

/// The payload's answer.
pub fn answer_seeds() -> Vec<Seed> {
    let (_, answer) = respond_to(&begin().1).expect("the client's message");
    vec![Seed::new("answer", answer)]
}

/// Frames of one message, of three, and one sent twice.
pub fn frame_seeds() -> Vec<Seed> {
    let mut client = ends().0;
    let mut frame = |stream, message: &[u8]| {
        let mut frames = client.seal(stream, message).expect("a short message");
        frames.remove(0)
    };
    let frames = [frame(1, b"one"), frame(2, &[2; 300]), frame(1, b"")];
    vec![
        Seed::new("one", join(&frames[..1])),
        Seed::new("three", join(&frames)),
        Seed::new("twice", join([&frames[0], &frames[0]])),
        Seed::new("short", join([&frames[0][1..]])),
    ]
}

/// Fragments as they lie in a frame of the first length.
pub fn fragment_seeds() -> Vec<Seed> {
    let padded = |flags: u8, stream: u32, content: &[u8]| {
        let mut bytes = vec![flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend((content.len() as u16).to_be_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().max(240), 0);
        bytes
    };
    vec![
        Seed::new("last", padded(1, 1, b"a message")),
        Seed::new("first", padded(0, u32::MAX, &[7; 233])),
        Seed::new("empty", padded(1, 0, b"")),
        Seed::new("unknown-flag", padded(2, 1, b"a")),
    ]
}

/// Messages in pieces, more bytes than are allowed, and more streams.
pub fn assembler_seeds() -> Vec<Seed> {
    let most = (MAX_CONTENT_BYTES as u16).to_le_bytes();
    let pieces = [
        [1, 0, 9, 0],
        [2, 2, 5, 0],
        [1, 1, 3, 0],
        [2, 254, 0, 0],
        [2, 3, 0, 0],
    ];
    let long = vec![[1, 2, most[0], most[1]]; MAX_MESSAGE_BYTES / MAX_CONTENT_BYTES + 1];
    let streams: Vec<[u8; 4]> = (0..=MAX_STREAMS as u8).map(|s| [s, 0, 1, 0]).collect();
    vec![
        Seed::new("pieces", pieces.concat()),
        Seed::new("long", long.concat()),
        Seed::new("streams", streams.concat()),
    ]
}
