//! A client that keeps to the protocol, or not, against the payload's end and a tiny model.

use proptest::prelude::*;
use std::collections::HashMap;
use std::rc::Rc;
use talaria_wire::channel::{
    Assembler, BUCKETS, MAX_STREAMS, Sealed, WINDOW,
    message::{self, Event, Failure, FinishReason, Prompt, Request, Sampling, ToPayload, Usage},
    noise::Initiating,
};
use talaria_wire::receipt::{Reply, Statement};
use zeroize::Zeroizing;

use super::*;
use crate::{setup::Scheme, testing::TestWorld};

/// What the host says the payload is.
const PAYLOAD: [u8; 32] = [0xda; 32];

/// Named, so that events are the same each time.
const SEED: u64 = 5;

fn engine(world: &mut TestWorld) -> Engine {
    Engine::new(Rc::new(world.ready(Scheme::Shares))).unwrap()
}

/// With room for replies longer than the window.
fn world() -> TestWorld {
    let mut world = TestWorld::new();
    world.manifest.decoder.max_position_embeddings = 4 * WINDOW;
    world
}

fn channel() -> (Channel, TestWorld) {
    let mut world = world();
    (Channel::new(engine(&mut world), PAYLOAD, &mut world), world)
}

fn request(ids: &[u32], max_new_tokens: u32) -> Request {
    Request {
        sampling: Sampling {
            seed: Some(SEED),
            ..Sampling::GREEDY
        },
        max_new_tokens,
        ignore_eos: true,
        logits_digest: true,
        ..Request::new(Prompt::Ids(ids.to_vec()))
    }
}

struct Client {
    connection: u64,
    sealed: Sealed,
    incoming: Assembler,
}

impl Client {
    fn connect(channel: &mut Channel, world: &mut TestWorld) -> Self {
        let ephemeral = fresh_seed(world);
        let (client, hello) = Initiating::begin(channel.public_key(), ephemeral).unwrap();
        let (connection, answer) = channel.open(&hello, world).unwrap();
        Self {
            connection,
            sealed: client.finish(&answer).unwrap().0,
            incoming: Assembler::default(),
        }
    }

    fn say(
        &mut self,
        channel: &mut Channel,
        world: &mut TestWorld,
        stream: u32,
        message: &ToPayload,
    ) -> Result<bool, Refusal> {
        let mut brought = false;
        for frame in self.sealed.seal(stream, &message.to_bytes()).unwrap() {
            brought |= channel.deliver(self.connection, &frame, world)?;
        }
        Ok(brought)
    }

    fn ask(
        &mut self,
        channel: &mut Channel,
        world: &mut TestWorld,
        stream: u32,
        ids: &[u32],
        most: u32,
    ) {
        let request = ToPayload::Request(request(ids, most));
        self.say(channel, world, stream, &request).unwrap();
    }

    /// What is there for this client now.
    fn hear(&mut self, channel: &mut Channel) -> Vec<(u32, Event)> {
        let mut heard = Vec::new();
        for frame in channel.poll(self.connection, usize::MAX).unwrap() {
            assert!(BUCKETS.contains(&frame.len()));
            let fragment = self.sealed.open(&frame).unwrap();
            let stream = fragment.stream;
            if let Some(message) = self.incoming.push(fragment).unwrap() {
                heard.push((stream, Event::from_bytes(&message).unwrap()));
            }
        }
        heard
    }
}

/// Tokens and logits digest of a session of the host.
fn directly(ids: &[u32], max_new_tokens: u32) -> (Vec<u32>, Option<[u8; 32]>) {
    let mut world = world();
    let mut engine = engine(&mut world);
    engine
        .open(request(ids, max_new_tokens), &mut world)
        .unwrap();
    let (mut tokens, mut digest) = (Vec::new(), None);
    while !engine.is_idle() {
        for (_, event) in engine.step(&mut world).unwrap() {
            match event {
                Event::Token { id, .. } => tokens.push(id),
                Event::Finished { logits_digest, .. } => digest = logits_digest,
                Event::Failed { .. } => panic!("{event:?}"),
            }
        }
    }
    (tokens, digest)
}

fn tokens_of(events: &[Event]) -> Vec<u32> {
    let tokens = events.iter().filter_map(|event| match event {
        Event::Token { id, .. } => Some(*id),
        _ => None,
    });
    tokens.collect()
}

fn expect_reply(events: &[Event], ids: &[u32], max_new_tokens: u32) {
    let (tokens, logits_digest) = directly(ids, max_new_tokens);
    assert_eq!(tokens_of(events), tokens);
    let finished = Event::Finished {
        reason: FinishReason::Length,
        usage: Usage {
            prompt_tokens: ids.len() as u32,
            completion_tokens: tokens.len() as u32,
            cached_tokens: 0,
        },
        seed: SEED,
        logits_digest,
        receipt: None,
    };
    assert_eq!(events.last(), Some(&finished));
    assert_eq!(events.iter().filter(|event| event.ends()).count(), 1);
}

#[test]
fn a_prompt_through_the_channel_gives_what_the_engine_gives() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    let prompt: Vec<u32> = (0..21).map(|i| i * 7 % 40).collect();
    client.ask(&mut channel, &mut world, 0, &prompt, 12);
    let mut reply = Vec::new();
    while channel.is_busy() {
        channel.step(&mut world).unwrap();
        reply.extend(
            client
                .hear(&mut channel)
                .into_iter()
                .map(|(_, event)| event),
        );
    }
    expect_reply(&reply, &prompt, 12);
    assert!(channel.pending().is_empty());
}

#[test]
fn streams_of_several_clients_do_not_mix() {
    let (mut channel, mut world) = channel();
    let mut clients = [0; 3].map(|_| Client::connect(&mut channel, &mut world));
    let prompt = |client: usize, stream: u32| -> Vec<u32> {
        (1..4 + stream)
            .map(|i| (i * 5 + 11 * client as u32) % 40)
            .collect()
    };
    let mut heard: HashMap<(usize, u32), Vec<Event>> = HashMap::new();
    // Streams begin while others are under way.
    for stream in 0..5 {
        for (i, client) in clients.iter_mut().enumerate() {
            client.ask(&mut channel, &mut world, stream, &prompt(i, stream), 9);
        }
        channel.step(&mut world).unwrap();
    }
    while channel.is_busy() || !channel.pending().is_empty() {
        channel.step(&mut world).unwrap();
        for (i, client) in clients.iter_mut().enumerate() {
            for (stream, event) in client.hear(&mut channel) {
                heard.entry((i, stream)).or_default().push(event);
            }
        }
    }
    assert_eq!(heard.len(), 15);
    for ((client, stream), events) in heard {
        expect_reply(&events, &prompt(client, stream), 9);
    }
}

#[test]
fn a_client_that_takes_nothing_stalls_only_itself() {
    let (mut channel, mut world) = channel();
    let mut slow = Client::connect(&mut channel, &mut world);
    let mut quick = Client::connect(&mut channel, &mut world);
    slow.ask(&mut channel, &mut world, 0, &[1], 3 * WINDOW);
    let mut heard: HashMap<u32, Vec<Event>> = HashMap::new();
    for stream in 0..4 {
        quick.ask(&mut channel, &mut world, stream, &[2, stream], 50);
    }
    while heard
        .values()
        .flatten()
        .filter(|event| event.ends())
        .count()
        < 4
    {
        channel.step(&mut world).unwrap();
        for (stream, event) in quick.hear(&mut channel) {
            heard.entry(stream).or_default().push(event);
        }
    }
    for stream in 0..4 {
        expect_reply(&heard[&stream], &[2, stream], 50);
    }
    // It got ahead by the window and no further.
    while channel.is_busy() {
        channel.step(&mut world).unwrap();
    }
    assert!(!channel.engine.is_idle(), "it waits and is not over");
    let steps = channel.engine.counters().projections;
    channel.step(&mut world).unwrap();
    assert_eq!(channel.engine.counters().projections, steps);
    let mut reply = slow.hear(&mut channel);
    assert_eq!(reply.len(), WINDOW as usize);
    // What it did not give back stays where it is.
    while channel.is_busy() {
        channel.step(&mut world).unwrap();
    }
    assert_eq!(slow.hear(&mut channel), []);
    let mut taken = WINDOW;
    while !reply.last().is_some_and(|(_, event)| event.ends()) {
        let room = ToPayload::Credit(taken.min(10));
        slow.say(&mut channel, &mut world, 0, &room).unwrap();
        taken -= taken.min(10);
        channel.step(&mut world).unwrap();
        let more = slow.hear(&mut channel);
        assert!(more.len() <= 10);
        taken += more.len() as u32;
        reply.extend(more);
    }
    let reply: Vec<_> = reply.into_iter().map(|(_, event)| event).collect();
    expect_reply(&reply, &[1], 3 * WINDOW);
}

/// The window is the stream's: another stream of the same client goes on.
#[test]
fn a_stream_without_credit_stalls_only_itself() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    for stream in 0..2 {
        client.ask(&mut channel, &mut world, stream, &[stream], 2 * WINDOW);
    }
    let mut heard = [Vec::new(), Vec::new()];
    while !heard[1].last().is_some_and(Event::ends) {
        channel.step(&mut world).unwrap();
        for (stream, event) in client.hear(&mut channel) {
            heard[stream as usize].push(event);
            if stream == 1 {
                client
                    .say(&mut channel, &mut world, 1, &ToPayload::Credit(1))
                    .unwrap();
            }
        }
    }
    expect_reply(&heard[1], &[1], 2 * WINDOW);
    assert_eq!(heard[0].len(), WINDOW as usize);
}

#[test]
fn held_sessions_wait_and_go_on_as_if_nothing_was() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    client.ask(&mut channel, &mut world, 0, &[3, 1], 10);
    client.ask(&mut channel, &mut world, 1, &[4, 1], 10);
    let held = *channel
        .routes
        .iter()
        .find(|(_, (_, stream))| *stream == 0)
        .unwrap()
        .0;
    channel.engine.hold(held, true);
    for _ in 0..20 {
        channel.step(&mut world).unwrap();
    }
    assert!(!channel.is_busy());
    let heard = client.hear(&mut channel);
    assert!(heard.iter().all(|(stream, _)| *stream == 1));
    expect_reply(
        &heard.into_iter().map(|(_, e)| e).collect::<Vec<_>>(),
        &[4, 1],
        10,
    );

    // `poll` found room in the stream and let it go on.
    assert!(channel.is_busy());
    while channel.is_busy() {
        channel.step(&mut world).unwrap();
    }
    let heard = client
        .hear(&mut channel)
        .into_iter()
        .map(|(_, event)| event);
    expect_reply(&heard.collect::<Vec<_>>(), &[3, 1], 10);
}

#[test]
fn a_refused_request_ends_its_stream_and_no_other() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    client.ask(&mut channel, &mut world, 0, &[1], 2);
    client.ask(&mut channel, &mut world, 1, &[40], 2);
    assert_eq!(channel.pending(), [client.connection]);
    let heard = client.hear(&mut channel);
    let failed = "token id 40 at position 0 is outside the vocabulary of 40";
    let failed = Event::Failed {
        failure: Failure::Refused,
        message: failed.into(),
    };
    assert_eq!(heard, [(1, failed)]);
    while channel.is_busy() {
        channel.step(&mut world).unwrap();
    }
    let heard = client
        .hear(&mut channel)
        .into_iter()
        .map(|(_, event)| event);
    expect_reply(&heard.collect::<Vec<_>>(), &[1], 2);
}

#[test]
fn a_lying_host_ends_every_stream_and_clients_are_told() {
    let (mut channel, mut world) = channel();
    let mut clients = [0; 2].map(|_| Client::connect(&mut channel, &mut world));
    for client in &mut clients {
        client.ask(&mut channel, &mut world, 0, &[1], 2);
    }
    world.tamper = Box::new(|answers| answers[0][0] ^= 1);
    assert!(matches!(
        channel.step(&mut world),
        Err(StepError::Integrity)
    ));
    assert!(!channel.is_busy());
    for client in &mut clients {
        let heard = client.hear(&mut channel);
        assert!(matches!(
            heard[..],
            [(
                0,
                Event::Failed {
                    failure: Failure::Integrity,
                    ..
                }
            )]
        ));
    }
    assert!(channel.routes.is_empty());
}

#[test]
fn clients_are_told_whose_fault_it_was() {
    for (error, expected) in [
        (StepError::Integrity, Failure::Integrity),
        (StepError::Host("no answer".into()), Failure::Host),
        (StepError::Internal("NaN".into()), Failure::Internal),
    ] {
        let Event::Failed { failure, message } = failed(&error) else {
            panic!("a failure")
        };
        assert_eq!((failure, message), (expected, error.to_string()));
    }
}

/// What the model's context would allow is no more than a request may come to: nothing is booked for it.
#[test]
fn only_what_could_never_be_answered_is_refused() {
    let mut world = world();
    world.manifest.decoder.max_position_embeddings = 1 << 24;
    let mut channel = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    let mut client = Client::connect(&mut channel, &mut world);
    client.ask(&mut channel, &mut world, 0, &[1], 1 << 24);
    client.ask(&mut channel, &mut world, 1, &[], 1);
    let heard = client.hear(&mut channel);
    let [(1, Event::Failed { failure, .. })] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(*failure, Failure::Refused);
}

/// Until a key is named, or after another request took it, a stream goes on from its own connection only.
#[test]
fn a_stream_goes_on_from_what_was_computed_under_its_key() {
    let mut world = world();
    let mut channel = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    let prompt: Vec<u32> = (0..20).collect();
    let mut cached = |keys: &[(u32, u8)]| {
        let mut client = Client::connect(&mut channel, &mut world);
        for (stream, key) in keys {
            let key = ToPayload::Key([*key; 32]);
            client.say(&mut channel, &mut world, *stream, &key).unwrap();
        }
        client.ask(&mut channel, &mut world, 4, &prompt, 1);
        while channel.is_busy() {
            channel.step(&mut world).unwrap();
        }
        let heard = client.hear(&mut channel);
        channel.close(client.connection);
        match heard.last() {
            Some((4, Event::Finished { usage, .. })) => usage.cached_tokens,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cached(&[(4, 1)]), 0);
    assert_eq!(cached(&[(4, 1)]), 19);
    assert_eq!(cached(&[]), 0);
    assert_eq!(cached(&[(4, 2)]), 0);
    // Of a stream that was not the next to begin.
    assert_eq!(cached(&[(5, 1)]), 0);
    assert_eq!(cached(&[(4, 2), (4, 1)]), 19);
}

#[test]
fn cancelled_and_closed_streams_take_their_sessions_with_them() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    client.ask(&mut channel, &mut world, 0, &[1], 9);
    client.ask(&mut channel, &mut world, 1, &[2], 9);
    channel.step(&mut world).unwrap();
    client
        .say(&mut channel, &mut world, 0, &ToPayload::Cancel)
        .unwrap();
    assert_eq!(channel.routes.len(), 1);
    let heard = client.hear(&mut channel);
    assert!(
        heard.iter().all(|(stream, _)| *stream == 1),
        "nothing more of it"
    );
    // Twice, and for a stream that is over: no offence.
    client
        .say(&mut channel, &mut world, 0, &ToPayload::Cancel)
        .unwrap();
    client
        .say(&mut channel, &mut world, 0, &ToPayload::Credit(1))
        .unwrap();

    channel.close(client.connection);
    assert!(!channel.is_busy());
    assert!(channel.routes.is_empty() && channel.engine.is_idle());
    let unknown = channel.poll(client.connection, 1);
    assert_eq!(unknown, Err(Refusal::Unknown));
}

#[test]
fn a_client_that_breaks_the_protocol_loses_its_connection() {
    type Break = fn(&mut Client, &mut Channel, &mut TestWorld) -> Result<bool, Refusal>;
    let breaks: [(&str, Break); 10] = [
        ("no credit at all", |client, channel, world| {
            client.say(channel, world, 5, &ToPayload::Credit(0))
        }),
        ("credit beyond what is counted", |client, channel, world| {
            client.say(channel, world, 5, &ToPayload::Credit(u32::MAX))
        }),
        (
            "credit for a stream that never was",
            |client, channel, world| client.say(channel, world, 6, &ToPayload::Credit(1)),
        ),
        ("a stream's number again", |client, channel, world| {
            client.say(channel, world, 5, &ToPayload::Request(request(&[1], 1)))
        }),
        ("a lower number", |client, channel, world| {
            client.say(channel, world, 4, &ToPayload::Request(request(&[1], 1)))
        }),
        ("credit for nothing", |client, channel, world| {
            client.say(channel, world, 5, &ToPayload::Credit(1))
        }),
        ("a stream that never was", |client, channel, world| {
            client.say(channel, world, 6, &ToPayload::Cancel)
        }),
        ("no message", |client, channel, world| {
            let frame = client.sealed.seal(6, &[9, 9, 9]).unwrap();
            channel.deliver(client.connection, &frame[0], world)
        }),
        ("too many streams", |client, channel, world| {
            let mut all = (6..6 + MAX_STREAMS as u32).map(|stream| {
                let asked = ToPayload::Request(request(&[40], 1));
                client.say(channel, world, stream, &asked)
            });
            all.find(Result::is_err).unwrap()
        }),
        ("too long a message", |client, channel, world| {
            let part = talaria_wire::channel::Fragment {
                stream: 6,
                last: false,
                content: Zeroizing::new(vec![0; 60_000]),
            };
            let mut all = (0..100).map(|_| {
                let frame = client.sealed.seal_fragment(&part).unwrap();
                channel.deliver(client.connection, &frame, world)
            });
            all.find(Result::is_err).unwrap()
        }),
    ];
    for (name, breaks) in breaks {
        let (mut channel, mut world) = channel();
        let mut other = Client::connect(&mut channel, &mut world);
        other.ask(&mut channel, &mut world, 0, &[7, 7], 3);
        let mut client = Client::connect(&mut channel, &mut world);
        client.ask(&mut channel, &mut world, 5, &[1], 9);
        let broken = breaks(&mut client, &mut channel, &mut world);
        assert_eq!(broken, Err(Refusal::Frame), "{name}");
        let gone = channel.deliver(client.connection, &[], &mut world);
        assert_eq!(gone, Err(Refusal::Unknown), "{name}");
        assert_eq!(channel.routes.len(), 1, "{name}");
        while channel.is_busy() {
            channel.step(&mut world).unwrap();
        }
        let heard = other.hear(&mut channel).into_iter().map(|(_, event)| event);
        expect_reply(&heard.collect::<Vec<_>>(), &[7, 7], 3);
    }
}

#[test]
fn a_changed_frame_closes_the_connection_before_anything_is_asked() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    let message = ToPayload::Request(request(&[1], 1)).to_bytes();
    let mut frame = client.sealed.seal(0, &message).unwrap().remove(0);
    frame[100] ^= 1;
    let refused = channel.deliver(client.connection, &frame, &mut world);
    assert_eq!(refused, Err(Refusal::Frame));
    frame[100] ^= 1;
    let refused = channel.deliver(client.connection, &frame, &mut world);
    assert_eq!(refused, Err(Refusal::Unknown));
    assert!(channel.engine.is_idle());
}

#[test]
fn connections_are_bounded() {
    let (mut channel, mut world) = channel();
    let hello = |channel: &Channel, world: &mut TestWorld| {
        let ephemeral = fresh_seed(world);
        Initiating::begin(channel.public_key(), ephemeral)
            .unwrap()
            .1
    };
    let mut proven = Vec::new();
    for _ in 0..MAX_CONNECTIONS - MAX_HANDSHAKES {
        let mut client = Client::connect(&mut channel, &mut world);
        client.ask(&mut channel, &mut world, 0, &[40], 1);
        proven.push(client);
    }
    let mut silent = Vec::new();
    for _ in 0..3 * MAX_HANDSHAKES {
        let first = hello(&channel, &mut world);
        silent.push(channel.open(&first, &mut world).unwrap().0);
        assert!(channel.connections.len() <= MAX_CONNECTIONS);
    }
    // The oldest of those that never said anything made room, and no other.
    let left = silent.split_off(2 * MAX_HANDSHAKES);
    assert!(
        silent
            .iter()
            .all(|id| !channel.connections.contains_key(id))
    );
    assert!(left.iter().all(|id| channel.connections.contains_key(id)));
    for client in &proven {
        assert!(channel.connections.contains_key(&client.connection));
    }
    // Nobody is locked out: a client that completes its handshake has its place.
    for _ in 0..MAX_HANDSHAKES {
        let mut client = Client::connect(&mut channel, &mut world);
        let ready = client.say(&mut channel, &mut world, 0, &ToPayload::Ready);
        assert_eq!(ready, Ok(false));
        proven.push(client);
    }
    let first = hello(&channel, &mut world);
    assert_eq!(channel.open(&first, &mut world), Err(Refusal::Busy));
    // No handshake of another version took a place from anybody.
    channel.close(proven[0].connection);
    channel.open(&first, &mut world).unwrap();
    let broken = [9; talaria_wire::channel::HANDSHAKE_BYTES];
    assert_eq!(channel.open(&broken, &mut world), Err(Refusal::Handshake));
    assert_eq!(channel.connections.len(), MAX_CONNECTIONS);
}

/// Where nobody else is: those without a frame have their own bound.
#[test]
fn connections_without_a_frame_are_bounded_by_themselves() {
    let (mut channel, mut world) = channel();
    let mut opened = Vec::new();
    for _ in 0..MAX_HANDSHAKES + 3 {
        opened.push(Client::connect(&mut channel, &mut world).connection);
        assert!(channel.connections.len() <= MAX_HANDSHAKES);
    }
    let left: Vec<u64> = channel.connections.keys().copied().collect();
    assert_eq!(left, opened[3..]);
}

/// A connection that holds a reply and gives it nothing must not live on that.
#[test]
fn frames_that_bring_nothing_on_are_told_from_those_that_do() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    let mut say = |stream, message: ToPayload| {
        let brought = client.say(&mut channel, &mut world, stream, &message);
        brought.unwrap()
    };
    let asked = |ids: &[u32]| ToPayload::Request(request(ids, 9));
    assert!(say(0, asked(&[1])));
    assert!(say(1, asked(&[2])));
    assert!(!say(0, ToPayload::Ready));
    assert!(say(0, ToPayload::Cancel));
    assert!(!say(0, ToPayload::Cancel));
    assert!(!say(0, ToPayload::Credit(1)));
}

#[test]
fn a_host_that_is_away_ends_no_stream_until_it_is_given_up() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    client.ask(&mut channel, &mut world, 0, &[1], 3);
    client.ask(&mut channel, &mut world, 1, &[2, 3], 9);
    channel.step(&mut world).unwrap();
    let mut heard = client.hear(&mut channel);
    world.failing = Some(3);
    assert!(matches!(channel.step(&mut world), Err(StepError::Host(_))));
    assert!(channel.is_busy() && channel.pending().is_empty());
    for _ in 0..2 {
        channel.step(&mut world).unwrap();
    }
    heard.extend(client.hear(&mut channel));
    let of_first = heard.into_iter().filter(|(stream, _)| *stream == 0);
    expect_reply(
        &of_first.map(|(_, event)| event).collect::<Vec<_>>(),
        &[1],
        3,
    );

    world.failing = Some(0);
    assert!(matches!(channel.step(&mut world), Err(StepError::Host(_))));
    channel.give_up();
    assert!(!channel.is_busy() && channel.routes.is_empty());
    let heard = client.hear(&mut channel);
    let [(1, Event::Failed { failure, message })] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(*failure, Failure::Host);
    assert!(message.contains("host 2"), "{message}");
}

fn token(id: u32) -> Event {
    Event::Token {
        id,
        text: String::new(),
        logprobs: None,
    }
}

#[test]
fn a_stream_is_full_with_a_window_of_events() {
    let (channel, _) = channel();
    let mut stream = Stream::default();
    for id in 0..WINDOW {
        assert!(!stream.is_full());
        stream.push(token(id), &channel.notary);
    }
    assert!(stream.is_full());
}

#[test]
fn streams_send_in_turn() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    let end = channel.connections.get_mut(&client.connection).unwrap();
    for stream in 0..3 {
        let begun = end.begin(stream).unwrap();
        (0..3).for_each(|id| begun.push(token(id), &channel.notary));
    }
    let heard = client.hear(&mut channel).into_iter();
    let streams: Vec<u32> = heard.map(|(stream, _)| stream).collect();
    assert_eq!(streams, [1, 2, 0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn no_more_frames_than_asked_for_are_given_out() {
    let (mut channel, mut world) = channel();
    let client = Client::connect(&mut channel, &mut world);
    let end = channel.connections.get_mut(&client.connection).unwrap();
    // More than a frame holds.
    end.begin(0).unwrap().fail(Event::Failed {
        failure: Failure::Refused,
        message: "x".repeat(100_000),
    });
    let mut frames = |most| channel.poll(client.connection, most).unwrap().len();
    assert_eq!([0, 1, 1, 1].map(&mut frames), [0, 1, 1, 0]);
}

#[test]
fn streams_that_ended_leave_room_for_others() {
    let (mut channel, mut world) = channel();
    let mut client = Client::connect(&mut channel, &mut world);
    for stream in 0..=MAX_STREAMS as u32 {
        // Refused, and so over at once.
        client.ask(&mut channel, &mut world, stream, &[40], 1);
        let heard = client.hear(&mut channel);
        assert!(matches!(heard[..], [(s, Event::Failed { .. })] if s == stream));
    }
}

#[test]
fn connections_that_said_something_are_bounded_too() {
    let (mut channel, mut world) = channel();
    for _ in 0..MAX_CONNECTIONS {
        let mut client = Client::connect(&mut channel, &mut world);
        client.ask(&mut channel, &mut world, 0, &[40], 1);
    }
    let ephemeral = fresh_seed(&mut world);
    let (_, hello) = Initiating::begin(channel.public_key(), ephemeral).unwrap();
    assert_eq!(channel.open(&hello, &mut world), Err(Refusal::Busy));
    channel.close(0);
    assert!(channel.open(&hello, &mut world).is_ok());
}

#[test]
fn keys_are_drawn_and_not_chosen_by_anyone() {
    let (mut channel_a, mut world) = channel();
    let channel_b = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    assert_ne!(channel_a.public_key(), channel_b.public_key());
    // A first message said again gets another answer: what was sealed then does not open.
    let ephemeral = fresh_seed(&mut world);
    let (client, hello) = Initiating::begin(channel_a.public_key(), ephemeral).unwrap();
    let (_, answer) = channel_a.open(&hello, &mut world).unwrap();
    let (replayed, other) = channel_a.open(&hello, &mut world).unwrap();
    assert_ne!(answer, other);
    let (mut sealed, _) = client.finish(&answer).unwrap();
    let message = ToPayload::Request(request(&[1], 1)).to_bytes();
    let frame = sealed.seal(0, &message).unwrap().remove(0);
    let refused = channel_a.deliver(replayed, &frame, &mut world);
    assert_eq!(refused, Err(Refusal::Frame));
}

/// The reply to one request of a new client.
fn reply(channel: &mut Channel, world: &mut TestWorld, request: Request) -> Vec<Event> {
    let mut client = Client::connect(channel, world);
    let request = ToPayload::Request(request);
    client.say(channel, world, 0, &request).unwrap();
    let mut events = Vec::new();
    while channel.is_busy() {
        channel.step(world).unwrap();
        let heard = client.hear(channel).into_iter();
        events.extend(heard.map(|(_, event)| event));
    }
    channel.close(client.connection);
    events
}

/// A model that writes text.
fn with_text() -> (Channel, TestWorld) {
    let mut world = TestWorld::with_text();
    let channel = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    (channel, world)
}

fn text_of(events: &[Event]) -> String {
    let texts = events.iter().map(|event| match event {
        Event::Token { text, .. } => text.as_str(),
        _ => "",
    });
    texts.collect()
}

/// Verifies the receipt of a reply as a client does, by what it asked and heard.
fn verified(channel: &Channel, asked: &Request, events: &[Event]) -> Statement {
    let Some(Event::Finished {
        receipt: Some(receipt),
        reason,
        seed,
        usage,
        logits_digest,
    }) = events.last()
    else {
        panic!("no receipt: {:?}", events.last())
    };
    let mut reply = Reply::default();
    for event in events {
        if let Event::Token { id, text, .. } = event {
            reply.push(*id, text);
        }
    }
    let expected = Statement {
        payload_sha256: PAYLOAD,
        model_digest: channel.engine().ready().digest.0,
        masking: "shares".into(),
        request_digest: asked.digest(),
        reply_digest: reply.digest(),
        seed: *seed,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        finish_reason: *reason,
        logits_digest: *logits_digest,
    };
    let statement = receipt.verify(&channel.receipt_public_key()).unwrap();
    assert_eq!(*statement, expected);
    expected
}

fn with_receipt(request: Request) -> Request {
    Request {
        receipt: true,
        ..request
    }
}

#[test]
fn receipts_say_what_was_asked_and_answered() {
    let chat = || Prompt::Chat(vec![message::Message::new("user", "say it, please!")]);
    let asked: [fn() -> Request; 3] = [
        || request(&[3, 1], 9),
        || Request {
            prompt: Prompt::Text("once, there was".into()),
            logits_digest: false,
            top_logprobs: Some(2),
            ..request(&[], 20)
        },
        || Request {
            sampling: Sampling {
                temperature: 1.2,
                ..Sampling::GREEDY
            },
            ignore_eos: false,
            ..request(&[1, 2], 20)
        },
    ];
    let (mut channel, mut world) = with_text();
    for asked in asked {
        let events = reply(&mut channel, &mut world, with_receipt(asked()));
        verified(&channel, &with_receipt(asked()), &events);
        // Nobody asked.
        let events = reply(&mut channel, &mut world, asked());
        assert!(matches!(
            events.last(),
            Some(Event::Finished { receipt: None, .. })
        ));
    }
    // A stop string cuts the text: what is signed is what was sent.
    let asked = |stop: Vec<String>| Request {
        prompt: chat(),
        stop,
        ..with_receipt(request(&[], 30))
    };
    let events = reply(&mut channel, &mut world, asked(vec![]));
    let whole = verified(&channel, &asked(vec![]), &events);
    let text = text_of(&events);
    let stop: String = text.chars().skip(3).take(2).collect();
    let events = reply(&mut channel, &mut world, asked(vec![stop.clone()]));
    let cut = verified(&channel, &asked(vec![stop.clone()]), &events);
    assert_eq!(text_of(&events), text.split(&stop).next().unwrap());
    assert!(cut.completion_tokens < whole.completion_tokens);
    assert_ne!(cut.reply_digest, whole.reply_digest);
}

#[test]
fn a_receipts_seed_gives_the_reply_again() {
    let asked = |seed| Request {
        sampling: Sampling {
            temperature: 1.5,
            seed,
            ..Sampling::GREEDY
        },
        ..with_receipt(request(&[3, 1, 4], 30))
    };
    let (mut channel, mut world) = with_text();
    let events = reply(&mut channel, &mut world, asked(None));
    let statement = verified(&channel, &asked(None), &events);
    // Another instance, with other keys, masks and entropy.
    let mut channel = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    let seed = Some(statement.seed);
    let again = reply(&mut channel, &mut world, asked(seed));
    let expected = Statement {
        request_digest: asked(seed).digest(),
        ..statement.clone()
    };
    assert_eq!(verified(&channel, &asked(seed), &again), expected);
    assert_eq!(tokens_of(&again), tokens_of(&events));
    // A seed that is drawn is another one each time.
    let other = reply(&mut channel, &mut world, asked(None));
    assert_ne!(
        verified(&channel, &asked(None), &other).seed,
        statement.seed
    );
}

#[test]
fn every_instance_signs_with_a_key_of_its_own() {
    let (mut channel_a, mut world) = with_text();
    let channel_b = Channel::new(engine(&mut world), PAYLOAD, &mut world);
    let keys = [&channel_a, &channel_b].map(Channel::receipt_public_key);
    assert_ne!(keys[0], keys[1]);
    assert_ne!(keys[0], *channel_a.public_key());
    let events = reply(&mut channel_a, &mut world, with_receipt(request(&[1], 1)));
    let Some(Event::Finished {
        receipt: Some(receipt),
        ..
    }) = events.last()
    else {
        panic!("no receipt")
    };
    assert!(receipt.verify(&keys[0]).is_ok());
    assert!(receipt.verify(&keys[1]).is_err());
}

/// Each token's event has its logprobs, and the bytes of the tokens are the text.
#[test]
fn logprobs_come_with_each_token() {
    let (mut channel, mut world) = with_text();
    let asked = Request {
        top_logprobs: Some(message::MAX_TOP_LOGPROBS),
        ..request(&[3, 1], 30)
    };
    let events = reply(&mut channel, &mut world, asked);
    let mut bytes = Vec::new();
    for event in &events[..30] {
        let Event::Token { id, logprobs, .. } = event else {
            panic!("{event:?}")
        };
        let logprobs = logprobs.as_ref().unwrap();
        assert_eq!(
            (logprobs.chosen.id, &logprobs.chosen),
            (*id, &logprobs.top[0])
        );
        assert_eq!(logprobs.top.len(), 20);
        if *id < 36 {
            bytes.extend(&logprobs.chosen.bytes);
        }
    }
    assert_eq!(String::from_utf8_lossy(&bytes), text_of(&events));
    let refused = Request {
        top_logprobs: Some(message::MAX_TOP_LOGPROBS + 1),
        ..request(&[3], 1)
    };
    let mut client = Client::connect(&mut channel, &mut world);
    let said = ToPayload::Request(refused);
    client.say(&mut channel, &mut world, 0, &said).unwrap();
    let failed = Event::Failed {
        failure: Failure::Refused,
        message: "top_logprobs is 21, at most 20 are possible: ask for fewer".into(),
    };
    assert_eq!(client.hear(&mut channel), [(0, failed)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// A client that has the right keys and says anything: it loses its connection at most.
    #[test]
    fn fuzz_authenticated_client(
        said in prop::collection::vec((0_u32..3, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..12),
    ) {
        let (mut channel, mut world) = channel();
        let mut other = Client::connect(&mut channel, &mut world);
        other.ask(&mut channel, &mut world, 0, &[7, 7], 3);
        let mut client = Client::connect(&mut channel, &mut world);
        let messages = [
            ToPayload::Request(request(&[1, 2, 3], 2)),
            ToPayload::Credit(1),
            ToPayload::Cancel,
        ];
        let mut refused = false;
        for (stream, at, to, last) in said {
            let mut content = messages[at.index(3)].to_bytes();
            let at = at.index(content.len());
            content[at] = to;
            let fragment = talaria_wire::channel::Fragment { stream, last, content };
            let frame = client.sealed.seal_fragment(&fragment).unwrap();
            let taken = channel.deliver(client.connection, &frame, &mut world);
            let expected = if refused { Refusal::Unknown } else { Refusal::Frame };
            prop_assert!(taken.is_ok() && !refused || taken == Err(expected));
            refused |= taken.is_err();
            channel.step(&mut world).unwrap();
        }
        channel.close(client.connection);
        while channel.is_busy() {
            channel.step(&mut world).unwrap();
        }
        let heard = other.hear(&mut channel).into_iter().map(|(_, event)| event);
        expect_reply(&heard.collect::<Vec<_>>(), &[7, 7], 3);
        prop_assert!(channel.engine.is_idle() && channel.routes.is_empty());
    }

    /// A host that delivers anything gets nothing started.
    #[test]
    fn fuzz_host(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8)) {
        let (mut channel, mut world) = channel();
        for frame in frames {
            let client = Client::connect(&mut channel, &mut world);
            let refused = channel.deliver(client.connection, &frame, &mut world);
            prop_assert_eq!(refused, Err(Refusal::Frame));
            prop_assert!(channel.open(&frame, &mut world).is_err());
        }
        prop_assert!(channel.connections.is_empty() && channel.engine.is_idle());
    }
}
