//! A CVM for tests: evidence that vouches for itself, the real handshake and frames, and replies by a script.
//! What it saw of its clients can be asked for.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ed25519_dalek::SigningKey;
use p384::ecdsa::signature::Signer;
use talaria_evidence::{Attestation, Claims, DevelopmentAttestation, Evidence, FORMAT};
use talaria_wire::channel::message::{
    Event, Failure, FinishReason, Logprobs, Prompt, Request, ToPayload, TokenLogprob, Usage,
};
use talaria_wire::channel::noise::{StaticKey, respond};
use talaria_wire::channel::{Assembler, Sealed, WINDOW};
use talaria_wire::receipt::{Receipt, Reply, Statement};

/// Evidence for claims.
pub(crate) type Attest = dyn Fn(&Claims) -> Evidence + Send + Sync;

/// How the CVM behaves.
#[derive(Clone)]
pub(crate) struct Script {
    pub claims: Claims,
    pub attest: Arc<Attest>,
    /// Of the key that answers handshakes.
    pub secret: [u8; 32],
    /// Between two rounds of events.
    pub pace: Duration,
    /// Cuts the connection after so many events.
    pub cut_after: Option<usize>,
    /// Answers with this status in place of a channel.
    pub status: Option<u16>,
    /// Says the same nonce whatever was asked.
    pub old_nonce: bool,
}

impl Default for Script {
    fn default() -> Self {
        let secret = [1; 32];
        Self {
            claims: Claims {
                nonce: [0; 32],
                channel_public_key: *StaticKey::new(secret.into()).public(),
                payload_sha256: [3; 32],
                model_digest: [4; 32],
                masking: "shares".into(),
                host_configuration_digest: [6; 32],
                receipt_public_key: receipt_key().verifying_key().to_bytes(),
            },
            attest: Arc::new(development),
            secret,
            pace: Duration::ZERO,
            cut_after: None,
            status: None,
            old_nonce: false,
        }
    }
}

fn receipt_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

/// Evidence that vouches for itself.
pub(crate) fn development(claims: &Claims) -> Evidence {
    let key = p384::ecdsa::SigningKey::from_slice(&[9; 48]).unwrap();
    let message = DevelopmentAttestation::message(&claims.report_data());
    let signature: p384::ecdsa::Signature = key.sign(&message);
    Evidence {
        format: FORMAT,
        claims: claims.clone(),
        attestation: Attestation::Development(DevelopmentAttestation {
            public_key: key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            signature: signature.to_vec(),
        }),
    }
}

/// A policy that the default claims meet.
pub(crate) fn policy() -> String {
    format!(
        "version = 1\n[claims]\npayload_sha256 = [\"{}\"]\nmodel_digest = [\"{}\"]\nmasking = [\"shares\"]\n\
         host_configuration_digest = [\"{}\"]\n",
        hex::encode([3; 32]),
        hex::encode([4; 32]),
        hex::encode([6; 32]),
    )
}

/// What a CVM saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub connections: AtomicUsize,
    /// Lengths of binary messages.
    pub binary: Mutex<Vec<usize>>,
    pub requests: Mutex<Vec<Request>>,
    pub cancelled: AtomicUsize,
    pub closed: AtomicUsize,
    pub events: AtomicUsize,
}

/// A CVM that runs until the test ends.
pub(crate) struct Cvm {
    pub url: String,
    pub seen: Arc<Seen>,
    pub script: Arc<Mutex<Script>>,
}

impl Cvm {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let script = Arc::new(Mutex::new(script));
        let router = axum::Router::new()
            .route("/v1/channel", get(channel))
            .with_state((script.clone(), seen.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, script }
    }

    pub(crate) fn binary(&self) -> Vec<usize> {
        self.seen.binary.lock().unwrap().clone()
    }

    /// Waits until a count is so high.
    pub(crate) async fn until(&self, count: impl Fn(&Seen) -> &AtomicUsize, least: usize) {
        for _ in 0..1000 {
            if count(&self.seen).load(Ordering::SeqCst) >= least {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("did not happen");
    }
}

type Context = (Arc<Mutex<Script>>, Arc<Seen>);

async fn channel(
    State((script, seen)): State<Context>,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let mut script = script.lock().unwrap().clone();
    if let Some(status) = script.status {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        return (status, r#"{"error":{"message":"no instance is ready"}}"#).into_response();
    }
    if !script.old_nonce {
        hex::decode_to_slice(&query["nonce"], &mut script.claims.nonce).unwrap();
    }
    seen.connections.fetch_add(1, Ordering::SeqCst);
    upgrade.on_upgrade(|socket| async move {
        let mut connection = Connection {
            socket,
            script,
            seen: seen.clone(),
            streams: BTreeMap::new(),
            sent: 0,
        };
        connection.serve().await;
        seen.closed.fetch_add(1, Ordering::SeqCst);
    })
}

struct Connection {
    socket: WebSocket,
    script: Script,
    seen: Arc<Seen>,
    /// Events that wait, and how many may be sent.
    streams: BTreeMap<u32, (VecDeque<Event>, u32)>,
    sent: usize,
}

impl Connection {
    /// `None`: it ended.
    async fn serve(&mut self) -> Option<()> {
        let evidence = (self.script.attest)(&self.script.claims).to_json();
        let evidence = String::from_utf8(evidence).unwrap();
        self.socket
            .send(Message::Text(evidence.into()))
            .await
            .ok()?;
        let hello = self.binary().await?;
        let key = StaticKey::new(self.script.secret.into());
        let Ok((mut sealed, answer)) = respond(&key, [2; 32].into(), &hello, 40_960) else {
            // As a man in the middle would: with whatever he can make.
            let noise = Message::Binary(vec![7; 48].into());
            self.socket.send(noise).await.ok()?;
            self.binary().await?;
            return None;
        };
        let answer = Message::Binary(answer.to_vec().into());
        self.socket.send(answer).await.ok()?;
        let mut assembler = Assembler::default();
        loop {
            if self.round(&mut sealed).await? {
                let frame = match tokio::time::timeout(self.script.pace, self.binary()).await {
                    Ok(frame) => frame?,
                    Err(_) => continue,
                };
                self.take(&mut sealed, &mut assembler, &frame).await?;
            } else {
                let frame = self.binary().await?;
                self.take(&mut sealed, &mut assembler, &frame).await?;
            }
        }
    }

    async fn binary(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.socket.recv().await?.ok()? {
                Message::Binary(bytes) => {
                    self.seen.binary.lock().unwrap().push(bytes.len());
                    return Some(bytes.into());
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// One event of each stream; whether there was any.
    async fn round(&mut self, sealed: &mut Sealed) -> Option<bool> {
        let mut any = false;
        for (stream, (events, credit)) in &mut self.streams {
            if *credit == 0 {
                continue;
            }
            let Some(event) = events.pop_front() else {
                continue;
            };
            if self.script.cut_after == Some(self.sent) {
                let (code, reason) = (1001, "bye".into());
                let close = Message::Close(Some(CloseFrame { code, reason }));
                self.socket.send(close).await.ok()?;
                return None;
            }
            *credit -= 1;
            any = true;
            self.sent += 1;
            self.seen.events.fetch_add(1, Ordering::SeqCst);
            for frame in sealed.seal(*stream, &event.to_bytes()).unwrap() {
                self.socket.send(Message::Binary(frame.into())).await.ok()?;
            }
        }
        self.streams.retain(|_, (events, _)| !events.is_empty());
        Some(any)
    }

    async fn take(&mut self, sealed: &mut Sealed, to: &mut Assembler, frame: &[u8]) -> Option<()> {
        let fragment = sealed.open(frame).unwrap();
        let stream = fragment.stream;
        let Some(message) = to.push(fragment).unwrap() else {
            return Some(());
        };
        match ToPayload::from_bytes(&message).unwrap() {
            ToPayload::Request(request) => {
                let events = reply(&request, &self.script.claims);
                self.streams.insert(stream, (events.into(), WINDOW));
                self.seen.requests.lock().unwrap().push(request);
            }
            ToPayload::Credit(more) => {
                if let Some((_, credit)) = self.streams.get_mut(&stream) {
                    *credit += more;
                }
            }
            ToPayload::Cancel => {
                self.streams.remove(&stream);
                self.seen.cancelled.fetch_add(1, Ordering::SeqCst);
            }
            ToPayload::Ready | ToPayload::Key(_) => {}
        }
        Some(())
    }
}

/// The text of a prompt's end.
fn said(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Chat(messages) => messages
            .last()
            .and_then(|m| m.content.clone())
            .unwrap_or_default(),
        Prompt::Ids(ids) => format!("{} ids", ids.len()),
    }
}

/// `count 9`: nine tokens. `fail busy`: a failure. Anything else: five tokens, the owl in two of them.
fn reply(request: &Request, claims: &Claims) -> Vec<Event> {
    let said = said(&request.prompt);
    let failed = |failure| {
        let message = "so it was asked for".into();
        vec![Event::Failed { failure, message }]
    };
    let mut texts: Vec<String> = ["Owls", " see", "", " \u{1f989}", "!"]
        .map(String::from)
        .into();
    match said.split_once(' ') {
        Some(("fail", "busy")) => return failed(Failure::Busy),
        Some(("fail", "host")) => return failed(Failure::Host),
        Some(("fail", "integrity")) => return failed(Failure::Integrity),
        Some(("fail", "internal")) => return failed(Failure::Internal),
        Some(("fail", _)) => return failed(Failure::Refused),
        Some(("count", n)) => {
            texts = (0..n.parse().unwrap())
                .map(|i: u32| format!("{i} "))
                .collect()
        }
        _ => {}
    }
    let most = request.max_new_tokens as usize;
    let reason = match texts.len() > most {
        true => FinishReason::Length,
        false => FinishReason::Stop,
    };
    texts.truncate(most);
    let usage = Usage {
        prompt_tokens: said.split(' ').count() as u32,
        completion_tokens: texts.len() as u32,
        cached_tokens: 0,
    };
    let seed = request.sampling.seed.unwrap_or(77);
    let mut digest = Reply::default();
    let mut events = Vec::new();
    for (id, text) in (100..).zip(texts) {
        digest.push(id, &text);
        events.push(Event::Token {
            id,
            logprobs: request.top_logprobs.map(|n| logprobs(id, &text, n)),
            text,
        });
    }
    let statement = Statement {
        payload_sha256: claims.payload_sha256,
        model_digest: claims.model_digest,
        masking: claims.masking.clone(),
        request_digest: request.digest(),
        reply_digest: digest.digest(),
        seed,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        finish_reason: reason,
        logits_digest: None,
    };
    let receipt = Receipt::sign(statement, &receipt_key());
    events.push(Event::Finished {
        reason,
        usage,
        seed,
        logits_digest: None,
        receipt: request.receipt.then(|| Box::new(receipt)),
    });
    events
}

fn logprobs(id: u32, text: &str, alternatives: u8) -> Logprobs {
    let token = |i: u32| TokenLogprob {
        id: id + i,
        bytes: if i == 0 {
            text.into()
        } else {
            b"\xf0\x9f".to_vec()
        },
        logprob: -0.5 - i as f32,
    };
    Logprobs {
        chosen: token(0),
        top: (0..u32::from(alternatives)).map(token).collect(),
    }
}
