//! What GPU hosts of the real system saw of some prompts, and apart from it what the prompts were.
//!
//! ```text
//! DIR/capture.json      what anyone knows: masking, public parameters, where set-up ends and requests begin
//! DIR/host1/*.record    all that host 1 received (talaria-host-gpu, record)
//! DIR/host2/*.record    likewise, with two hosts
//! DIR/labels.json       the true tokens: read to score attacks, never by an attack
//! ```

mod files;
mod record;
mod run;

pub use files::{FORMAT, Facts, Label, Labels};
pub use record::{Capture, EMBEDDING, HostRecord, Send};
pub use run::{Ask, Plan, capture};
