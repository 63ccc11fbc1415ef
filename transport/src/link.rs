//! An encrypted byte stream between a CVM and a GPU host: `Noise_NK_25519_ChaChaPoly_SHA256`, as in
//! [`channel::noise`](talaria_wire::channel::noise), with the GPU host's static key known to the CVM. A CVM that has a
//! key of its own shows it ([`caller`]): its handshake is another one, announced by 32 bytes that no first message of NK
//! begins with.
//!
//! After the two handshake messages, each direction is a sequence of records: u16be length, then a Noise message
//! (section 7.3 of the specification) of that length. Nothing is padded: sizes say how many rows there are, which a
//! network sees anyway. That a stream ends is not authenticated; what is carried, HTTP/2, has ends of its own.

mod caller;
mod callers;
mod key;

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use snow::TransportState;
use talaria_wire::channel::noise::{Drawn, Initiating, respond_with};
use talaria_wire::channel::{ChannelError, HANDSHAKE_BYTES, KEY_BYTES, MAX_FRAME_BYTES, TAG_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use zeroize::Zeroizing;

use caller::Calling;
pub use callers::{Callers, CallersError, MalformedCallers};
pub use key::{KeyFileError, LinkKey, drawn, read_or_make};

/// Bound into the handshake: a link is no channel of a client, whatever its key.
const PROLOGUE: &[u8] = b"talaria-link-v1";

/// Comes before the first message of a caller who shows its key. Public keys are below 2^255 - 19, so no handshake
/// without begins like this.
const SHOWS_KEY: [u8; KEY_BYTES] = [0xff; KEY_BYTES];

/// Bytes of a record's length.
const LENGTH_BYTES: usize = 2;

/// Most bytes of a record's text.
const MAX_TEXT_BYTES: usize = MAX_FRAME_BYTES - TAG_BYTES;

/// A stream whose bytes nobody between its ends can read or change.
pub struct Secured<S> {
    stream: S,
    transport: TransportState,
    incoming: Incoming,
    outgoing: Outgoing,
}

/// A record as it comes, then its text as it is taken.
struct Incoming {
    record: Vec<u8>,
    filled: usize,
    text: Zeroizing<Vec<u8>>,
    taken: usize,
}

/// A record as it leaves.
struct Outgoing {
    record: Vec<u8>,
    sent: usize,
}

/// Opens a link to whoever has the secret of `host`; shows `own`, if there is one.
///
/// # Errors
/// The stream's, and [`ErrorKind::PermissionDenied`] if the other end does not have the secret.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &[u8; KEY_BYTES],
    own: Option<&LinkKey>,
    ephemeral: Drawn,
) -> io::Result<Secured<S>> {
    let mut answer = [0; HANDSHAKE_BYTES];
    let Some(own) = own else {
        let (state, hello) = Initiating::begin_with(PROLOGUE, host, ephemeral).map_err(denied)?;
        stream.write_all(&hello).await?;
        stream.read_exact(&mut answer).await?;
        let transport = state.into_transport(&answer).map_err(denied)?;
        return Ok(Secured::new(stream, transport));
    };
    let (state, hello) = Calling::begin(host, own, ephemeral).map_err(denied)?;
    stream.write_all(&SHOWS_KEY).await?;
    stream.write_all(&hello).await?;
    stream.read_exact(&mut answer).await?;
    let transport = state.finish(&answer).map_err(denied)?;
    Ok(Secured::new(stream, transport))
}

/// Takes a link from whoever knows the public key; where there is a list of callers, from them only.
///
/// # Errors
/// The stream's, and [`ErrorKind::PermissionDenied`] if the other end does not know the key, or is none of `callers`.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    key: &LinkKey,
    callers: Option<&Callers>,
    ephemeral: Drawn,
) -> io::Result<Secured<S>> {
    let mut hello = [0; HANDSHAKE_BYTES];
    stream.read_exact(&mut hello[..KEY_BYTES]).await?;
    let (transport, answer) = if hello.starts_with(&SHOWS_KEY) {
        let mut hello = [0; caller::FIRST_BYTES];
        stream.read_exact(&mut hello).await?;
        caller::answer(key, callers, ephemeral, &hello).map_err(denied)?
    } else if callers.is_some() {
        let what = "a caller without a key, where there is a list of callers";
        return Err(io::Error::new(ErrorKind::PermissionDenied, what));
    } else {
        stream.read_exact(&mut hello[KEY_BYTES..]).await?;
        respond_with(PROLOGUE, &key.pair, ephemeral, &hello).map_err(denied)?
    };
    stream.write_all(&answer).await?;
    Ok(Secured::new(stream, transport))
}

fn denied(error: ChannelError) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, error)
}

fn changed(_: snow::Error) -> io::Error {
    let what = "a record of an encrypted link was changed on its way";
    io::Error::new(ErrorKind::InvalidData, what)
}

impl<S> Secured<S> {
    fn new(stream: S, transport: TransportState) -> Self {
        Self {
            stream,
            transport,
            incoming: Incoming {
                record: vec![0; LENGTH_BYTES + MAX_FRAME_BYTES],
                filled: 0,
                text: Zeroizing::new(Vec::with_capacity(MAX_TEXT_BYTES)),
                taken: 0,
            },
            outgoing: Outgoing {
                record: Vec::with_capacity(LENGTH_BYTES + MAX_FRAME_BYTES),
                sent: 0,
            },
        }
    }
}

impl Incoming {
    /// Bytes that the record has, as far as that is known: its length is read first.
    fn expected(&self) -> usize {
        let length = u16::from_be_bytes([self.record[0], self.record[1]]);
        match self.filled < LENGTH_BYTES {
            true => LENGTH_BYTES,
            false => LENGTH_BYTES + usize::from(length),
        }
    }

    /// Reads the rest of a record. False: the stream ended between records.
    fn poll_record<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        while self.filled < LENGTH_BYTES || self.filled < self.expected() {
            let expected = self.expected();
            let mut rest = ReadBuf::new(&mut self.record[self.filled..expected]);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut rest))?;
            match (rest.filled().len(), self.filled) {
                (0, 0) => return Poll::Ready(Ok(false)),
                (0, _) => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                (read, _) => self.filled += read,
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Opens a complete record. One that does not open stays, so that nothing after it is ever read.
    fn open(&mut self, transport: &mut TransportState) -> io::Result<()> {
        let record = &self.record[LENGTH_BYTES..self.filled];
        self.text.resize(record.len().saturating_sub(TAG_BYTES), 0);
        let opened = transport.read_message(record, &mut self.text);
        self.text.truncate(*opened.as_ref().unwrap_or(&0));
        self.taken = 0;
        opened.map_err(changed)?;
        self.filled = 0;
        Ok(())
    }
}

impl Outgoing {
    fn poll_sent<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.record.len() {
            let rest = &self.record[self.sent..];
            match ready!(Pin::new(&mut *stream).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.record.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes a record; there must be none under way.
    fn seal(&mut self, transport: &mut TransportState, text: &[u8]) -> io::Result<()> {
        let length = (text.len() + TAG_BYTES) as u16;
        self.record.resize(LENGTH_BYTES + usize::from(length), 0);
        self.record[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        let sealed = transport.write_message(text, &mut self.record[LENGTH_BYTES..]);
        sealed.map(|_| ()).map_err(io::Error::other)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            transport,
            incoming,
            ..
        } = self.get_mut();
        // Records may be empty.
        while incoming.taken == incoming.text.len() {
            if !ready!(incoming.poll_record(stream, context))? {
                return Poll::Ready(Ok(()));
            }
            incoming.open(transport)?;
        }
        let rest = &incoming.text[incoming.taken..];
        let taken = rest.len().min(to.remaining());
        to.put_slice(&rest[..taken]);
        incoming.taken += taken;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        text: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            transport,
            outgoing,
            ..
        } = self.get_mut();
        ready!(outgoing.poll_sent(stream, context))?;
        if text.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        outgoing.seal(transport, text)?;
        // It is taken, whether or not all of it can leave now.
        match outgoing.poll_sent(stream, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(text.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream, outgoing, ..
        } = self.get_mut();
        ready!(outgoing.poll_sent(stream, context))?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            stream, outgoing, ..
        } = self.get_mut();
        ready!(outgoing.poll_sent(stream, context))?;
        Pin::new(stream).poll_shutdown(context)
    }
}

impl Connected for Secured<TcpStream> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests;
