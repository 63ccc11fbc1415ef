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
}
