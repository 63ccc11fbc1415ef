//! The CVM host.
