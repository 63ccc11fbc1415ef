//! `Noise_NK_25519_ChaChaPoly_SHA256` (The Noise Protocol Framework, revision 34):
//!
//! ```text
//! <- s            the payload's static key, known from evidence
//! ...
//! -> e, es        48 bytes
//! <- e, ee        52 bytes, of which 4 are the payload's context
//! ```
//!
//! What a client says in its first message has no forward secrecy and can be replayed (section 7.7, sender 2), so it says
//! nothing. The payload's answer says how many tokens a request and its reply can have (big-endian), and nothing else. The
//! prologue names the version of all that follows.
//!
//! Key agreement and cipher are implemented here and not by snow, so that keys are zeroized when dropped, and
//! so that a public key of low order is refused. The hash is snow's.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use curve25519_dalek::MontgomeryPoint;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};
use zeroize::{Zeroize, Zeroizing};

use super::message::VERSION;
use super::{ANSWER_BYTES, ChannelError, HANDSHAKE_BYTES, KEY_BYTES, Sealed, TAG_BYTES};

/// Name of the protocol (section 8).
pub const PROTOCOL: &str = "Noise_NK_25519_ChaChaPoly_SHA256";

/// Bound into the handshake (section 6): ends whose messages are of different [`VERSION`]s do not come together.
pub fn prologue() -> String {
    format!("talaria-channel-v{VERSION}")
}

/// 32 uniform bytes, drawn by whoever has a generator.
pub type Drawn = Zeroizing<[u8; KEY_BYTES]>;

/// The payload's static key pair. Zeroized when dropped.
pub struct StaticKey {
    secret: Drawn,
    public: [u8; KEY_BYTES],
}

impl StaticKey {
    /// The key pair of a secret.
    pub fn new(secret: Drawn) -> Self {
        Self {
            public: MontgomeryPoint::mul_base_clamped(*secret).to_bytes(),
            secret,
        }
    }

    /// What evidence binds.
    pub fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }
}

/// A client that waits for the payload's answer.
pub struct Initiating(HandshakeState);

impl Initiating {
    /// The first message, to whoever has the secret of `responder`.
    pub fn begin(
        responder: &[u8; KEY_BYTES],
        ephemeral: Drawn,
    ) -> Result<(Self, [u8; HANDSHAKE_BYTES]), ChannelError> {
        Self::begin_with(prologue().as_bytes(), responder, ephemeral)
    }

    /// The same for another protocol over the same handshake.
    pub fn begin_with(
        prologue: &[u8],
        responder: &[u8; KEY_BYTES],
        ephemeral: Drawn,
    ) -> Result<(Self, [u8; HANDSHAKE_BYTES]), ChannelError> {
        let builder = builder(prologue, ephemeral)?;
        let mut state = builder
            .remote_public_key(responder)
            .and_then(Builder::build_initiator)
            .map_err(failed)?;
        let message = write(&mut state, &[])?;
        Ok((Self(state), message))
    }

    /// Takes the answer: only the holder of the secret can have made it. What is sealed from now on, and the most tokens
    /// of a request and its reply.
    pub fn finish(mut self, answer: &[u8]) -> Result<(Sealed, u32), ChannelError> {
        let context = read::<ANSWER_BYTES, 4>(&mut self.0, answer)?;
        let transport = self.0.into_transport_mode().map_err(failed)?;
        Ok((Sealed::new(transport), u32::from_be_bytes(context)))
    }

    /// The same for another protocol, in which the answer says nothing.
    pub fn into_transport(mut self, answer: &[u8]) -> Result<TransportState, ChannelError> {
        read::<HANDSHAKE_BYTES, 0>(&mut self.0, answer)?;
        self.0.into_transport_mode().map_err(failed)
    }
}

/// Answers a first message; `context`: the most tokens of a request and its reply.
pub fn respond(
    key: &StaticKey,
    ephemeral: Drawn,
    message: &[u8],
    context: u32,
) -> Result<(Sealed, [u8; ANSWER_BYTES]), ChannelError> {
    let (prologue, context) = (prologue(), context.to_be_bytes());
    let (transport, answer) = answer(prologue.as_bytes(), key, ephemeral, message, &context)?;
    Ok((Sealed::new(transport), answer))
}

/// The same for another protocol over the same handshake, in which the answer says nothing.
pub fn respond_with(
    prologue: &[u8],
    key: &StaticKey,
    ephemeral: Drawn,
    message: &[u8],
) -> Result<(TransportState, [u8; HANDSHAKE_BYTES]), ChannelError> {
    answer(prologue, key, ephemeral, message, &[])
}

fn answer<const BYTES: usize>(
    prologue: &[u8],
    key: &StaticKey,
    ephemeral: Drawn,
    message: &[u8],
    said: &[u8],
) -> Result<(TransportState, [u8; BYTES]), ChannelError> {
    let builder = builder(prologue, ephemeral)?;
    let mut state = builder
        .local_private_key(&*key.secret)
        .and_then(Builder::build_responder)
        .map_err(failed)?;
    read::<HANDSHAKE_BYTES, 0>(&mut state, message)?;
    let answer = write(&mut state, said)?;
    let transport = state.into_transport_mode().map_err(failed)?;
    Ok((transport, answer))
}

fn builder<'a>(prologue: &'a [u8], ephemeral: Drawn) -> Result<Builder<'a>, ChannelError> {
    let protocol = PROTOCOL.parse().map_err(failed)?;
    let builder = Builder::with_resolver(protocol, Box::new(Resolver(ephemeral)));
    builder.prologue(prologue).map_err(failed)
}

fn write<const BYTES: usize>(
    state: &mut HandshakeState,
    said: &[u8],
) -> Result<[u8; BYTES], ChannelError> {
    let mut message = [0; BYTES];
    match state.write_message(said, &mut message) {
        Ok(written) if written == BYTES => Ok(message),
        _ => Err(ChannelError::Handshake),
    }
}

/// What a message of `BYTES` bytes says in `SAID` of them.
fn read<const BYTES: usize, const SAID: usize>(
    state: &mut HandshakeState,
    message: &[u8],
) -> Result<[u8; SAID], ChannelError> {
    if message.len() != BYTES {
        return Err(ChannelError::Handshake);
    }
    // Ciphertext is opened in place, tag and all.
    let mut opened = [0; ANSWER_BYTES];
    match state.read_message(message, &mut opened) {
        Ok(said) if said == SAID => Ok(core::array::from_fn(|i| opened[i])),
        _ => Err(ChannelError::Handshake),
    }
}

/// Whatever it was, the other end learns one thing: no.
fn failed(_: snow::Error) -> ChannelError {
    ChannelError::Handshake
}

/// The primitives of [`PROTOCOL`], with an ephemeral secret that was drawn before.
struct Resolver(Drawn);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<X25519>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::<ChaChaPoly>::default()),
            _ => None,
        }
    }
}

/// Gives out what was drawn once: a handshake has one ephemeral key at each end.
struct Once(Option<Drawn>);

impl Random for Once {
    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(drawn) if to.len() == drawn.len() => {
                to.copy_from_slice(&*drawn);
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}

/// X25519 (RFC 7748).
#[derive(Default)]
struct X25519 {
    secret: Drawn,
    public: [u8; KEY_BYTES],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        KEY_BYTES
    }

    fn set(&mut self, secret: &[u8]) {
        for (to, from) in self.secret.iter_mut().zip(secret) {
            *to = *from;
        }
        self.public = MontgomeryPoint::mul_base_clamped(*self.secret).to_bytes();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = Drawn::default();
        rng.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    /// All zero for a public key of low order, whatever the secret: refused (RFC 7748, section 6.1).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = public.first_chunk().ok_or(snow::Error::Dh)?;
        let out = out.first_chunk_mut().ok_or(snow::Error::Dh)?;
        let mut shared = MontgomeryPoint(*public).mul_clamped(*self.secret);
        *out = shared.to_bytes();
        shared.zeroize();
        match out.iter().fold(0, |any, byte| any | byte) {
            0 => Err(snow::Error::Dh),
            _ => Ok(()),
        }
    }
}

/// ChaCha20-Poly1305 (RFC 8439) with the nonce of section 12.3: 32 bits of zeros, then 64 bits
/// little-endian.
#[derive(Default)]
struct ChaChaPoly {
    key: Drawn,
}

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.key).into())
    }
}

fn nonce(n: u64) -> chacha20poly1305::Nonce {
    let mut nonce = chacha20poly1305::Nonce::default();
    nonce[4..].copy_from_slice(&n.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_BYTES]) {
        *self.key = *key;
    }

    fn encrypt(&self, n: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self
            .cipher()
            .encrypt_in_place_detached(&nonce(n), ad, text)
            .expect("a Noise message is far below 2^38 bytes");
        rest[..TAG_BYTES].copy_from_slice(&tag);
        plaintext.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        n: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (text, tag) = ciphertext
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(text);
        self.cipher()
            .decrypt_in_place_detached(&nonce(n), ad, out, tag.into())
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(out.len())
    }

    /// REKEY (section 4.2): the first 32 bytes of zeros under the last nonce.
    fn rekey(&mut self) {
        let mut sealed = Zeroizing::new([0; KEY_BYTES + TAG_BYTES]);
        self.encrypt(u64::MAX, &[], &[0; KEY_BYTES], &mut *sealed);
        self.key.copy_from_slice(&sealed[..KEY_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// snow looks before it asks, so nothing else would show that the cipher itself does not.
    #[test]
    fn what_is_shorter_than_a_tag_is_not_decrypted() {
        let cipher = ChaChaPoly::default();
        let mut sealed = [0; 5 + TAG_BYTES];
        assert_eq!(cipher.encrypt(3, &[], b"hello", &mut sealed), sealed.len());
        let mut out = [0; 5];
        for length in 0..sealed.len() {
            let opened = cipher.decrypt(3, &[], &sealed[..length], &mut out);
            assert!(opened.is_err(), "{length} bytes");
        }
        assert!(cipher.decrypt(3, &[], &sealed, &mut [0; 4]).is_err());
        assert_eq!(cipher.decrypt(3, &[], &sealed, &mut out).ok(), Some(5));
        assert_eq!(&out, b"hello");
    }
}
