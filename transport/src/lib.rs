//! What travels between a CVM and its GPU hosts: the gRPC service ([`weighted`]) and the encrypted [`link`] that may
//! carry it, and how slow a peer may be ([`pace`]). Nothing of this enters the payload, which hands over rows that are masked already.

#![forbid(unsafe_code)]

pub mod link;
pub mod pace;

#[allow(
    missing_docs,
    reason = "generated from proto/weighted.proto, which documents every field"
)]
pub mod weighted {
    //! Generated from `proto/weighted.proto`.
    tonic::include_proto!("talaria.v1");
}
