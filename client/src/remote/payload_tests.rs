//! Against the payload's own code behind a socket.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::routing::get;
use talaria_guest::channel::Channel;
use talaria_guest::engine::Engine;
use talaria_guest::setup::Scheme;
use talaria_guest::testing::TestWorld;
use talaria_wire::channel::message::{Event, Prompt, Request};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::*;
use crate::answer::{Answer, SavedToken, check};
use crate::policy::Policy;
use crate::verify::snp::test_ca::{Case, NOW};

/// What the host tells the thread of the payload.
enum Told {
    Open(Vec<u8>, UnboundedSender<Vec<u8>>, oneshot::Sender<u64>),
    Deliver(u64, Vec<u8>),
    Close(u64),
}

/// Keys of the payload, and where to tell it something.
#[derive(Clone)]
struct Instance {
    channel_public_key: [u8; 32],
    receipt_public_key: [u8; 32],
    model_digest: [u8; 32],
    told: Sender<Told>,
}

impl Instance {
    fn start() -> Self {
        let (told, listen) = channel();
        let (keys, key) = channel();
        std::thread::spawn(move || {
            let mut world = TestWorld::new();
            world.manifest.decoder.max_position_embeddings = 256;
            let engine = Engine::new(Rc::new(world.ready(Scheme::Shares))).unwrap();
            let payload = Channel::new(engine, [3; 32], &mut world);
            let digest = payload.engine().ready().digest.0;
            let public = (*payload.public_key(), payload.receipt_public_key(), digest);
            keys.send(public).unwrap();
            run(payload, world, &listen);
        });
        let (channel_public_key, receipt_public_key, model_digest) = key.recv().unwrap();
        Self {
            channel_public_key,
            receipt_public_key,
            model_digest,
            told,
        }
    }
}

/// As a host does: takes what came, steps while there is work, sends what is there.
fn run(mut payload: Channel, mut world: TestWorld, listen: &Receiver<Told>) {
    let mut clients = BTreeMap::new();
    loop {
        let told = match payload.is_busy() {
            true => listen.try_recv().ok(),
            false => match listen.recv() {
                Ok(told) => Some(told),
                Err(_) => return,
            },
        };
        match told {
            Some(Told::Open(hello, frames, id)) => {
                let (connection, answer) = payload.open(&hello, &mut world).unwrap();
                frames.send(answer.to_vec()).unwrap();
                clients.insert(connection, frames);
                id.send(connection).unwrap();
            }
            Some(Told::Deliver(id, frame)) => {
                payload.deliver(id, &frame, &mut world).unwrap();
            }
            Some(Told::Close(id)) => payload.close(id),
            None => payload.step(&mut world).unwrap(),
        }
        for connection in payload.pending() {
            for frame in payload.poll(connection, usize::MAX).unwrap() {
                let _ = clients[&connection].send(frame);
            }
        }
    }
}

/// Evidence of the test CA's hardware for this payload.
fn case(instance: &Instance) -> Case {
    let mut case = Case::new();
    case.claims.channel_public_key = instance.channel_public_key;
    case.claims.receipt_public_key = instance.receipt_public_key;
    case.claims.model_digest = instance.model_digest;
    let listed = hex::encode([4; 32]);
    case.policy = case
        .policy
        .replace(&listed, &hex::encode(instance.model_digest));
    case
}

async fn serve(
    State(instance): State<Instance>,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> axum::response::Response {
    upgrade.on_upgrade(async move |socket| {
        let mut case = case(&instance);
        hex::decode_to_slice(&query["nonce"], &mut case.claims.nonce).unwrap();
        let evidence = String::from_utf8(case.evidence().to_json()).unwrap();
        relay(socket, evidence, instance.told).await;
    })
}

async fn relay(mut socket: WebSocket, evidence: String, told: Sender<Told>) -> Option<()> {
    socket.send(Message::Text(evidence.into())).await.ok()?;
    let Message::Binary(hello) = socket.recv().await?.ok()? else {
        return None;
    };
    let (frames, mut to_send) = unbounded_channel();
    let (id, connection) = oneshot::channel();
    told.send(Told::Open(hello.into(), frames, id)).ok()?;
    let connection = connection.await.ok()?;
    loop {
        tokio::select! {
            frame = to_send.recv() => socket.send(Message::Binary(frame?.into())).await.ok()?,
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(frame))) => told.send(Told::Deliver(connection, frame.into())).ok()?,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return told.send(Told::Close(connection)).ok(),
            },
        }
    }
}

async fn session() -> Session {
    let instance = Instance::start();
    let case = case(&instance);
    let trust = Trust::new(Policy::from_toml(&case.policy).unwrap());
    let trust = trust.dangerous_roots(vec![case.root()]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/behind/a/prefix", listener.local_addr().unwrap());
    let router = axum::Router::new()
        .route("/behind/a/prefix/v1/channel", get(serve))
        .with_state(instance);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let opened = Opened::open(&address.parse().unwrap()).await.unwrap();
    opened.enter(&trust, NOW).await.unwrap()
}

fn request(ids: &[u32], max_new_tokens: u32) -> Request {
    Request {
        max_new_tokens,
        ignore_eos: true,
        top_logprobs: Some(1),
        receipt: true,
        ..Request::new(Prompt::Ids(ids.to_vec()))
    }
}

/// The tokens, after every check of the receipt passed.
async fn tokens(session: &Session, ids: &[u32], most: u32) -> Vec<SavedToken> {
    let request = request(ids, most);
    let mut reply = session.request(request.clone()).await.unwrap();
    let mut tokens = Vec::new();
    let finished = loop {
        match reply.next().await.unwrap().unwrap() {
            Event::Token { id, text, logprobs } => {
                assert_eq!(logprobs.unwrap().top[0].id, id, "greedy");
                tokens.push(SavedToken { id, text });
            }
            finished => break finished,
        }
    };
    let evidence = (**session.evidence()).clone();
    let answer = Answer::new(request, tokens.clone(), &finished, evidence).unwrap();
    let checks = check(&answer, session.verified().claims());
    assert!(
        checks.iter().all(|check| check.refusal.is_none()),
        "{checks:?}"
    );
    tokens
}

#[tokio::test]
async fn many_streams_give_what_each_gives_alone_with_receipts() {
    let session = session().await;
    let prompt = |i: u32| vec![i + 1, (7 * i) % 40];
    let mut alone = Vec::new();
    for i in 0..4 {
        alone.push(tokens(&session, &prompt(i), 30).await);
        assert_eq!(alone[i as usize].len(), 30);
    }
    let tasks: Vec<_> = (0..32)
        .map(|i| {
            let session = session.clone();
            tokio::spawn(async move { tokens(&session, &prompt(i), 30).await })
        })
        .collect();
    for (i, task) in tasks.into_iter().enumerate() {
        let together = task.await.unwrap();
        assert!(i >= 4 || together == alone[i], "{i}");
    }
}

#[tokio::test]
async fn a_dropped_reply_makes_room() {
    let session = session().await;
    let session = Arc::new(session);
    for _ in 0..3 {
        let mut replies = Vec::new();
        for _ in 0..talaria_wire::channel::MAX_STREAMS {
            replies.push(session.request(request(&[1], 200)).await.unwrap());
        }
        let more = session.request(request(&[1], 200)).await.err().unwrap();
        assert!(more.to_string().contains("under way"), "{more}");
    }
    assert_eq!(tokens(&session, &[5], 3).await.len(), 3);
}
