//! A connection to a verified payload with many requests at a time.
//!
//! Frames must leave in the order in which they were sealed and be opened in the order in which they came. So all
//! sealing is under one lock, which also holds the queue to the one task that writes; and one task reads, opens,
//! and wakes whoever waits for the stream concerned. Neither waits for a reader of replies: what a stream may have
//! waiting is bounded by its window.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use talaria_evidence::Evidence;
use talaria_wire::channel::MAX_MESSAGE_BYTES;
use talaria_wire::channel::message::Request;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::Message;

use super::socket::{self, Socket, within};
use super::{PING_INTERVAL, RemoteError, Reply, SILENCE_TIMEOUT};
use crate::channel::Connection;
use crate::verify::Verified;

/// How long the other end may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Handle of a connection; clones are the same one. It closes when they and all replies are dropped.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    verified: Arc<Verified>,
    evidence: Arc<Evidence>,
}

/// What tasks and replies have in common.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Frames left: there may be room for a request.
    room: Notify,
}

pub(super) struct State {
    pub connection: Connection,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    /// Bytes of frames that wait to be written.
    waiting_bytes: usize,
    /// Who waits for which stream.
    readers: BTreeMap<u32, Arc<Notify>>,
    /// Why nothing comes any more.
    ended: Option<RemoteError>,
}

impl Session {
    pub(super) fn begin(
        socket: Socket,
        connection: Connection,
        verified: Verified,
        evidence: Evidence,
    ) -> Self {
        let (frames, to_write) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                connection,
                frames,
                waiting_bytes: 0,
                readers: BTreeMap::new(),
                ended: None,
            }),
            room: Notify::new(),
        });
        let (sink, stream) = socket.split();
        let reader = tokio::spawn(read(stream, Arc::downgrade(&shared))).abort_handle();
        tokio::spawn(write(sink, to_write, Arc::downgrade(&shared), reader));
        Self {
            shared,
            verified: verified.into(),
            evidence: evidence.into(),
        }
    }

    /// Sends a request. Waits while those before it are being written.
    pub async fn request(&self, request: Request) -> Result<Reply, RemoteError> {
        self.request_under(None, request).await
    }

    /// The same under a key ([`Connection::request_under`]).
    pub async fn request_under(
        &self,
        key: Option<[u8; 32]>,
        request: Request,
    ) -> Result<Reply, RemoteError> {
        loop {
            // Registered before looking, so that no leaving frame is missed.
            let room = self.shared.room.notified();
            let waiting = {
                let state = self.shared.lock();
                state.still_on()?;
                state.waiting_bytes
            };
            if waiting < MAX_MESSAGE_BYTES {
                break;
            }
            room.await;
        }
        let mut state = self.shared.lock();
        let (stream, frames) = state.connection.request_under(key, request)?;
        let arrived = Arc::new(Notify::new());
        state.readers.insert(stream.id(), arrived.clone());
        state.send(frames);
        drop(state);
        Ok(Reply::new(self.shared.clone(), stream, arrived))
    }

    /// What the other end was verified to be.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Most tokens of a prompt and its reply.
    pub fn context(&self) -> u32 {
        self.shared.lock().connection.context()
    }

    /// What showed it.
    pub fn evidence(&self) -> &Arc<Evidence> {
        &self.evidence
    }

    /// Whether requests can still be made.
    pub fn is_on(&self) -> bool {
        self.shared.lock().still_on().is_ok()
    }
}

impl Shared {
    /// A panic elsewhere leaves nothing half done that matters: frames that do not fit end the connection.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: RemoteError) {
        let mut state = self.lock();
        state.ended.get_or_insert(error);
        state
            .readers
            .values()
            .for_each(|reader| reader.notify_one());
        self.room.notify_waiters();
    }
}

impl State {
    /// Queues frames in the order in which they were sealed.
    pub(super) fn send(&mut self, frames: Vec<Vec<u8>>) {
        for frame in frames {
            self.waiting_bytes += frame.len();
            // A writer that is gone has said why in `ended`.
            let _ = self.frames.send(frame);
        }
    }

    pub(super) fn still_on(&self) -> Result<(), RemoteError> {
        self.ended.clone().map_or(Ok(()), Err)
    }

    pub(super) fn forget(&mut self, stream: u32) {
        self.readers.remove(&stream);
    }

    fn receive(&mut self, frame: &[u8]) -> Result<(), RemoteError> {
        let stream = self.connection.receive(frame)?;
        if let Some(reader) = stream.and_then(|stream| self.readers.get(&stream)) {
            reader.notify_one();
        }
        Ok(())
    }
}

/// Opens what comes, until an error or until nobody is interested any more.
async fn read(mut socket: SplitStream<Socket>, shared: Weak<Shared>) {
    loop {
        let frame = within(SILENCE_TIMEOUT, "a sign of life", life(&mut socket)).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let received = match frame {
            Ok(Ok(Some(frame))) => shared.lock().receive(&frame),
            Ok(Ok(None)) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(error),
        };
        if let Err(error) = received {
            return shared.end(error);
        }
    }
}

/// A frame, or a sign that there is somebody.
async fn life(socket: &mut SplitStream<Socket>) -> Result<Option<Vec<u8>>, RemoteError> {
    match socket.next().await {
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        message => {
            let mut one = futures_util::stream::iter(message);
            socket::frame(&mut one).await.map(Some)
        }
    }
}

/// Writes frames in order; at the end says goodbye.
async fn write(
    mut socket: SplitSink<Socket, Message>,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Weak<Shared>,
    reader: AbortHandle,
) {
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        let (message, bytes) = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => { let bytes = frame.len(); (Message::binary(frame), bytes) }
                None => break,
            },
            _ = ping.tick() => (Message::Ping(Default::default()), 0),
        };
        let sent = socket.send(message).await;
        if let Some(shared) = shared.upgrade() {
            shared.lock().waiting_bytes -= bytes;
            shared.room.notify_waiters();
            if let Err(error) = sent {
                return shared.end(RemoteError::CutOff(error.to_string()));
            }
        }
    }
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.close()).await;
    tokio::time::sleep(CLOSE_TIMEOUT).await;
    reader.abort();
}
