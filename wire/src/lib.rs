//! What the payload reads and says: the model [`manifest`] and its [`digest`], the [`shape`]s of products, the
//! [`channel`] between client and payload, and the [`receipt`]s that it can bring. All of it is compiled into the payload; what never enters it is
//! elsewhere (evidence, the service of GPU hosts). No policy; the keys of channels are its only secrets.

#![forbid(unsafe_code)]

pub mod channel;
pub mod digest;
pub mod manifest;
pub mod receipt;
pub mod shape;
