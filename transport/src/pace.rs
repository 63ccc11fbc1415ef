//! How slow a peer may be.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How long a peer may still be waited for. Waiting uses it up and bytes give it back, up to where it began: whoever
/// falls silent is given up, and so is whoever stays slower than the least rate, but nobody saves up time by having
/// been fast. What is not waited for the peer does not count.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    left: Duration,
    longest: Duration,
    least_rate: u64,
}

impl Pace {
    /// Silence of at most `longest`, and over times as long as that at least `least_rate` bytes a second.
    pub const fn new(longest: Duration, least_rate: u64) -> Self {
        Self {
            left: longest,
            longest,
            least_rate,
        }
    }

    /// Longest silence from now on.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// Whether nothing was used up: who is given up now was silent, not slow.
    pub fn is_unused(&self) -> bool {
        self.left == self.longest
    }

    /// So long was waited.
    pub fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// So many bytes came, or were taken.
    pub fn moved(&mut self, bytes: usize) {
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / self.least_rate.max(1);
        let left = self.left.saturating_add(Duration::from_nanos(nanoseconds));
        self.left = left.min(self.longest);
    }

    /// Waits for the peer; none if that is longer than may be.
    pub async fn wait<T>(&mut self, peer: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let done = timeout(self.left, peer).await;
        self.waited(begun.elapsed());
        done.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    /// Seconds until a peer that sends `bytes` every `pause` seconds is given up; at most 1000.
    fn given_up(pause: u64, bytes: usize) -> u64 {
        let mut pace = Pace::new(LONGEST, 1000);
        let pause = Duration::from_secs(pause);
        for passed in 1.. {
            if pace.left() < pause || passed > 1000 {
                return (passed - 1) * pause.as_secs() + pace.left().as_secs();
            }
            pace.waited(pause);
            pace.moved(bytes);
        }
        0
    }

    #[test]
    fn silence_and_slowness_end_and_speed_does_not() {
        assert_eq!(given_up(11, 1 << 30), 10);
        assert!((10..12).contains(&given_up(1, 1)));
        assert!((18..22).contains(&given_up(1, 500)));
        assert!(given_up(1, 1000) > 900);
        assert!(given_up(9, 9000) > 900);
    }

    #[test]
    fn nothing_is_saved_up() {
        let mut pace = Pace::new(LONGEST, 1000);
        pace.moved(usize::MAX);
        assert!(pace.is_unused() && pace.left() == LONGEST);
        pace.waited(Duration::MAX);
        assert_eq!(pace.left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_there_needs_no_time() {
        let mut pace = Pace::new(Duration::ZERO, 1);
        assert_eq!(pace.wait(async { 7 }).await, Some(7));
        let mut pace = Pace::new(Duration::from_millis(20), 1);
        assert_eq!(pace.wait(std::future::pending::<()>()).await, None);
        assert_eq!(pace.left(), Duration::ZERO);
    }
}
