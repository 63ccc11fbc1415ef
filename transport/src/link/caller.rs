//! `Noise_IK_25519_ChaChaPoly_SHA256` (The Noise Protocol Framework, revision 34), for callers who show who they are:
//!
//! ```text
//! <- s                 the GPU host's static key, known from its address
//! ...
//! -> e, es, s, ss      96 bytes
//! <- e, ee, se         48 bytes
//! ```
//!
//! Both payloads are empty. A first message can be replayed (section 7.7, sender 1), but whoever replays one cannot
//! say anything after it: the keys that follow need the caller's secrets.
//!
//! Primitives are snow's own, which are those of `wire`'s channel, but for a public key of low order, which is refused
//! here too.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, TransportState};
use talaria_wire::channel::noise::Drawn;
use talaria_wire::channel::{ChannelError, HANDSHAKE_BYTES, KEY_BYTES, TAG_BYTES};

use super::{Callers, LinkKey, PROLOGUE};

const PROTOCOL: &str = "Noise_IK_25519_ChaChaPoly_SHA256";

/// Bytes of a first message: an ephemeral key, a sealed static one, a tag.
pub(super) const FIRST_BYTES: usize = 2 * (KEY_BYTES + TAG_BYTES);

/// A CVM that waits for the host's answer.
pub(super) struct Calling(HandshakeState);

impl Calling {
    /// The first message, to whoever has the secret of `host`.
    pub(super) fn begin(
        host: &[u8; KEY_BYTES],
        own: &LinkKey,
        ephemeral: Drawn,
    ) -> Result<(Self, [u8; FIRST_BYTES]), ChannelError> {
        let builder = builder(own, ephemeral)?.remote_public_key(host);
        let mut state = builder.and_then(Builder::build_initiator).map_err(failed)?;
        let mut message = [0; FIRST_BYTES];
        match state.write_message(&[], &mut message) {
            Ok(FIRST_BYTES) => Ok((Self(state), message)),
            _ => Err(ChannelError::Handshake),
        }
    }

    /// Takes the answer: only the holder of the host's secret can have made it.
    pub(super) fn finish(
        mut self,
        answer: &[u8; HANDSHAKE_BYTES],
    ) -> Result<TransportState, ChannelError> {
        let read = self.0.read_message(answer, &mut [0; TAG_BYTES]);
        read.map_err(failed)?;
        self.0.into_transport_mode().map_err(failed)
    }
}

/// Answers a first message; where there is a list of callers, only one of them.
pub(super) fn answer(
    own: &LinkKey,
    callers: Option<&Callers>,
    ephemeral: Drawn,
    message: &[u8; FIRST_BYTES],
) -> Result<(TransportState, [u8; HANDSHAKE_BYTES]), ChannelError> {
    let mut state = builder(own, ephemeral)?.build_responder().map_err(failed)?;
    let read = state.read_message(message, &mut [0; TAG_BYTES]);
    read.map_err(failed)?;
    let caller = state.get_remote_static().and_then(<[u8]>::first_chunk);
    let is_listed = caller.is_some_and(|key| callers.is_none_or(|callers| callers.has(key)));
    if !is_listed {
        return Err(ChannelError::Handshake);
    }
    let mut message = [0; HANDSHAKE_BYTES];
    match state.write_message(&[], &mut message) {
        Ok(HANDSHAKE_BYTES) => {}
        _ => return Err(ChannelError::Handshake),
    }
    Ok((state.into_transport_mode().map_err(failed)?, message))
}

fn builder(own: &LinkKey, ephemeral: Drawn) -> Result<Builder<'_>, ChannelError> {
    let protocol = PROTOCOL.parse().map_err(failed)?;
    Builder::with_resolver(protocol, Box::new(Resolver(ephemeral)))
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(&*own.secret))
        .map_err(failed)
}

/// Whatever it was, the other end learns one thing: no.
fn failed(_: Error) -> ChannelError {
    ChannelError::Handshake
}

/// The primitives of [`PROTOCOL`], with an ephemeral secret that was drawn before.
struct Resolver(Drawn);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let dh = DefaultResolver.resolve_dh(choice)?;
        Some(Box::new(Contributory(dh)))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives out what was drawn once: a handshake has one ephemeral key at each end.
struct Once(Option<Drawn>);

impl Random for Once {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Error> {
        match self.0.take() {
            Some(drawn) if to.len() == drawn.len() => {
                to.copy_from_slice(&*drawn);
                Ok(())
            }
            _ => Err(Error::Rng),
        }
    }
}

/// X25519 that refuses what the other end alone decides: a shared secret of zeros, as every public key of low order
/// gives (RFC 7748, section 6.1).
struct Contributory(Box<dyn Dh>);

impl Dh for Contributory {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, secret: &[u8]) {
        self.0.set(secret);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.0.dh(public, out)?;
        match out.iter().fold(0, |any, byte| any | byte) {
            0 => Err(Error::Dh),
            _ => Ok(()),
        }
    }
}
