//! One client: the keys of its connection and its streams.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use zeroize::Zeroizing;

use talaria_wire::channel::{Assembler, ChannelError, MAX_STREAMS, Sealed, message::ToPayload};

use super::stream::Stream;

/// A connection after its handshake.
pub(super) struct Connection {
    sealed: Sealed,
    incoming: Assembler,
    /// Whose last event was not sealed yet.
    streams: BTreeMap<u32, Stream>,
    /// The highest number of a stream so far.
    highest: Option<u32>,
    /// The stream that an event was sealed of last.
    turn: u32,
    /// The rest of a message that went into several frames.
    frames: VecDeque<Vec<u8>>,
    proven: bool,
    /// What a stream that was not begun may go on from.
    key: Option<(u32, Zeroizing<[u8; 32]>)>,
}

impl Connection {
    pub(super) fn new(sealed: Sealed) -> Self {
        Self {
            sealed,
            incoming: Assembler::default(),
            streams: BTreeMap::new(),
            highest: None,
            turn: 0,
            frames: VecDeque::new(),
            proven: false,
            key: None,
        }
    }

    /// Whether a frame was opened: the other end completed the handshake.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Takes the next frame; the message that it completes. After an error nothing can be taken any more.
    pub(super) fn open(&mut self, frame: &[u8]) -> Result<Option<(u32, ToPayload)>, ChannelError> {
        let fragment = self.sealed.open(frame)?;
        self.proven = true;
        let stream = fragment.stream;
        match self.incoming.push(fragment)? {
            Some(message) => Ok(Some((stream, ToPayload::from_bytes(&message)?))),
            None => Ok(None),
        }
    }

    /// A new stream. `None`: the number was used, or there are too many.
    pub(super) fn begin(&mut self, stream: u32) -> Option<&mut Stream> {
        if self.highest >= Some(stream) || self.streams.len() >= MAX_STREAMS {
            return None;
        }
        self.highest = Some(stream);
        Some(self.streams.entry(stream).or_default())
    }

    /// The next request, if it is on this stream, is under this key. `None`: the number was used.
    pub(super) fn set_key(&mut self, stream: u32, key: [u8; 32]) -> Option<()> {
        if self.highest >= Some(stream) {
            return None;
        }
        self.key = Some((stream, Zeroizing::new(key)));
        Some(())
    }

    /// The key of a stream that begins.
    pub(super) fn take_key(&mut self, stream: u32) -> Option<Zeroizing<[u8; 32]>> {
        let (of, key) = self.key.take()?;
        (of == stream).then_some(key)
    }

    /// More events of a stream may be sent; whether there is such a stream still. `None`: the client gave nothing, or
    /// more than it had taken.
    pub(super) fn credit(&mut self, stream: u32, events: u32) -> Option<bool> {
        if events == 0 {
            return None;
        }
        match self.streams.get_mut(&stream) {
            Some(stream) => stream.credit(events).map(|()| true),
            None => self.was_begun(stream).map(|()| false),
        }
    }

    /// Forgets a stream; its session, if it had one. `None`: the stream was never begun.
    pub(super) fn cancel(&mut self, stream: u32) -> Option<Option<u32>> {
        self.was_begun(stream)?;
        Some(self.streams.remove(&stream).and_then(|s| s.session()))
    }

    /// A client may speak of a stream whose end is on its way.
    fn was_begun(&self, stream: u32) -> Option<()> {
        (self.highest >= Some(stream)).then_some(())
    }

    pub(super) fn stream_mut(&mut self, stream: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&stream)
    }

    /// Sessions under way, each with whether its stream is full.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (u32, bool)> {
        let streams = self.streams.values();
        streams.filter_map(|stream| Some((stream.session()?, stream.is_full())))
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.frames.is_empty() || self.streams.values().any(Stream::may_send)
    }

    /// At most `most` frames.
    pub(super) fn seal(&mut self, most: usize) -> Result<Vec<Vec<u8>>, ChannelError> {
        while self.frames.len() < most {
            let Some(id) = self.next_stream() else { break };
            self.seal_event(id)?;
        }
        let count = self.frames.len().min(most);
        Ok(self.frames.drain(..count).collect())
    }

    /// The next one in turn that may send.
    fn next_stream(&self) -> Option<u32> {
        let after = self.streams.range((Excluded(self.turn), Unbounded));
        let mut in_turn = after.chain(self.streams.range(..=self.turn));
        in_turn.find(|(_, s)| s.may_send()).map(|(id, _)| *id)
    }

    fn seal_event(&mut self, id: u32) -> Result<(), ChannelError> {
        self.turn = id;
        let event = self.streams.get_mut(&id).and_then(Stream::take);
        let Some(event) = event else { return Ok(()) };
        self.frames.extend(self.sealed.seal(id, &event.to_bytes())?);
        if event.ends() {
            self.streams.remove(&id);
        }
        Ok(())
    }
}
