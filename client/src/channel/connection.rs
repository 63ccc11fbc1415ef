//! Requests to frames and frames to events: many streams on one connection.

use std::collections::{BTreeMap, VecDeque};

use talaria_wire::channel::message::{Event, Request, ToPayload, TooMany};
use talaria_wire::channel::{
    Assembler, ChannelError, Fragment, MAX_MESSAGE_BYTES, MAX_STREAMS, Sealed, WINDOW,
};

/// A connection whose other end is the payload that was verified. Nothing is sent or received here: frames
/// go out and come in through the caller, each once and in order.
pub struct Connection {
    sealed: Sealed,
    incoming: Assembler,
    inboxes: BTreeMap<u32, Inbox>,
    next_stream: u32,
    context: u32,
}

/// A request of a connection. What comes for one that was dropped is kept until the connection goes: cancel
/// it instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    id: u32,
    /// All of it was taken.
    over: bool,
}

impl Stream {
    /// Its number on the connection.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// What came of a stream and was not taken yet.
#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    /// Events taken since the payload was told.
    taken: u32,
    /// The last event came.
    ended: bool,
}

/// What [`Connection::take`] found.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// The next event, and frames to send (maybe none): they tell the payload that there is room again.
    Event(Event, Vec<Vec<u8>>),
    /// Nothing until more frames come.
    Nothing,
    /// The stream is over, and all of it was taken.
    Ended,
}

/// Why a connection does not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The other end is not the payload that was verified, or of another version.
    #[error(
        "the other end does not hold the key that was verified, or speaks another version: nothing was sent; verify the evidence of this CVM anew"
    )]
    Handshake,
    /// Nothing can be said on this connection any more.
    #[error("the connection is broken: {0}; connect anew")]
    Broken(ChannelError),
    /// No randomness.
    #[error("the operating system gave no random bytes")]
    Entropy,
    /// The request is too long.
    #[error("the request has more than {MAX_MESSAGE_BYTES} bytes: shorten it")]
    TooLong,
    /// A list of the request that the payload would not take.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too many requests under way.
    #[error(
        "{MAX_STREAMS} requests are under way on this connection: wait for one, or use another connection"
    )]
    TooManyStreams,
    /// It belongs to another connection.
    #[error("no such stream on this connection")]
    NoSuchStream,
}

impl Connection {
    pub(super) fn new(sealed: Sealed, context: u32) -> Self {
        Self {
            sealed,
            incoming: Assembler::default(),
            inboxes: BTreeMap::new(),
            next_stream: 0,
            context,
        }
    }

    /// Most tokens of a prompt and its reply.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// The first thing to send: that the handshake is complete.
    pub(crate) fn ready(&mut self) -> Result<Vec<Vec<u8>>, ConnectionError> {
        self.say(0, &ToPayload::Ready)
    }

    /// Seals a request; frames to send.
    pub fn request(&mut self, request: Request) -> Result<(Stream, Vec<Vec<u8>>), ConnectionError> {
        self.request_under(None, request)
    }

    /// The same for a reply that may go on from what was computed for others under the same key, which is a secret of
    /// whom the prompts belong to; none: from others of this connection that had none.
    pub fn request_under(
        &mut self,
        key: Option<[u8; 32]>,
        request: Request,
    ) -> Result<(Stream, Vec<Vec<u8>>), ConnectionError> {
        let under_way = self.inboxes.values().filter(|inbox| !inbox.ended).count();
        let id = self.next_stream;
        let next = id.checked_add(1).ok_or(ConnectionError::TooManyStreams)?;
        if under_way >= MAX_STREAMS {
            return Err(ConnectionError::TooManyStreams);
        }
        request.check()?;
        // Together, or not at all: a request that is too long is found out before anything is sealed.
        let request = ToPayload::Request(request).to_bytes();
        if request.len() > MAX_MESSAGE_BYTES {
            return Err(ConnectionError::TooLong);
        }
        let mut frames = match key {
            Some(key) => self.say(id, &ToPayload::Key(key))?,
            None => Vec::new(),
        };
        frames.extend(self.sealed.seal(id, &request)?);
        self.next_stream = next;
        self.inboxes.insert(id, Inbox::default());
        Ok((Stream { id, over: false }, frames))
    }

    /// Takes the next frame of the payload; the id of the stream for which it brought an event. After an error,
    /// nothing more comes on this connection.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Option<u32>, ConnectionError> {
        let received = self.sealed.open(frame).and_then(|f| self.sort(f));
        received.map_err(|error| {
            self.sealed.give_up();
            error.into()
        })
    }

    fn sort(&mut self, fragment: Fragment) -> Result<Option<u32>, ChannelError> {
        let stream = fragment.stream;
        if stream >= self.next_stream {
            return Err(ChannelError::Protocol);
        }
        let Some(inbox) = self.inboxes.get_mut(&stream) else {
            // It was cancelled while this was on its way.
            return Ok(None);
        };
        let Some(message) = self.incoming.push(fragment)? else {
            return Ok(None);
        };
        inbox.push(Event::from_bytes(&message)?)?;
        Ok(Some(stream))
    }

    /// The next event of a stream.
    pub fn take(&mut self, stream: &mut Stream) -> Result<Taken, ConnectionError> {
        if stream.over {
            return Ok(Taken::Ended);
        }
        let inbox = self.inboxes.get_mut(&stream.id);
        let inbox = inbox.ok_or(ConnectionError::NoSuchStream)?;
        let Some(event) = inbox.events.pop_front() else {
            return Ok(Taken::Nothing);
        };
        let credit = inbox.credit();
        if event.ends() {
            stream.over = true;
            self.inboxes.remove(&stream.id);
        }
        let frames = match credit {
            Some(events) => self.say(stream.id, &ToPayload::Credit(events))?,
            None => Vec::new(),
        };
        Ok(Taken::Event(event, frames))
    }

    /// Forgets a stream; frames to send (none if it is over).
    pub fn cancel(&mut self, stream: Stream) -> Result<Vec<Vec<u8>>, ConnectionError> {
        let ended = match self.inboxes.remove(&stream.id) {
            Some(inbox) => inbox.ended,
            None if stream.over => true,
            None => return Err(ConnectionError::NoSuchStream),
        };
        self.incoming.forget(stream.id);
        match ended {
            true => Ok(Vec::new()),
            false => self.say(stream.id, &ToPayload::Cancel),
        }
    }

    fn say(&mut self, stream: u32, message: &ToPayload) -> Result<Vec<Vec<u8>>, ConnectionError> {
        Ok(self.sealed.seal(stream, &message.to_bytes())?)
    }
}

impl Inbox {
    /// A payload that keeps to the protocol sends nothing after the end, and not more than there is room for.
    fn push(&mut self, event: Event) -> Result<(), ChannelError> {
        let room = WINDOW - self.taken;
        if self.ended || self.events.len() >= room as usize {
            return Err(ChannelError::Protocol);
        }
        self.ended = event.ends();
        self.events.push_back(event);
        Ok(())
    }

    /// One was taken. How many the payload should now be told of: half a window at a time.
    fn credit(&mut self) -> Option<u32> {
        self.taken += 1;
        if self.ended || self.taken < WINDOW / 2 {
            return None;
        }
        Some(std::mem::take(&mut self.taken))
    }
}
