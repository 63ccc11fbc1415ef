//! The channel's end inside the payload: requests come in sealed, replies go out sealed, and the host around
//! carries frames that it cannot read.
//!
//! A [`Channel`] takes the engine over, so that nothing of what is asked or answered can leave by another way.
//! What travels is defined in [`talaria_wire::channel`]; docs/channel.md states the protocol.

mod connection;
mod notary;
mod stream;

use connection::Connection;
use notary::{Draft, Notary};
use std::collections::BTreeMap;
use stream::{Stream, failed};
use talaria_wire::channel::{
    ANSWER_BYTES, KEY_BYTES,
    message::{Event, Failure, Request, ToPayload},
    noise::{self, StaticKey},
};

use crate::{
    engine::{Engine, Scope, StepError},
    world::{World, fresh_seed},
};

/// Most connections of an instance at a time. Messages under way take at most 64 * 4 MiB = 256 MiB of its
/// 4 GiB (`MAX_MESSAGE_BYTES` each), events that wait at most 64 * `MAX_STREAMS` * `WINDOW` of 1 KiB with all logprobs,
/// which is as much, beside keys and values (`Options::kv_memory`).
pub const MAX_CONNECTIONS: usize = 64;

/// Most of these that have had no frame opened yet: answering a first message costs two key agreements and
/// needs no key, so whoever sends many must not take all the room. The oldest of them makes room for the next.
pub const MAX_HANDSHAKES: usize = 32;

/// Why the host's call came to nothing. Says nothing of what is inside the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many connections, all of them with a frame.
    #[error("too many connections: close some")]
    Busy,
    /// The first message is none of this version to this key.
    #[error("the handshake was refused")]
    Handshake,
    /// The frame is not the next one of this connection; the connection is closed.
    #[error("a frame was refused, and its connection closed")]
    Frame,
    /// No such connection, or not any more.
    #[error("there is no such connection")]
    Unknown,
}

/// The key, the connections made to it, and the engine that answers.
pub struct Channel {
    engine: Engine,
    key: StaticKey,
    notary: Notary,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Connection and stream of each session of the engine.
    routes: BTreeMap<u32, (u64, u32)>,
    /// What the last step failed at, if that was a host.
    away: Option<Event>,
}

impl Channel {
    /// Draws the keys. Their secret halves never leave. `payload_sha256`: what the host says this component is, for
    /// receipts.
    pub fn new(engine: Engine, payload_sha256: [u8; 32], world: &mut dyn World) -> Self {
        Self {
            key: StaticKey::new(fresh_seed(world)),
            notary: Notary::new(engine.ready(), payload_sha256, world),
            engine,
            connections: BTreeMap::new(),
            next_connection: 0,
            routes: BTreeMap::new(),
            away: None,
        }
    }

    /// For the evidence (X25519).
    pub fn public_key(&self) -> &[u8; KEY_BYTES] {
        self.key.public()
    }

    /// For the evidence (Ed25519): receipts verify with it.
    pub fn receipt_public_key(&self) -> [u8; 32] {
        self.notary.public_key()
    }

    /// As given to [`Channel::new`].
    pub fn payload_sha256(&self) -> &[u8; 32] {
        self.notary.payload_sha256()
    }

    /// The engine, for what concerns no session.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Answers the first message of a handshake; the connection's id and the answer.
    pub fn open(
        &mut self,
        handshake: &[u8],
        world: &mut dyn World,
    ) -> Result<(u64, [u8; ANSWER_BYTES]), Refusal> {
        let context = self.engine.context();
        let (sealed, answer) = noise::respond(&self.key, fresh_seed(world), handshake, context)
            .map_err(|_| Refusal::Handshake)?;
        let unproven = self.connections.iter().filter(|(_, c)| !c.is_proven());
        let unproven: Vec<u64> = unproven.map(|(id, _)| *id).collect();
        if self.connections.len() >= MAX_CONNECTIONS || unproven.len() >= MAX_HANDSHAKES {
            self.close(*unproven.first().ok_or(Refusal::Busy)?);
        }
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(id, Connection::new(sealed));
        Ok((id, answer))
    }

    /// Takes the next frame of a connection; whether it brought something on. Refused: the connection is closed, and
    /// its sessions with it.
    pub fn deliver(
        &mut self,
        connection: u64,
        frame: &[u8],
        world: &mut dyn World,
    ) -> Result<bool, Refusal> {
        let end = self.connections.get_mut(&connection);
        let end = end.ok_or(Refusal::Unknown)?;
        let acted = match end.open(frame) {
            Ok(None) => Ok(false),
            Ok(Some((stream, message))) => self.act(connection, stream, message, world),
            Err(_) => Err(Refusal::Frame),
        };
        if acted.is_err() {
            self.close(connection);
        }
        acted
    }

    fn act(
        &mut self,
        connection: u64,
        stream: u32,
        message: ToPayload,
        world: &mut dyn World,
    ) -> Result<bool, Refusal> {
        let end = self.connections.get_mut(&connection);
        let end = end.ok_or(Refusal::Unknown)?;
        match message {
            ToPayload::Request(request) => {
                let scope = match end.take_key(stream) {
                    Some(key) => Scope::Key(key),
                    None => Scope::Connection(connection),
                };
                let stream_of = end.begin(stream).ok_or(Refusal::Frame)?;
                let asked = Asked {
                    connection,
                    scope,
                    request,
                };
                if let Some(session) = begin(&mut self.engine, asked, stream_of, world) {
                    self.routes.insert(session, (connection, stream));
                }
                Ok(true)
            }
            ToPayload::Key(key) => {
                end.set_key(stream, key).ok_or(Refusal::Frame)?;
                Ok(false)
            }
            ToPayload::Credit(events) => end.credit(stream, events).ok_or(Refusal::Frame),
            ToPayload::Cancel => {
                let session = end.cancel(stream).ok_or(Refusal::Frame)?;
                session.into_iter().for_each(|session| self.end(session));
                Ok(session.is_some())
            }
            ToPayload::Ready => Ok(false),
        }
    }

    /// One forward pass over all sessions that have room for what it brings.
    ///
    /// # Errors
    /// As the engine's. Where all sessions are over, their clients are told; after [`StepError::Host`] they are not, and
    /// the step can be repeated, or all [given up](Self::give_up).
    pub fn step(&mut self, world: &mut dyn World) -> Result<(), StepError> {
        let events = self.engine.step(world).inspect_err(|error| match error {
            StepError::Host(_) => self.away = Some(failed(error)),
            _ => self.fail_all(&failed(error)),
        })?;
        for (session, event) in events {
            let Some((connection, stream)) = self.routes.get(&session).copied() else {
                continue;
            };
            let Some(stream) = stream_mut(&mut self.connections, connection, stream) else {
                continue;
            };
            stream.push(event, &self.notary);
            if stream.session().is_none() {
                self.routes.remove(&session);
            }
            self.engine.hold(session, stream.is_full());
        }
        Ok(())
    }

    /// Ends all sessions because hosts stay away: their clients are told what the last step failed at.
    pub fn give_up(&mut self) {
        self.engine.give_up();
        let away = || failed(&StepError::Host("a GPU host is away".into()));
        let failed = self.away.take().unwrap_or_else(away);
        self.fail_all(&failed);
    }

    fn fail_all(&mut self, failed: &Event) {
        for (connection, stream) in std::mem::take(&mut self.routes).into_values() {
            if let Some(stream) = stream_mut(&mut self.connections, connection, stream) {
                stream.fail(failed.clone());
            }
        }
    }

    /// As the engine's.
    pub fn pace(&mut self, prompt_rows: u32) {
        self.engine.pace(prompt_rows);
    }

    /// Whether [`Channel::step`] would bring any session on.
    pub fn is_busy(&self) -> bool {
        self.engine.is_busy()
    }

    /// Connections for which [`Channel::poll`] has frames.
    pub fn pending(&self) -> Vec<u64> {
        let connections = self.connections.iter();
        connections
            .filter(|(_, connection)| connection.has_frames())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Seals what is there for the client, in turn over streams; at most `most` frames. Each must reach the
    /// client, in this order.
    pub fn poll(&mut self, connection: u64, most: usize) -> Result<Vec<Vec<u8>>, Refusal> {
        let end = self.connections.get_mut(&connection);
        let end = end.ok_or(Refusal::Unknown)?;
        let Ok(frames) = end.seal(most) else {
            self.close(connection);
            return Err(Refusal::Unknown);
        };
        for (session, full) in end.sessions() {
            self.engine.hold(session, full);
        }
        Ok(frames)
    }

    /// Ends a connection with its sessions. Unknown ids are none.
    pub fn close(&mut self, connection: u64) {
        let Some(end) = self.connections.remove(&connection) else {
            return;
        };
        let sessions: Vec<_> = end.sessions().map(|(session, _)| session).collect();
        sessions.into_iter().for_each(|session| self.end(session));
        self.engine.forget(connection);
    }

    fn end(&mut self, session: u32) {
        self.engine.close(session);
        self.routes.remove(&session);
    }
}

fn stream_mut(
    connections: &mut BTreeMap<u64, Connection>,
    connection: u64,
    stream: u32,
) -> Option<&mut Stream> {
    connections.get_mut(&connection)?.stream_mut(stream)
}

/// A request, who asks, and whose replies it may go on from.
struct Asked {
    connection: u64,
    scope: Scope,
    request: Request,
}

/// Begins the session of a stream, or tells the client why there is none.
fn begin(
    engine: &mut Engine,
    asked: Asked,
    stream: &mut Stream,
    world: &mut dyn World,
) -> Option<u32> {
    let draft = Draft::of(&asked.request);
    match engine.open_for(asked.connection, Some(asked.scope), asked.request, world) {
        Ok((session, _)) => {
            stream.begin(session, draft);
            Some(session)
        }
        Err(error) => {
            stream.fail(Event::Failed {
                failure: Failure::Refused,
                message: error.to_string(),
            });
            None
        }
    }
}

#[cfg(test)]
mod tests;
