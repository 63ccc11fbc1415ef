//! The payload as a hostile client sees it: sealed messages in, events out.

use std::rc::Rc;

use talaria_guest::channel::Channel;
use talaria_guest::engine::Engine;
use talaria_guest::setup::{Ready, Scheme};
use talaria_guest::testing::TestWorld;
use talaria_wire::channel::message::{Event, Prompt, ToPayload};
use talaria_wire::channel::noise::{Drawn, Initiating};
use talaria_wire::channel::{Assembler, Sealed};

use crate::Seed;
use crate::message::{full_request, request};
use crate::parts::{join, parts};

/// Passes of the model after the last message.
const STEPS: usize = 4;
/// Most frames taken after each.
const FRAMES: usize = 64;

thread_local! {
    static READY: Rc<Ready> = Rc::new(TestWorld::with_text().ready(Scheme::Shares));
}

/// A client that has the keys and says anything: messages as parts, the first byte of each its stream. Whatever it says,
/// the model's passes go on, and what comes back is events.
pub fn payload(data: &[u8]) {
    let mut world = TestWorld::with_text();
    let engine = Engine::new(READY.with(Rc::clone)).expect("the test model");
    let mut channel = Channel::new(engine, [0; 32], &mut world);
    let (connection, mut sealed) = connect(&mut channel, &mut world);
    for part in parts(data) {
        let Some((stream, message)) = part.split_first() else {
            continue;
        };
        let frames = sealed.seal(u32::from(*stream), message).unwrap_or_default();
        for frame in frames {
            if channel.deliver(connection, &frame, &mut world).is_err() {
                assert!(channel.poll(connection, FRAMES).is_err());
                assert!(!channel.is_busy());
                return;
            }
        }
    }
    let mut incoming = Assembler::default();
    for _ in 0..STEPS {
        channel.step(&mut world).expect("honest hosts");
        for frame in channel
            .poll(connection, FRAMES)
            .expect("an open connection")
        {
            let fragment = sealed.open(&frame).expect("the payload's frame");
            if let Some(message) = incoming.push(fragment).expect("a short message") {
                Event::from_bytes(&message).expect("an event");
            }
        }
    }
}

fn connect(channel: &mut Channel, world: &mut TestWorld) -> (u64, Sealed) {
    let drawn = Drawn::new([2; 32]);
    let (client, hello) = Initiating::begin(channel.public_key(), drawn).expect("a public key");
    let (connection, answer) = channel.open(&hello, world).expect("the client's message");
    (
        connection,
        client.finish(&answer).expect("the payload's answer").0,
    )
}

/// Requests of each kind, one that is taken back, and credit for a stream that there is none of.
pub fn seeds() -> Vec<Seed> {
    let on = |stream: u8, message: ToPayload| [&[stream][..], &message.to_bytes()].concat();
    let asked = |stream, prompt| on(stream, ToPayload::Request(request(prompt)));
    let several = [
        asked(1, Prompt::Ids(vec![1, 2, 3])),
        asked(2, Prompt::Text("a b.".into())),
        on(1, ToPayload::Credit(1)),
        on(2, ToPayload::Cancel),
        on(3, ToPayload::Key([7; 32])),
        on(3, ToPayload::Request(full_request())),
    ];
    let mut of_everything = full_request();
    of_everything.prompt = Prompt::Ids(vec![1]);
    vec![
        Seed::new("several", join(&several)),
        Seed::new("ids", join(&several[..1])),
        Seed::new("full", join([on(7, ToPayload::Request(of_everything))])),
        Seed::new("no-stream", join([on(9, ToPayload::Credit(5))])),
    ]
}
