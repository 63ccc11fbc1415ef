//! What travels between machines: the model [`manifest`], its [`digest`], the gRPC service of a GPU
//! host (feature `grpc`) and the encrypted link that may carry it (feature `link`), what a CVM proves about itself
//! (feature `evidence`), and the channel between client and payload with the receipts that it can bring (feature
//! `channel`). No policy; the keys of channels and links are its only secrets.

#![forbid(unsafe_code)]

#[cfg(feature = "channel")]
pub mod channel;
pub mod digest;
#[cfg(feature = "evidence")]
pub mod evidence;
#[cfg(feature = "link")]
pub mod link;
pub mod manifest;
#[cfg(feature = "channel")]
pub mod receipt;

#[cfg(feature = "grpc")]
#[allow(
    missing_docs,
    reason = "generated from proto/weighted.proto, which documents every field"
)]
pub mod weighted {
    //! Generated from `proto/weighted.proto`.
    tonic::include_proto!("talaria.v1");
}
