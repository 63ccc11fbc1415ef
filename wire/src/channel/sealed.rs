//! Fragments to frames and back, under the keys of a handshake.

use snow::TransportState;
use zeroize::Zeroizing;

use super::{BUCKETS, ChannelError, Fragment, MAX_MESSAGE_BYTES, REKEY_FRAMES, TAG_BYTES};

/// One end of a connection after its handshake: keys and counters of both directions.
///
/// The counters are Noise nonces: a frame opens only as the next one after those before it. After the first
/// frame that does not open, nothing opens and nothing is sealed any more.
pub struct Sealed {
    transport: TransportState,
    broken: bool,
}

impl Sealed {
    pub(super) fn new(transport: TransportState) -> Self {
        Self {
            transport,
            broken: false,
        }
    }

    /// Seals a message of a stream as one frame, or as several if it is long.
    ///
    /// # Errors
    /// Too long: the connection is as it was.
    pub fn seal(&mut self, stream: u32, message: &[u8]) -> Result<Vec<Vec<u8>>, ChannelError> {
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(ChannelError::TooLong);
        }
        Fragment::split(stream, message)
            .map(|fragment| self.seal_fragment(&fragment))
            .collect()
    }

    /// Seals one fragment as one frame, a [bucket](BUCKETS) long.
    pub fn seal_fragment(&mut self, fragment: &Fragment) -> Result<Vec<u8>, ChannelError> {
        self.unless_broken(|transport| {
            let plaintext = fragment.padded().ok_or(ChannelError::TooLong)?;
            let mut frame = vec![0; plaintext.len() + TAG_BYTES];
            transport
                .write_message(&plaintext, &mut frame)
                .map_err(|_| ChannelError::Frame)?;
            if transport.sending_nonce().is_multiple_of(REKEY_FRAMES) {
                transport.rekey_outgoing();
            }
            Ok(frame)
        })
    }

    /// Opens the next frame of the other end.
    ///
    /// # Errors
    /// It is anything else, or holds no fragment: the connection is broken.
    pub fn open(&mut self, frame: &[u8]) -> Result<Fragment, ChannelError> {
        self.unless_broken(|transport| {
            if !BUCKETS.contains(&frame.len()) {
                return Err(ChannelError::Frame);
            }
            let mut plaintext = Zeroizing::new(vec![0; frame.len() - TAG_BYTES]);
            transport
                .read_message(frame, &mut plaintext)
                .map_err(|_| ChannelError::Frame)?;
            if transport.receiving_nonce().is_multiple_of(REKEY_FRAMES) {
                transport.rekey_incoming();
            }
            Fragment::parse(&plaintext)
        })
    }

    /// Seals and opens nothing any more.
    pub fn give_up(&mut self) {
        self.broken = true;
    }

    fn unless_broken<T>(
        &mut self,
        run: impl FnOnce(&mut TransportState) -> Result<T, ChannelError>,
    ) -> Result<T, ChannelError> {
        if self.broken {
            return Err(ChannelError::Closed);
        }
        let result = run(&mut self.transport);
        self.broken = result.is_err();
        result
    }
}
