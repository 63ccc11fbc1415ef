//! How many rows of prompts a step may have beside replies under way: as many as make it about [`SLOWER`] times as long.
//! The payload has no clock; this is all that it is told of time.

use std::time::Duration;

/// A step with rows of prompts in it, in steps of replies alone: replies wait so long for their next tokens.
const SLOWER: f64 = 2.5;

/// Rows of prompts before anything is known.
const FIRST: u32 = 32;

/// Most rows that are worth telling of.
const MOST: u32 = 1 << 16;

/// Weight of the last step in the mean.
const LAST: f64 = 0.25;

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Anything.
    pub any: bool,
    /// Tokens of replies.
    pub tokens: u64,
    /// Rows of prompts.
    pub prompt_rows: u64,
}

/// Watches steps.
pub(super) struct Pace {
    /// Seconds of a step without rows of prompts.
    alone: Option<f64>,
    rows: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            alone: None,
            rows: FIRST,
        }
    }
}

impl Pace {
    /// Rows of prompts of the next step.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// A step took so long.
    pub(super) fn observe(&mut self, step: Duration, did: Progress) {
        let seconds = step.as_secs_f64();
        match (did.tokens, did.prompt_rows, self.alone) {
            (0, _, _) | (_, 1.., None) => {}
            (_, 0, before) => {
                let before = before.unwrap_or(seconds);
                self.alone = Some(before + LAST * (seconds - before));
            }
            (_, rows, Some(alone)) => self.adapt(seconds, alone, rows),
        }
    }

    /// What rows of prompts added is proportional to their number.
    fn adapt(&mut self, seconds: f64, alone: f64, rows: u64) {
        let added = (seconds - alone).max(alone / 100.0);
        let possible = rows as f64 * (SLOWER - 1.0) * alone / added;
        let possible = (possible as u32).clamp(1, MOST);
        // Fast down, for somebody waits; up by halves, for a step may have been fast by chance.
        self.rows = match possible < self.rows {
            true => possible,
            false => possible.min(self.rows + self.rows / 2 + 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 10 ms and 2 ms a row of prompts.
    fn step(pace: &Pace, replies: u64) -> (Duration, Progress) {
        let rows = u64::from(pace.rows());
        let did = Progress {
            any: true,
            tokens: replies,
            prompt_rows: rows,
        };
        (Duration::from_millis(10 + 2 * rows), did)
    }

    #[test]
    fn replies_are_slowed_down_by_the_factor_that_is_stated() {
        let mut pace = Pace::default();
        let alone = Progress {
            any: true,
            tokens: 1,
            prompt_rows: 0,
        };
        // Nothing to compare with yet.
        let (took, did) = step(&pace, 1);
        pace.observe(took, did);
        assert_eq!(pace.rows(), FIRST);
        pace.observe(Duration::from_millis(10), alone);
        let (took, did) = step(&pace, 1);
        pace.observe(took, did);
        assert_eq!(pace.rows(), 7);
        for _ in 0..9 {
            let (took, did) = step(&pace, 1);
            pace.observe(took, did);
            assert_eq!(pace.rows(), 7);
        }
        // A slower step alone leaves more room for prompts, little by little.
        for _ in 0..40 {
            pace.observe(Duration::from_millis(100), alone);
        }
        pace.observe(
            Duration::from_millis(114),
            Progress {
                prompt_rows: 7,
                ..alone
            },
        );
        assert_eq!(pace.rows(), 11);
    }

    #[test]
    fn at_least_one_row_and_no_more_than_can_be_told() {
        let mut pace = Pace::default();
        let did = Progress {
            any: true,
            tokens: 1,
            prompt_rows: 0,
        };
        pace.observe(Duration::from_millis(1), did);
        let prompts = Progress {
            prompt_rows: 32,
            ..did
        };
        pace.observe(Duration::from_secs(60), prompts);
        assert_eq!(pace.rows(), 1);
        for _ in 0..100 {
            pace.observe(Duration::ZERO, prompts);
        }
        assert!(pace.rows() <= MOST);
    }
}
