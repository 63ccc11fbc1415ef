//! What can go wrong, said so that the reader knows what to do. No message holds anything of a
//! prompt, a reply or a row.

use crate::link::LinkError;

/// Why a CVM did not start, or a session ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CvmError {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// A GPU host did not do its part.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The hosts do not serve the same model.
    #[error(
        "host {other} ({other_url}) serves another model than host 1 ({first_url}): \
         start both with the same --model and --weights"
    )]
    HostsDiffer {
        /// URL of host 1.
        first_url: String,
        /// Number of the other host, from 1.
        other: usize,
        /// URL of the other host.
        other_url: String,
    },
    /// What a host sent as manifest is none.
    #[error("host 1 ({url}) sent no valid manifest: {reason}")]
    Manifest {
        /// URL of the host.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Set-up ended with a refusal of the payload: wrong digest, inexact matrix, bad tokenizer.
    #[error("set-up refused: {0}")]
    Setup(String),
    /// The payload refused a request: empty prompt, token outside the vocabulary, too long.
    #[error("request refused: {0}")]
    Request(String),
    /// A GPU host did not answer in the middle of a step; its sessions ended.
    #[error("{0}")]
    Host(String),
    /// A GPU host lied. The CVM does nothing more.
    #[error(
        "a GPU host returned a product that failed the integrity check: \
         the CVM is quarantined; restart it with hosts that you trust to compute"
    )]
    Integrity,
    /// The payload gave up a step; its sessions ended.
    #[error("the payload failed: {0}")]
    Internal(String),
    /// The payload trapped.
    #[error("the payload trapped in {call}: {reason}")]
    Trap {
        /// Exported function.
        call: &'static str,
        /// wasmtime's name of the trap.
        reason: String,
    },
    /// The payload computed for longer than allowed.
    #[error("the payload computed for more than {seconds:.1} s in {call} and was stopped")]
    Deadline {
        /// Exported function.
        call: &'static str,
        /// The limit.
        seconds: f32,
    },
    /// The payload wanted more memory than allowed.
    #[error(
        "the payload needs more than its {limit_mib} MiB in {call}: \
         use fewer or shorter sessions, or a higher memory limit (at most 4096 MiB)"
    )]
    Memory {
        /// Exported function.
        call: &'static str,
        /// The limit.
        limit_mib: u64,
    },
    /// Masks do not fit the CVM's memory.
    #[error(
        "masking module-lwe with parameter set {parameters} needs {needed} of memory beside the payload, \
         {available} are available: {advice}"
    )]
    MaskMemory {
        /// Name of the parameter set.
        parameters: &'static str,
        /// What it needs.
        needed: crate::masks::MaskMemory,
        /// What there is.
        available: String,
        /// What to do.
        advice: String,
    },
    /// The CVM was shut down.
    #[error("the CVM was shut down")]
    Stopped,
}
