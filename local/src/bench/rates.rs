//! Rates from the times at which tokens arrived.

use std::time::{Duration, Instant};

/// When a session was opened, how long its prompt was, and when each of its tokens arrived.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// Its prompt was handed over.
    pub opened: Instant,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Arrival of each generated token, in order.
    pub tokens: Vec<Instant>,
}

/// Tokens per second over all sessions of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// Prompt tokens per second, from the first session opened to the last session's first token.
    pub prefill: f64,
    /// Generated tokens per second while every session was decoding.
    pub decode: f64,
}

/// Rates of concurrent sessions; none if there was no time at which all of them were decoding.
///
/// Decoding is measured from the last session's first token to the first session's last token, so
/// that the batch is full all the while. Each session's rate is that of the intervals between its own
/// tokens in that time: tokens of one step arrive one after the other, and a count up to a moment
/// within such a burst would miss part of it.
pub(super) fn rates(sessions: &[Timeline]) -> Option<Rates> {
    let opened = sessions.iter().map(|s| s.opened).min()?;
    let begin = sessions.iter().map(|s| s.tokens.first().copied()).max()??;
    let end = sessions.iter().map(|s| s.tokens.last().copied()).min()??;
    let prompts: usize = sessions.iter().map(|s| s.prompt_tokens).sum();
    let decode: Option<f64> = sessions.iter().map(|s| decode_rate(s, begin, end)).sum();
    Some(Rates {
        prefill: per_second(prompts, begin.checked_duration_since(opened)?)?,
        decode: decode?,
    })
}

fn decode_rate(session: &Timeline, begin: Instant, end: Instant) -> Option<f64> {
    let mut during = session.tokens.iter().filter(|t| (begin..=end).contains(t));
    let first = during.next()?;
    let intervals = during.clone().count();
    per_second(intervals, during.next_back()?.duration_since(*first))
}

fn per_second(count: usize, time: Duration) -> Option<f64> {
    (count > 0 && !time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(start: Instant, opened: u64, prompt_tokens: usize, tokens: &[u64]) -> Timeline {
        let at = |ms: u64| start + Duration::from_millis(ms);
        let tokens = tokens.iter().map(|ms| at(*ms)).collect();
        Timeline {
            opened: at(opened),
            prompt_tokens,
            tokens,
        }
    }

    #[test]
    fn one_session() {
        let start = Instant::now();
        let found = rates(&[timeline(start, 0, 10, &[100, 150, 200])]).unwrap();
        assert!((found.prefill - 100.0).abs() < 1e-9);
        assert!((found.decode - 20.0).abs() < 1e-9);
    }

    #[test]
    fn decoding_counts_only_while_all_decode() {
        let start = Instant::now();
        let early = timeline(start, 0, 10, &[100, 200, 300, 400]);
        let late = timeline(start, 50, 10, &[200, 300, 400, 500]);
        let found = rates(&[early, late]).unwrap();
        // From 200 to 400 ms: two intervals of each.
        assert!((found.decode - 20.0).abs() < 1e-9);
        assert!((found.prefill - 100.0).abs() < 1e-9);
    }

    #[test]
    fn no_common_time_no_rate() {
        let start = Instant::now();
        let one = timeline(start, 0, 1, &[10, 20]);
        let other = timeline(start, 0, 1, &[30, 40]);
        assert_eq!(rates(&[one.clone(), other]), None);
        assert_eq!(rates(&[timeline(start, 0, 1, &[])]), None);
        assert_eq!(rates(&[]), None);
    }
}
