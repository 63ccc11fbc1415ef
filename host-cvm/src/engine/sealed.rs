//! Connections of clients to an engine's payload: frames in, frames out, nothing that could be read here.
//!
//! [`Desk`] belongs to the engine's thread and moves frames between the payload and connections. A
//! [`SealedConnection`] is its other end, for whoever talks to the client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::{Command, Place};
use crate::cvm::CvmError;
use crate::payload::{Instance, Keys, Refused};

/// Frames for a client that may wait for its socket. The payload keeps what is beyond.
const WAITING_FRAMES: usize = 16;

/// What a connection asks of its engine.
pub(crate) enum SealedCommand {
    /// Draws keys, once for each instance.
    Begin(oneshot::Sender<Result<Keys, CvmError>>),
    /// The first message of a client.
    Open(Box<Handshake>),
    /// The next frame of a client.
    Deliver(u64, Vec<u8>, oneshot::Sender<Result<bool, Refused>>),
    /// A client that was slow can take frames again.
    Room,
    Close(u64),
}

pub(crate) struct Handshake {
    message: Vec<u8>,
    place: Place,
    engine: mpsc::UnboundedSender<Command>,
    reply: oneshot::Sender<Result<(SealedConnection, Vec<u8>), Refused>>,
}

/// The engine's side.
pub(crate) struct Desk {
    payload_sha256: [u8; 32],
    connections: HashMap<u64, Slot>,
    /// None while there is no instance that has any.
    keys: watch::Sender<Option<Keys>>,
    /// A step would bring a reply on.
    busy: Arc<AtomicBool>,
}

struct Slot {
    frames: mpsc::Sender<Vec<u8>>,
    /// There were more frames than room.
    starved: Arc<AtomicBool>,
    _place: Place,
}

impl Desk {
    pub(super) fn new(payload_sha256: [u8; 32], keys: watch::Sender<Option<Keys>>) -> Self {
        Self {
            payload_sha256,
            connections: HashMap::new(),
            keys,
            busy: Arc::default(),
        }
    }

    /// Whether a step would bring a reply on.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    /// Whether clients are served.
    pub(super) fn has_begun(&self) -> bool {
        self.keys.borrow().is_some()
    }

    pub(super) fn obey(&mut self, instance: &mut Instance, command: SealedCommand) {
        match command {
            SealedCommand::Begin(reply) => drop(reply.send(self.begin(instance))),
            SealedCommand::Open(handshake) => self.open(instance, *handshake),
            SealedCommand::Deliver(connection, frame, reply) => {
                let delivered = self.deliver(instance, connection, &frame);
                let _ = reply.send(delivered);
            }
            SealedCommand::Room => {}
            SealedCommand::Close(connection) => {
                if self.connections.remove(&connection).is_some() {
                    let _ = instance.close_connection(connection);
                }
            }
        }
        self.move_frames(instance);
    }

    /// Has the instance draw its keys, or tells them.
    pub(super) fn begin(&mut self, instance: &mut Instance) -> Result<Keys, CvmError> {
        let keys = instance.begin_channel(&self.payload_sha256)?;
        self.keys.send_replace(Some(keys));
        Ok(keys)
    }

    fn open(&mut self, instance: &mut Instance, handshake: Handshake) {
        let opened = instance.open_connection(&handshake.message).map(|opened| {
            let (frames, receiver) = mpsc::channel(WAITING_FRAMES);
            let starved = Arc::new(AtomicBool::new(false));
            let slot = Slot {
                frames,
                starved: starved.clone(),
                _place: handshake.place,
            };
            self.connections.insert(opened.connection, slot);
            let connection = SealedConnection {
                frames: receiver,
                starved,
                sender: FrameSender {
                    busy: self.busy.clone(),
                    id: opened.connection,
                    engine: handshake.engine,
                },
            };
            (connection, opened.answer)
        });
        // A caller that is gone drops the connection, which closes it.
        let _ = handshake.reply.send(opened);
    }

    fn deliver(
        &mut self,
        instance: &mut Instance,
        connection: u64,
        frame: &[u8],
    ) -> Result<bool, Refused> {
        if !self.connections.contains_key(&connection) {
            return Err(Refused::Gone);
        }
        let delivered = instance.deliver(connection, frame);
        if delivered.is_err() {
            self.connections.remove(&connection);
        }
        delivered
    }

    /// Hands the payload's frames to those who have room for them.
    pub(super) fn move_frames(&mut self, instance: &mut Instance) {
        if !self.has_begun() || instance.trapped() {
            return;
        }
        let Ok(work) = instance.progress() else {
            return;
        };
        self.busy.store(work.busy, Ordering::SeqCst);
        let mut moved = false;
        for connection in work.pending {
            moved |= self.move_frames_of(instance, connection);
        }
        // A stream that was full may go on now.
        if moved && let Ok(work) = instance.progress() {
            self.busy.store(work.busy, Ordering::SeqCst);
        }
    }

    fn move_frames_of(&mut self, instance: &mut Instance, connection: u64) -> bool {
        let Some(slot) = self.connections.get(&connection) else {
            let _ = instance.close_connection(connection);
            return false;
        };
        let Some(room) = slot.room() else {
            return false;
        };
        let Ok(frames) = instance.poll(connection, room) else {
            self.connections.remove(&connection);
            return false;
        };
        if frames.len() == room {
            // There may be more: whoever takes these says so. Before they are there to be taken, or nobody would.
            slot.starved.store(true, Ordering::SeqCst);
        }
        for frame in frames {
            // A receiver that is gone has sent a `Close`.
            let _ = slot.frames.try_send(frame);
        }
        true
    }

    /// Ends all connections; their clients see it.
    pub(super) fn drop_all(&mut self) {
        self.connections.clear();
        self.busy.store(false, Ordering::SeqCst);
    }

    /// The instance is another one: its keys are too.
    pub(super) fn restart(&mut self, instance: &mut Instance) {
        self.drop_all();
        self.keys.send_replace(None);
        if let Err(error) = self.begin(instance) {
            tracing::error!(%error, "no keys in the fresh instance");
        }
    }

    /// No instance any more.
    pub(super) fn shut(&mut self) {
        self.drop_all();
        self.keys.send_replace(None);
    }
}

impl Slot {
    /// Frames that can be handed over now; none: the other end will say when.
    fn room(&self) -> Option<usize> {
        let room = self.frames.capacity();
        if room > 0 {
            return Some(room);
        }
        self.starved.store(true, Ordering::SeqCst);
        // The other end may have taken all of them just before it could see the flag.
        Some(self.frames.capacity()).filter(|room| *room > 0)
    }
}

/// A client's connection after the payload's answer. Dropping it ends it.
pub struct SealedConnection {
    frames: mpsc::Receiver<Vec<u8>>,
    starved: Arc<AtomicBool>,
    sender: FrameSender,
}

/// Delivers frames. The connection ends when it is dropped.
pub struct FrameSender {
    id: u64,
    busy: Arc<AtomicBool>,
    engine: mpsc::UnboundedSender<Command>,
}

/// Takes frames for the client.
pub struct FrameReceiver {
    frames: mpsc::Receiver<Vec<u8>>,
    starved: Arc<AtomicBool>,
    engine: mpsc::UnboundedSender<Command>,
}

impl SealedConnection {
    /// Both directions.
    pub fn split(self) -> (FrameSender, FrameReceiver) {
        let receiver = FrameReceiver {
            frames: self.frames,
            starved: self.starved,
            engine: self.sender.engine.clone(),
        };
        (self.sender, receiver)
    }
}

impl FrameSender {
    /// Delivers the client's next frame; back when the payload took it, so that a client cannot pile up frames. Whether
    /// it brought something on.
    pub async fn send(&self, frame: Vec<u8>) -> Result<bool, Refused> {
        let (reply, answer) = oneshot::channel();
        let command = SealedCommand::Deliver(self.id, frame, reply);
        let sent = self.engine.send(Command::Sealed(command));
        sent.map_err(|_| Refused::Gone)?;
        answer.await.unwrap_or(Err(Refused::Gone))
    }

    /// Whether the engine works on some reply, of this connection or another.
    pub fn is_engine_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        let close = SealedCommand::Close(self.id);
        // An engine that is gone has no connections.
        let _ = self.engine.send(Command::Sealed(close));
    }
}

impl FrameReceiver {
    /// The next frame for the client. None: the payload ended the connection.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.recv().await;
        if self.starved.swap(false, Ordering::SeqCst) {
            let _ = self.engine.send(Command::Sealed(SealedCommand::Room));
        }
        frame
    }
}

/// A place for a connection at an engine, and the keys it is made with.
pub struct Reservation {
    keys: Keys,
    place: Place,
    engine: mpsc::UnboundedSender<Command>,
}

impl Reservation {
    pub(crate) fn new(keys: Keys, place: Place, engine: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            keys,
            place,
            engine,
        }
    }

    /// Of the instance that the connection will be made to.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Hands over the client's first message; the connection, and the payload's answer.
    pub async fn open(self, message: Vec<u8>) -> Result<(SealedConnection, Vec<u8>), Refused> {
        let (reply, answer) = oneshot::channel();
        let handshake = Handshake {
            message,
            place: self.place,
            engine: self.engine.clone(),
            reply,
        };
        let command = Command::Sealed(SealedCommand::Open(Box::new(handshake)));
        self.engine.send(command).map_err(|_| Refused::Gone)?;
        answer.await.unwrap_or(Err(Refused::Gone))
    }
}
