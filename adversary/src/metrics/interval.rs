//! Rates with confidence intervals.

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF};

/// Chance that one interval misses the truth: small, as a report holds hundreds of them.
pub const SIGNIFICANCE: f64 = 1e-5;

/// Quantile of the standard normal for 95 %.
const Z_95: f64 = 1.959_964;

/// Successes in trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Successes.
    pub hits: usize,
    /// Trials.
    pub trials: usize,
    /// hits / trials; 0 without trials.
    pub rate: f64,
    /// 95 % confidence interval (Wilson, 1927).
    pub wilson: (f64, f64),
}

impl Rate {
    /// `hits` of `trials`.
    pub fn new(hits: usize, trials: usize) -> Self {
        Self {
            hits,
            trials,
            rate: hits as f64 / trials.max(1) as f64,
            wilson: wilson(hits, trials, Z_95),
        }
    }

    /// Counts what is true.
    pub fn of(trials: impl IntoIterator<Item = bool>) -> Self {
        let (mut hits, mut count) = (0, 0);
        for hit in trials {
            hits += usize::from(hit);
            count += 1;
        }
        Self::new(hits, count)
    }

    /// The exact interval (Clopper and Pearson, 1934) that misses the truth with at most [`SIGNIFICANCE`].
    pub fn exact(&self) -> (f64, f64) {
        self.missing_with(SIGNIFICANCE)
    }

    /// The exact interval that misses the truth with at most `miss`.
    pub fn missing_with(&self, miss: f64) -> (f64, f64) {
        clopper_pearson(self.hits, self.trials, miss)
    }

    /// Whether the trials agree with success at this rate.
    pub fn agrees_with(&self, rate: f64) -> bool {
        let (low, high) = self.exact();
        (low..=high).contains(&rate)
    }
}

fn wilson(hits: usize, trials: usize, z: f64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let scale = 1.0 / (1.0 + z * z / n);
    let centre = (p + z * z / (2.0 * n)) * scale;
    let half = z * scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

fn clopper_pearson(hits: usize, trials: usize, miss: f64) -> (f64, f64) {
    let (h, n) = (hits as f64, trials as f64);
    let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).ok().map(|beta| beta.inverse_cdf(q));
    let low = match hits {
        0 => None,
        _ => quantile(h, n - h + 1.0, miss / 2.0),
    };
    let high = match hits == trials {
        true => None,
        false => quantile(h + 1.0, n - h, 1.0 - miss / 2.0),
    };
    (low.unwrap_or(0.0), high.unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_intervals() {
        // Newcombe, 1998, table I: 81 of 263 and 0 of 20.
        let (low, high) = Rate::new(81, 263).wilson;
        assert!(
            (low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4,
            "{low} {high}"
        );
        let (low, high) = clopper_pearson(81, 263, 0.05);
        assert!(
            (low - 0.2527).abs() < 1e-4 && (high - 0.3676).abs() < 1e-4,
            "{low} {high}"
        );
        let (low, high) = clopper_pearson(0, 20, 0.05);
        assert!(low == 0.0 && (high - 0.1684).abs() < 1e-4, "{high}");
        assert_eq!(clopper_pearson(20, 20, 0.05).1, 1.0);
    }

    #[test]
    fn fair_and_unfair_coins() {
        assert!(Rate::new(510, 1000).agrees_with(0.5));
        assert!(!Rate::new(600, 1000).agrees_with(0.5));
        assert!(Rate::new(0, 0).agrees_with(0.3));
    }
}
