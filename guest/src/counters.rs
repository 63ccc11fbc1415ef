//! What the payload counts.

/// Since set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls to the hosts.
    pub projections: u64,
    /// Rows in them.
    pub rows: u64,
    /// Responses that passed the check.
    pub checks: u64,
    /// Requests that became sessions.
    pub sessions: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Tokens of prompts that became sessions.
    pub prompt_tokens: u64,
    /// Tokens of replies.
    pub tokens: u64,
    /// Rows of prompts that were computed.
    pub prompt_rows: u64,
    /// Tokens of prompts that were not, as they began an earlier one.
    pub cached_tokens: u64,
    /// Sessions that gave their keys and values back for others, to be computed again.
    pub restarts: u64,
}
