//! The client against the payload's own code, with everything in between in the hands of an attacker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use proptest::prelude::*;
use talaria_guest::channel as payload;
use talaria_guest::engine::Engine;
use talaria_guest::setup::Scheme;
use talaria_guest::testing::TestWorld;
use talaria_wire::channel::message::{
    Event, Failure, FinishReason, MAX_STOP_STRINGS, Prompt, Request, Usage,
};
use talaria_wire::channel::noise::{StaticKey, respond};
use talaria_wire::channel::{BUCKETS, MAX_STREAMS, Sealed, WINDOW};

use super::blocking::{Channel, Error, Transport};
use super::*;
use crate::verify::snp::test_ca::Case;

/// The claims of a CVM whose payload has this key, as hardware vouched for them.
fn verified(key: &[u8; 32]) -> Verified {
    let mut case = Case::new();
    case.claims.channel_public_key = *key;
    case.verify().verified().unwrap().clone()
}

/// With room for replies longer than the window.
fn world() -> TestWorld {
    let mut world = TestWorld::new();
    world.manifest.decoder.max_position_embeddings = 4 * WINDOW;
    world
}

fn engine(world: &mut TestWorld) -> Engine {
    Engine::new(Rc::new(world.ready(Scheme::Shares))).unwrap()
}

fn request(ids: &[u32], max_new_tokens: u32) -> Request {
    Request {
        max_new_tokens,
        ignore_eos: true,
        ..Request::new(Prompt::Ids(ids.to_vec()))
    }
}

/// Greedy tokens without any channel.
fn directly(ids: &[u32], max_new_tokens: u32) -> Vec<u32> {
    let mut world = world();
    let mut engine = engine(&mut world);
    engine
        .open(request(ids, max_new_tokens), &mut world)
        .unwrap();
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        for (_, event) in engine.step(&mut world).unwrap() {
            if let Event::Token { id, .. } = event {
                tokens.push(id);
            }
        }
    }
    tokens
}

/// What the host makes of the frames for a client: given which frame it is, and the frame.
type Meddle = dyn FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>;

/// A CVM with a tiny model.
struct Cvm {
    channel: payload::Channel,
    world: TestWorld,
    /// Every byte that crossed the payload's boundary.
    seen: Vec<Vec<u8>>,
}

impl Cvm {
    fn new() -> Rc<RefCell<Self>> {
        let mut world = world();
        let engine = engine(&mut world);
        Rc::new(RefCell::new(Self {
            channel: payload::Channel::new(engine, [3; 32], &mut world),
            world,
            seen: Vec::new(),
        }))
    }
}

/// The host between a client and the payload.
struct Host {
    cvm: Rc<RefCell<Cvm>>,
    connection: Option<u64>,
    to_client: VecDeque<Vec<u8>>,
    frames: usize,
    meddle: Box<Meddle>,
}

impl Host {
    fn honest(cvm: &Rc<RefCell<Cvm>>) -> Self {
        Self::meddling(cvm, |_, frame| vec![frame])
    }

    /// Counts from the first frame after the handshake.
    fn meddling(
        cvm: &Rc<RefCell<Cvm>>,
        meddle: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + 'static,
    ) -> Self {
        Self {
            cvm: cvm.clone(),
            connection: None,
            to_client: VecDeque::new(),
            frames: 0,
            meddle: Box::new(meddle),
        }
    }
}

impl Transport for Host {
    type Error = payload::Refusal;

    fn send(&mut self, frame: &[u8]) -> Result<(), payload::Refusal> {
        let Cvm {
            channel,
            world,
            seen,
        } = &mut *self.cvm.borrow_mut();
        seen.push(frame.to_vec());
        let Some(connection) = self.connection else {
            let (connection, answer) = channel.open(frame, world)?;
            self.connection = Some(connection);
            self.to_client.push_back(answer.to_vec());
            return Ok(());
        };
        channel.deliver(connection, frame, world).map(|_| ())
    }

    fn receive(&mut self) -> Result<Option<Vec<u8>>, payload::Refusal> {
        let Cvm {
            channel,
            world,
            seen,
        } = &mut *self.cvm.borrow_mut();
        loop {
            if let Some(frame) = self.to_client.pop_front() {
                return Ok(Some(frame));
            }
            let Some(connection) = self.connection else {
                return Ok(None);
            };
            let polled = channel.poll(connection, 1)?;
            if polled.is_empty() && !channel.is_busy() {
                return Ok(None);
            }
            if polled.is_empty() {
                channel.step(world).unwrap();
            }
            for frame in polled {
                seen.push(frame.clone());
                self.to_client.extend((self.meddle)(self.frames, frame));
                self.frames += 1;
            }
        }
    }
}

fn connect(cvm: &Rc<RefCell<Cvm>>) -> Channel<Host> {
    let verified = verified(cvm.borrow().channel.public_key());
    Channel::connect(&verified, Host::honest(cvm)).unwrap()
}

type Failed = Error<payload::Refusal>;

/// All of a reply, or the error it broke off with and what had come.
fn reply(
    channel: &mut Channel<Host>,
    stream: &mut Stream,
) -> Result<Vec<Event>, (Failed, Vec<Event>)> {
    let mut events = Vec::new();
    loop {
        match channel.next(stream) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return Ok(events),
            Err(error) => return Err((error, events)),
        }
    }
}

fn expect_reply(events: &[Event], ids: &[u32], max_new_tokens: u32) {
    let tokens = events.iter().filter_map(|event| match event {
        Event::Token { id, .. } => Some(*id),
        _ => None,
    });
    assert_eq!(tokens.collect::<Vec<_>>(), directly(ids, max_new_tokens));
    let expected = Usage {
        prompt_tokens: ids.len() as u32,
        completion_tokens: max_new_tokens,
        cached_tokens: 0,
    };
    let Some(Event::Finished { reason, usage, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!((*reason, *usage), (FinishReason::Length, expected));
}

#[test]
fn replies_are_those_of_the_engine_also_longer_than_the_window() {
    let cvm = Cvm::new();
    let mut channel = connect(&cvm);
    for (prompt, tokens) in [(vec![1], 1), (vec![5, 9, 2], 20), (vec![7; 30], 3 * WINDOW)] {
        let mut stream = channel.request(request(&prompt, tokens)).unwrap();
        let events = reply(&mut channel, &mut stream).unwrap();
        expect_reply(&events, &prompt, tokens);
        assert_eq!(channel.next(&mut stream).unwrap(), None, "still over");
        channel.cancel(stream).unwrap();
    }
}

/// It went out, and the payload, which takes no such list, closed the connection without a word.
#[test]
fn a_request_with_too_many_stop_strings_is_refused_here_and_the_connection_goes_on() {
    let cvm = Cvm::new();
    let mut channel = connect(&cvm);
    let asked = Request {
        stop: vec!["x".into(); MAX_STOP_STRINGS + 1],
        ..request(&[1], 2)
    };
    let error = channel.request(asked).unwrap_err().to_string();
    assert_eq!(
        error,
        "17 stop strings, at most 16 are possible: leave some out"
    );
    let mut stream = channel.request(request(&[1], 2)).unwrap();
    let events = reply(&mut channel, &mut stream).unwrap();
    expect_reply(&events, &[1], 2);
}

#[test]
fn a_key_that_was_not_verified_gets_nothing() {
    let cvm = Cvm::new();
    let other = Cvm::new();
    // Another CVM's evidence, relayed: the key in it is not this payload's.
    let relayed = verified(StaticKey::new(Default::default()).public());
    let refused = Channel::connect(&relayed, Host::honest(&cvm)).err();
    assert!(matches!(
        refused,
        Some(Error::Transport(payload::Refusal::Handshake))
    ));

    // A man in the middle who answers himself.
    struct Impostor(Option<Vec<u8>>, Vec<Vec<u8>>);
    impl Transport for &mut Impostor {
        type Error = Infallible;
        fn send(&mut self, frame: &[u8]) -> Result<(), Infallible> {
            self.1.push(frame.to_vec());
            Ok(())
        }
        fn receive(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
            Ok(self.0.take())
        }
    }
    let own = StaticKey::new([9; 32].into());
    let (_, for_him) = Handshake::begin(&verified(own.public())).unwrap();
    let (_, answer) = respond(&own, [8; 32].into(), &for_him, 64).unwrap();
    let mut impostor = Impostor(Some(answer.to_vec()), vec![]);
    let verified = verified(other.borrow().channel.public_key());
    let refused = Channel::connect(&verified, &mut impostor).err();
    let handshake = Error::<Infallible>::Connection(ConnectionError::Handshake);
    assert_eq!(refused.map(|e| e.to_string()), Some(handshake.to_string()));
    let lengths: Vec<_> = impostor.1.iter().map(Vec::len).collect();
    assert_eq!(
        lengths,
        [HANDSHAKE_BYTES],
        "nothing but the first message was sent"
    );
}

#[test]
fn a_reply_that_is_cut_off_is_never_taken_for_complete() {
    let key = Cvm::new();
    let whole = {
        let mut channel = connect(&key);
        let mut stream = channel.request(request(&[3], 8)).unwrap();
        reply(&mut channel, &mut stream).unwrap().len()
    };
    assert_eq!(whole, 9);
    for kept in 0..whole {
        let cvm = Cvm::new();
        let host = Host::meddling(
            &cvm,
            move |i, frame| {
                if i < kept { vec![frame] } else { vec![] }
            },
        );
        let verified = verified(cvm.borrow().channel.public_key());
        let mut channel = Channel::connect(&verified, host).unwrap();
        let mut stream = channel.request(request(&[3], 8)).unwrap();
        let (error, came) = reply(&mut channel, &mut stream).unwrap_err();
        assert!(matches!(error, Error::CutOff), "{error}");
        assert_eq!(came.len(), kept);
        assert!(!came.iter().any(Event::ends));
        assert!(channel.next(&mut stream).is_err(), "asked again");
    }
}

#[test]
fn frames_that_are_changed_repeated_left_out_or_reordered_break_the_connection() {
    type Meddled = fn(usize, Vec<u8>, &mut Vec<Vec<u8>>) -> Vec<Vec<u8>>;
    let meddles: [(&str, Meddled); 6] = [
        ("changed", |i, mut frame, _| {
            frame[77] ^= u8::from(i == 3);
            vec![frame]
        }),
        ("repeated", |i, frame, _| {
            vec![frame; 1 + usize::from(i == 3)]
        }),
        (
            "left out",
            |i, frame, _| if i == 3 { vec![] } else { vec![frame] },
        ),
        ("reordered", |i, frame, kept| match i {
            3 => {
                kept.push(frame);
                vec![]
            }
            4 => vec![frame, kept.remove(0)],
            _ => vec![frame],
        }),
        ("shortened", |i, mut frame, _| {
            frame.truncate(if i == 3 { 255 } else { 256 });
            vec![frame]
        }),
        ("empty", |i, frame, _| {
            if i == 3 {
                vec![vec![], frame]
            } else {
                vec![frame]
            }
        }),
    ];
    for (name, meddle) in meddles {
        let cvm = Cvm::new();
        let mut kept = Vec::new();
        let host = Host::meddling(&cvm, move |i, frame| meddle(i, frame, &mut kept));
        let verified = verified(cvm.borrow().channel.public_key());
        let mut channel = Channel::connect(&verified, host).unwrap();
        let mut stream = channel.request(request(&[3], 8)).unwrap();
        let (error, came) = reply(&mut channel, &mut stream).unwrap_err();
        let broken = Error::Connection(ConnectionError::Broken(ChannelError::Frame));
        assert_eq!(error.to_string(), Failed::to_string(&broken), "{name}");
        // What came before is genuine, and there is no more.
        assert!(came.len() <= 4, "{name}");
        assert!(!came.iter().any(Event::ends), "{name}");
        assert!(channel.request(request(&[3], 8)).is_err(), "{name}");
    }
}

#[test]
fn streams_are_told_apart_and_a_slow_one_stalls_only_itself() {
    let cvm = Cvm::new();
    let mut channel = connect(&cvm);
    let prompt = |i: u32| vec![i + 1, 2 * i + 1];
    let tokens = 2 * WINDOW;
    let mut streams: Vec<_> = (0..8)
        .map(|i| channel.request(request(&prompt(i), tokens)).unwrap())
        .collect();
    // The last of them is read to its end while nobody reads the others.
    let mut last = streams.pop().unwrap();
    let events = reply(&mut channel, &mut last).unwrap();
    expect_reply(&events, &prompt(7), tokens);

    let mut heard = vec![Vec::new(); streams.len()];
    for _ in 0..=tokens {
        for (stream, heard) in streams.iter_mut().zip(&mut heard) {
            heard.push(channel.next(stream).unwrap().unwrap());
        }
    }
    for (i, events) in (0..).zip(&heard) {
        expect_reply(events, &prompt(i), tokens);
    }
}

#[test]
fn cancelled_streams_end_in_the_payload_and_others_go_on() {
    let cvm = Cvm::new();
    let mut channel = connect(&cvm);
    let mut first = channel.request(request(&[1], 100)).unwrap();
    let mut second = channel.request(request(&[2], 10)).unwrap();
    for _ in 0..3 {
        assert!(channel.next(&mut first).unwrap().is_some());
    }
    channel.cancel(first).unwrap();
    expect_reply(&reply(&mut channel, &mut second).unwrap(), &[2], 10);
    assert!(!cvm.borrow().channel.is_busy());

    let many: Vec<_> = (0..MAX_STREAMS)
        .map(|_| channel.request(request(&[1], 1)).unwrap())
        .collect();
    let more = channel.request(request(&[1], 1));
    let too_many = Error::Connection(ConnectionError::TooManyStreams);
    assert_eq!(more.unwrap_err().to_string(), Failed::to_string(&too_many));
    many.into_iter()
        .for_each(|stream| channel.cancel(stream).unwrap());
    let mut stream = channel.request(request(&[9], 2)).unwrap();
    expect_reply(&reply(&mut channel, &mut stream).unwrap(), &[9], 2);
}

#[test]
fn what_crosses_is_of_few_lengths_and_holds_nothing_that_was_said() {
    let cvm = Cvm::new();
    let mut channel = connect(&cvm);
    let secret = "The treasure lies under the third oak. ".repeat(10_000);
    let mut text = request(&[], 5);
    text.prompt = Prompt::Text(secret.clone());
    let mut stream = channel.request(text).unwrap();
    let events = reply(&mut channel, &mut stream).unwrap();
    // The tiny model has no tokenizer, and says so.
    let [
        Event::Failed {
            failure: Failure::Refused,
            message,
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(message.contains("tokenizer.json"));

    let seen = &cvm.borrow().seen;
    let (handshake, frames) = seen.split_at(1);
    assert_eq!(handshake[0].len(), HANDSHAKE_BYTES);
    // A request of more than 390,000 bytes: five full frames, and a rest that 16,384 do not hold. The answer.
    let lengths: Vec<_> = frames.iter().map(Vec::len).collect();
    assert_eq!(
        lengths,
        [65_535, 65_535, 65_535, 65_535, 65_535, 65_535, 256]
    );
    assert!(lengths.iter().all(|length| BUCKETS.contains(length)));
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
    for frame in seen {
        assert!(!holds(frame, &secret.as_bytes()[..8]));
        assert!(!holds(frame, b"tokenizer"));
    }
}

/// A client, and a payload that may say what it likes.
fn with_payload() -> (Connection, Sealed) {
    let key = StaticKey::new([1; 32].into());
    let (handshake, hello) = Handshake::begin(&verified(key.public())).unwrap();
    let (payload, answer) = respond(&key, [2; 32].into(), &hello, 64).unwrap();
    (handshake.finish(&answer).unwrap(), payload)
}

#[test]
fn a_payload_that_breaks_the_protocol_is_not_listened_to() {
    let token = Event::Token {
        id: 1,
        text: "a".into(),
        logprobs: None,
    }
    .to_bytes();
    let failed = Event::Failed {
        failure: Failure::Internal,
        message: String::new(),
    }
    .to_bytes();
    let (token, failed) = (&token[..], &failed[..]);
    type Said<'a> = (u32, &'a [u8]);
    let cases: [(&str, Vec<Said>); 4] = [
        ("a stream that never was", vec![(1, token)]),
        ("no event", vec![(0, &[9, 9][..])]),
        ("more after the end", vec![(0, failed), (0, token)]),
        (
            "more than there is room for",
            vec![(0, token); WINDOW as usize + 1],
        ),
    ];
    for (name, messages) in cases {
        let (mut client, mut payload) = with_payload();
        let (_stream, _) = client.request(request(&[1], 1)).unwrap();
        let (last, before) = messages.split_last().unwrap();
        let mut receive =
            |(stream, message): &Said| client.receive(&payload.seal(*stream, message).unwrap()[0]);
        assert!(
            before.iter().all(|message| receive(message).is_ok()),
            "{name}"
        );
        let broken = ConnectionError::Broken(ChannelError::Protocol);
        assert_eq!(receive(last), Err(broken), "{name}");
        let closed = ConnectionError::Broken(ChannelError::Closed);
        assert_eq!(receive(&(0, token)), Err(closed), "{name}");
        assert_eq!(
            client.request(request(&[1], 1)).err(),
            Some(closed),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn fuzz_receive(bucket in 0..BUCKETS.len(), seed in any::<u8>(), length in 0..70_000_usize) {
        for length in [BUCKETS[bucket], length] {
            let (mut client, _) = with_payload();
            let (mut stream, _) = client.request(request(&[1], 1)).unwrap();
            let frame: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
            prop_assert!(client.receive(&frame).is_err());
            prop_assert_eq!(client.take(&mut stream), Ok(Taken::Nothing));
        }
    }

    #[test]
    fn fuzz_answer(answer in prop::collection::vec(any::<u8>(), 0..100)) {
        let (handshake, _) = Handshake::begin(&verified(StaticKey::new([1; 32].into()).public())).unwrap();
        prop_assert_eq!(handshake.finish(&answer).err(), Some(ConnectionError::Handshake));
    }
}
