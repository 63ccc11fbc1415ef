//! A connection on which evidence came and nothing was said.

use std::sync::Arc;

use futures_util::SinkExt;
use talaria_evidence::{Evidence, TdxCollateral};
use tokio_tungstenite::tungstenite::Message;

use super::error::Refused;
use super::socket::{self, Socket, within};
use super::{Address, HANDSHAKE_TIMEOUT, RemoteError, Session};
use crate::channel::{ConnectionError, Handshake};
use crate::policy::Policy;
use crate::time::UnixTime;
use crate::verify::snp::Root;
use crate::verify::{Appraisal, Nonce, Verified, Verifier};

/// What a user accepts.
#[derive(Clone, Debug)]
pub struct Trust {
    policy: Policy,
    collateral: Option<TdxCollateral>,
    accept_development: bool,
    roots: Option<Vec<Root>>,
}

impl Trust {
    /// What the policy allows.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            collateral: None,
            accept_development: false,
            roots: None,
        }
    }

    /// Verifies TDX quotes against this collateral, not against what comes with them.
    pub fn collateral(mut self, collateral: Option<TdxCollateral>) -> Self {
        self.collateral = collateral;
        self
    }

    /// Accepts evidence that no hardware vouches for.
    pub fn dangerous_accept_development_evidence(mut self, accept: bool) -> Self {
        self.accept_development = accept;
        self
    }

    /// Trusts these roots of SEV-SNP instead of AMD's.
    pub fn dangerous_roots(mut self, roots: Vec<Root>) -> Self {
        self.roots = Some(roots);
        self
    }

    /// A verifier of this trust.
    pub fn verifier(&self, now: UnixTime) -> Verifier<'_> {
        let mut verifier = Verifier::new(&self.policy, now)
            .dangerous_accept_development_evidence(self.accept_development);
        if let Some(collateral) = &self.collateral {
            verifier = verifier.collateral(collateral.clone());
        }
        match &self.roots {
            Some(roots) => verifier.dangerous_roots(roots.clone()),
            None => verifier,
        }
    }
}

/// A connection on which evidence came for a nonce of ours. Dropping it ends it.
pub struct Opened {
    socket: Socket,
    nonce: [u8; 32],
    evidence: Evidence,
}

impl Opened {
    /// Connects with a fresh nonce and takes the evidence, believing none of it.
    pub async fn open(address: &Address) -> Result<Self, RemoteError> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| ConnectionError::Entropy)?;
        let mut socket = socket::open(address, &nonce).await?;
        let evidence = socket::evidence(&mut socket).await?;
        Ok(Self {
            socket,
            nonce,
            evidence,
        })
    }

    /// What the other end claims to be.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the evidence was asked for with.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.nonce
    }

    /// Verifies the evidence, and that it was made for this connection.
    pub fn appraise(&self, trust: &Trust, now: UnixTime) -> Appraisal {
        let nonce = Nonce::Expected(&self.nonce);
        trust.verifier(now).verify(&self.evidence, nonce)
    }

    /// Verifies, and only then does the handshake.
    pub async fn enter(self, trust: &Trust, now: UnixTime) -> Result<Session, RemoteError> {
        let appraisal = self.appraise(trust, now);
        match appraisal.verified().cloned() {
            Some(verified) => self.shake_hands(verified).await,
            None => Err(RemoteError::Refused(Refused(Arc::new(appraisal)))),
        }
    }

    async fn shake_hands(mut self, verified: Verified) -> Result<Session, RemoteError> {
        let (handshake, hello) = Handshake::begin(&verified)?;
        let socket = &mut self.socket;
        let answer = within(HANDSHAKE_TIMEOUT, "the answer to the handshake", async {
            let hello = Message::binary(hello.to_vec());
            let sent = socket.send(hello).await;
            sent.map_err(|error| RemoteError::CutOff(error.to_string()))?;
            socket::frame(socket).await
        });
        let mut connection = handshake.finish(&answer.await??)?;
        for frame in connection.ready()? {
            let sent = self.socket.send(Message::binary(frame)).await;
            sent.map_err(|error| RemoteError::CutOff(error.to_string()))?;
        }
        Ok(Session::begin(
            self.socket,
            connection,
            verified,
            self.evidence,
        ))
    }
}
