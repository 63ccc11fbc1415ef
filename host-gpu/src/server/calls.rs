//! Around every call: its place on its connection, and the room that its messages take before they are complete.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use talaria_transport::pace::Pace;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::bounds::{LEAST_SENT, MESSAGE_BYTES};
use super::connection::{Call, Connection};
use super::places::{Place, Places};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Bytes before each message: compression flag, length.
const PREFIX_BYTES: usize = 5;

/// Room for half-received messages.
#[derive(Clone)]
pub(super) struct Room {
    bytes: Arc<Places>,
    largest: usize,
}

impl Room {
    /// For messages of at most so many bytes.
    pub(super) fn for_messages_of(largest: usize) -> Self {
        // One origin has room for a message at least.
        let of_one = (MESSAGE_BYTES / 2).max(largest as u64);
        Self {
            bytes: Places::new(2 * of_one, of_one),
            largest,
        }
    }
}

/// A service whose calls are counted and whose messages are metered.
#[derive(Clone)]
pub(super) struct Metered<S> {
    service: S,
    room: Room,
}

impl<S> Metered<S> {
    pub(super) fn new(service: S, room: Room) -> Self {
        Self { service, room }
    }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(connection) = request.extensions().get::<Arc<Connection>>() else {
            let refused = Status::internal("a call of no connection").into_http();
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let (connection, call) = (Arc::clone(connection), connection.call());
        let room = self.room.clone();
        let request = request.map(|body| Body::new(Question::new(body, connection, room)));
        let answering = self.service.call(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| Body::new(Answer { body, call })))
        })
    }
}

/// What a caller says.
struct Question {
    body: Body,
    connection: Arc<Connection>,
    room: Room,
    at: At,
    /// Room of the message that is half there.
    held: Option<Place>,
    /// A frame with the beginning of a message that has no room yet.
    waiting: Option<(Boxed<Place>, Bytes)>,
    pace: Pace,
    /// Since when the rest of a message is waited for, and until when.
    silent: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Where in the sequence of messages.
enum At {
    /// So many bytes of a prefix, and what they say of the length.
    Prefix(usize, u32),
    /// So many bytes of a message are to come, and so many it has.
    Message(usize, usize),
    /// In a message that is too long, which ends the call.
    Beyond,
}

impl At {
    const START: Self = Self::Prefix(0, 0);

    fn is_between(&self) -> bool {
        matches!(self, Self::Prefix(0, _) | Self::Beyond)
    }
}

impl Question {
    fn new(body: Body, connection: Arc<Connection>, room: Room) -> Self {
        Self {
            body,
            pace: Self::pace(&connection),
            connection,
            room,
            at: At::START,
            held: None,
            waiting: None,
            silent: None,
        }
    }

    fn pace(connection: &Connection) -> Pace {
        Pace::new(connection.bounds().silence, LEAST_SENT)
    }

    /// Follows the messages through a frame. The length of one that is only half there, and has no room.
    fn follow(&mut self, mut frame: &[u8]) -> Option<usize> {
        while let Some((byte, rest)) = frame.split_first() {
            match &mut self.at {
                At::Prefix(filled, length) => {
                    // Big-endian, after the flag.
                    *length = *length << 8 | u32::from(*byte);
                    *filled += 1;
                    frame = rest;
                    if *filled == PREFIX_BYTES {
                        let length = *length as usize;
                        self.begin(length);
                    }
                }
                At::Message(left, _) => {
                    let taken = frame.len().min(*left);
                    *left -= taken;
                    frame = &frame[taken..];
                    if *left == 0 {
                        self.end();
                    }
                }
                At::Beyond => return None,
            }
        }
        match self.at {
            At::Message(_, length) if self.held.is_none() => Some(length),
            _ => None,
        }
    }

    fn begin(&mut self, length: usize) {
        match length {
            0 => self.end(),
            length if length > self.room.largest => self.at = At::Beyond,
            length => self.at = At::Message(length, length),
        }
    }

    fn end(&mut self) {
        self.at = At::START;
        self.held = None;
        self.pace = Self::pace(&self.connection);
    }

    /// Nothing came: an error once that lasted for too long in the middle of a message.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.at.is_between() {
            return Poll::Pending;
        }
        let left = self.pace.left();
        let (_, until) = self
            .silent
            .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(until.as_mut().poll(context));
        let why = "a message does not come to its end";
        self.connection.close(why);
        Poll::Ready(Status::deadline_exceeded(why))
    }
}

impl http_body::Body for Question {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some((place, _)) = &mut this.waiting {
                let place = ready!(place.as_mut().poll(context));
                this.held = Some(place);
                let frame = this.waiting.take().map(|(_, frame)| Ok(Frame::data(frame)));
                return Poll::Ready(frame);
            }
            let frame = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => return this.poll_silence(context).map(|status| Some(Err(status))),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(ended) => return Poll::Ready(ended),
            };
            if let Some((since, _)) = this.silent.take() {
                this.pace.waited(since.elapsed());
            }
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            this.pace.moved(data.len());
            let Some(length) = this.follow(&data) else {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            };
            let room = Arc::clone(&this.room.bytes);
            let place = room.wait(this.connection.origin(), length as u64);
            this.waiting = Some((Box::pin(place), data));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What a caller is told.
struct Answer {
    body: Body,
    call: Call,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        // Asked again: what was given before is on its way.
        this.call.given(false);
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.call
            .given(frame.as_ref().is_some_and(|frame| frame.is_ok()));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use http_body::Body as _;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::super::bounds::Bounds;
    use super::super::places::Origin;
    use super::*;

    /// A body of frames as they come.
    struct Frames(mpsc::UnboundedReceiver<Bytes>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let frame = self.0.poll_recv(context);
            frame.map(|frame| frame.map(|data| Ok(Frame::data(data))))
        }
    }

    struct Caller {
        wire: mpsc::UnboundedSender<Bytes>,
        question: Question,
    }

    impl Caller {
        fn new(last: u8, room: &Room) -> Self {
            let origin = Origin::V4(Ipv4Addr::new(192, 0, 2, last));
            let place = Places::new(1, 1).take(origin, 1).unwrap();
            let bounds = Bounds {
                silence: Duration::from_millis(100),
                ..Bounds::default()
            };
            let connection = Connection::new(origin, bounds, place);
            let (wire, frames) = mpsc::unbounded_channel();
            let question = Question::new(Body::new(Frames(frames)), connection, room.clone());
            Self { wire, question }
        }

        fn send(&self, bytes: &[u8]) {
            self.wire.send(Bytes::copy_from_slice(bytes)).unwrap();
        }

        async fn heard(&mut self) -> Result<Bytes, Status> {
            let mut question = Pin::new(&mut self.question);
            let frame = std::future::poll_fn(|context| question.as_mut().poll_frame(context)).await;
            frame
                .expect("a frame")
                .map(|frame| frame.into_data().unwrap())
        }

        /// Nothing, for longer than a message may be silent.
        async fn hears_nothing(&mut self) -> bool {
            timeout(Duration::from_millis(300), self.heard())
                .await
                .is_err()
        }
    }

    fn prefix(length: u32) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes()].concat()
    }

    fn room() -> Room {
        Room {
            bytes: Places::new(20, 12),
            largest: 12,
        }
    }

    #[tokio::test]
    async fn half_received_messages_of_one_caller_leave_room_for_others() {
        let room = room();
        let (mut one, mut two, mut other) = (
            Caller::new(1, &room),
            Caller::new(1, &room),
            Caller::new(2, &room),
        );
        one.send(&[&prefix(8)[..], b"1234"].concat());
        assert_eq!(one.heard().await.unwrap().len(), 9);
        // The same address has no room for another; it waits, and is not given up for that.
        two.send(&[&prefix(8)[..], b"1"].concat());
        assert!(two.hears_nothing().await);
        other.send(&[&prefix(8)[..], b"1"].concat());
        other.heard().await.unwrap();
        one.send(b"5678");
        one.heard().await.unwrap();
        two.heard().await.unwrap();
        drop((two, other));
        assert!(room.bytes.take(Origin::Unix, 12).is_some());
    }

    #[tokio::test]
    async fn whole_messages_need_no_room_and_quiet_is_no_silence() {
        let room = Room {
            bytes: Places::new(0, 0),
            largest: 12,
        };
        let mut caller = Caller::new(1, &room);
        let whole = [&prefix(3)[..], b"one", &prefix(0), &prefix(2), b"me"].concat();
        caller.send(&whole);
        assert_eq!(caller.heard().await.unwrap(), whole);
        assert!(caller.hears_nothing().await);
        caller.send(&whole);
        assert_eq!(caller.heard().await.unwrap(), whole);
        // Refused by whoever decodes: too long to have room.
        caller.send(&[&prefix(13)[..], b"1234"].concat());
        caller.heard().await.unwrap();
    }

    #[tokio::test]
    async fn a_message_that_stops_is_an_error() {
        let room = room();
        for beginning in [&prefix(8)[..3], &[&prefix(8)[..], b"1"].concat()] {
            let mut caller = Caller::new(1, &room);
            caller.send(beginning);
            caller.heard().await.unwrap();
            let error = timeout(Duration::from_secs(20), caller.heard()).await;
            let error = error.unwrap().unwrap_err();
            assert!(error.message().contains("does not come"), "{error}");
        }
        assert!(room.bytes.take(Origin::Unix, 12).is_some());
    }

    #[tokio::test]
    async fn a_message_a_byte_at_a_time_is_an_error() {
        let room = room();
        let mut caller = Caller::new(1, &room);
        caller.send(&prefix(12));
        for _ in 0..12 {
            if caller.heard().await.is_err() {
                return;
            }
            let wire = caller.wire.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(30)).await;
                wire.send(Bytes::from_static(b"1"))
            });
        }
        panic!("twelve bytes in 360 ms");
    }
}
