//! One client: a WebSocket on one side, the payload's end of the channel on the other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use futures_util::{SinkExt, StreamExt, stream};
use talaria_wire::channel::HANDSHAKE_BYTES;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, timeout};

use super::limits::Admission;
use super::{QUIET, Server};
use crate::engine::{FrameReceiver, FrameSender, Reservation, SealedConnection};
use crate::payload::Refused;

/// Keeps middle boxes from forgetting a connection.
const PING: Duration = Duration::from_secs(30);

type Sink = stream::SplitSink<WebSocket, Message>;
type Stream = stream::SplitStream<WebSocket>;

/// Serves until either end has enough.
pub(super) async fn serve(
    server: &Server,
    socket: WebSocket,
    evidence: Vec<u8>,
    reservation: Reservation,
    admission: &Admission,
) {
    let (begun_at, traffic) = (Instant::now(), Traffic::default());
    let (mut sink, mut stream) = socket.split();
    let begun = timeout(
        server.limits.handshake,
        shake_hands(&mut sink, &mut stream, evidence, reservation),
    );
    let end = match begun.await {
        Ok(Ok(connection)) => {
            carry(
                server,
                &mut sink,
                &mut stream,
                connection,
                admission,
                &traffic,
            )
            .await
        }
        Ok(Err(end)) => end,
        Err(_) => End::Idle,
    };
    tracing::info!(
        ?end,
        seconds = begun_at.elapsed().as_secs(),
        frames_in = traffic.frames_in.load(Relaxed),
        bytes_in = traffic.bytes_in.load(Relaxed),
        frames_out = traffic.frames_out.load(Relaxed),
        bytes_out = traffic.bytes_out.load(Relaxed),
        "connection over"
    );
    close(server, &mut sink, end).await;
}

/// Of one connection, for its line in the log.
#[derive(Default)]
struct Traffic {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client left, or its socket broke.
    Left,
    /// Nothing moved for too long.
    Idle,
    /// The CVM stops.
    Stopping,
    /// It had sent no frame when another client needed its place.
    Evicted,
    /// A message that is neither handshake nor frame.
    NotAFrame,
    Refused(Refused),
}

async fn close(server: &Server, sink: &mut Sink, end: End) {
    let (code, reason): (u16, String) = match end {
        End::Left => return,
        End::Idle => (close_code::NORMAL, "idle".into()),
        End::Evicted => (close_code::AGAIN, "another client needed the place".into()),
        End::Stopping => (close_code::AWAY, "the CVM is shutting down".into()),
        End::NotAFrame => (close_code::UNSUPPORTED, "frames are binary messages".into()),
        End::Refused(refused) => {
            let (code, cause) = match refused {
                Refused::Busy => (close_code::AGAIN, "busy"),
                Refused::Handshake => (close_code::POLICY, "handshake"),
                Refused::Frame => (close_code::POLICY, "frame"),
                Refused::Gone => (close_code::AWAY, "gone"),
            };
            server.metrics.refuse(cause);
            (code, refused.to_string())
        }
    };
    let reason = Utf8Bytes::from(reason);
    let close = Message::Close(Some(CloseFrame { code, reason }));
    // The client may not read any more.
    let _ = timeout(QUIET, sink.send(close)).await;
}

async fn shake_hands(
    sink: &mut Sink,
    stream: &mut Stream,
    evidence: Vec<u8>,
    reservation: Reservation,
) -> Result<SealedConnection, End> {
    // JSON is UTF-8.
    let evidence = String::from_utf8(evidence).map_err(|_| End::NotAFrame)?;
    send(sink, Message::Text(evidence.into())).await?;
    let hello = next_binary(stream).await?;
    if hello.len() != HANDSHAKE_BYTES {
        return Err(End::NotAFrame);
    }
    let opened = reservation.open(hello.to_vec()).await;
    let (connection, answer) = opened.map_err(End::Refused)?;
    send(sink, Message::Binary(answer.into())).await?;
    Ok(connection)
}

/// Both directions, each at its own pace: a client that reads nothing can still send.
async fn carry(
    server: &Server,
    sink: &mut Sink,
    stream: &mut Stream,
    connection: SealedConnection,
    admission: &Admission,
    traffic: &Traffic,
) -> End {
    let (sender, receiver) = connection.split();
    let moved = Moved::new();
    let mut stopping = server.stop.subscribe();
    let stopped = async {
        // The sender lives as long as the server.
        let _ = stopping.wait_for(|stop| *stop).await;
        // Between two frames of a reply the engine may compute for long.
        while sender.is_engine_busy() {
            tokio::time::sleep(QUIET / 10).await;
        }
        moved.rest(QUIET).await;
    };
    // Whoever completed the handshake says so at once; whoever did not takes a place from others.
    let proven = Notify::new();
    let unproven = async {
        if timeout(server.limits.handshake, proven.notified())
            .await
            .is_ok()
        {
            admission.prove();
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        end = read(server, stream, &sender, &moved, &proven, traffic) => end,
        () = unproven => End::Idle,
        end = write(server, sink, receiver, &moved, traffic) => end,
        () = moved.rest(server.limits.idle) => End::Idle,
        () = admission.evicted() => End::Evicted,
        () = stopped => End::Stopping,
    }
}

async fn read(
    server: &Server,
    stream: &mut Stream,
    sender: &FrameSender,
    moved: &Moved,
    proven: &Notify,
    traffic: &Traffic,
) -> End {
    loop {
        let frame = match next_binary(stream).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        server.metrics.frames_in.inc();
        server.metrics.bytes_in.inc_by(frame.len() as u64);
        traffic.frames_in.fetch_add(1, Relaxed);
        traffic.bytes_in.fetch_add(frame.len() as u64, Relaxed);
        // When it came: the payload may be in the middle of a long step, and refuses what is no frame.
        proven.notify_one();
        match sender.send(frame.to_vec()).await {
            // Frames that bring nothing on, whatever they are, keep no connection alive.
            Ok(true) => moved.now(),
            Ok(false) => {}
            Err(refused) => return End::Refused(refused),
        }
    }
}

async fn write(
    server: &Server,
    sink: &mut Sink,
    mut receiver: FrameReceiver,
    moved: &Moved,
    traffic: &Traffic,
) -> End {
    let mut ping = interval(PING);
    loop {
        let message = tokio::select! {
            frame = receiver.next() => match frame {
                Some(frame) => {
                    server.metrics.frames_out.inc();
                    server.metrics.bytes_out.inc_by(frame.len() as u64);
                    traffic.frames_out.fetch_add(1, Relaxed);
                    traffic.bytes_out.fetch_add(frame.len() as u64, Relaxed);
                    Message::Binary(frame.into())
                }
                None => return End::Refused(Refused::Gone),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        let frame = matches!(message, Message::Binary(_));
        if let Err(end) = send(sink, message).await {
            return end;
        }
        if frame {
            moved.now();
        }
    }
}

async fn send(sink: &mut Sink, message: Message) -> Result<(), End> {
    sink.send(message).await.map_err(|_| End::Left)
}

async fn next_binary(stream: &mut Stream) -> Result<Bytes, End> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_))) => return Err(End::NotAFrame),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Left),
        }
    }
}

/// When a frame moved last.
struct Moved(std::sync::Mutex<Instant>);

impl Moved {
    fn new() -> Self {
        Self(std::sync::Mutex::new(Instant::now()))
    }

    fn now(&self) {
        *self.lock() = Instant::now();
    }

    /// Waits until nothing has moved for so long.
    async fn rest(&self, quiet: Duration) {
        loop {
            let until = *self.lock() + quiet;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        let locked = self.0.lock();
        locked.unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
