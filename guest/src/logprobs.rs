//! How likely the sampled token was, and which tokens were the likeliest in its place.
//!
//! By the logits as the model made them, before bias, penalties and temperature:
//!
//! ```text
//! logprob(i) = l_i - m - ln(sum over j of e^(l_j - m)),  m the largest logit
//! ```
//!
//! in f64 with crate `libm`, summed in order of id and rounded once, so that it has the same bits natively and in
//! Wasm. A token that is (all but) impossible has the least f32 instead of -infinity, which JSON cannot say.
//!
//! Not constant-time in the logits: which of them are the largest shows in branches.

use talaria_wire::channel::message::{Logprobs, TokenLogprob};

/// `logits`: (vocab,), none of them NaN or +infinity, not all -infinity. `bytes` says what a token stands for.
pub fn logprobs(logits: &[f32], chosen: u32, top: u8, bytes: impl Fn(u32) -> Vec<u8>) -> Logprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |logit: f32| f64::from(logit) - f64::from(max);
    let total: f64 = logits.iter().map(|l| libm::exp(above(*l))).sum();
    let log_total = libm::log(total);
    let said = |id: u32, logit: f32| TokenLogprob {
        id,
        bytes: bytes(id),
        logprob: (above(logit) - log_total).max(f64::from(f32::MIN)) as f32,
    };
    let logit = logits.get(chosen as usize);
    Logprobs {
        chosen: said(chosen, logit.copied().unwrap_or(f32::NEG_INFINITY)),
        top: largest(logits, usize::from(top))
            .into_iter()
            .map(|(id, logit)| said(id, logit))
            .collect(),
    }
}

/// The `count` largest, largest first, the lowest id of equals.
fn largest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in (0..).zip(logits) {
        let full = top.len() == count;
        if full && top.last().is_none_or(|(_, least)| logit <= *least) {
            continue;
        }
        let at = top.partition_point(|(_, other)| *other >= logit);
        top.insert(at, (id, logit));
        top.truncate(count);
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Relative to the larger of 1 and the value: half an ulp of f32, and f64's rounding on top.
    const TOLERANCE: f64 = 6.1e-8;

    /// ln softmax with `std`'s functions.
    fn reference(logits: &[f32]) -> Vec<f64> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let above = |l: &f32| f64::from(*l) - f64::from(max);
        let total: f64 = logits.iter().map(|l| above(l).exp()).sum();
        logits.iter().map(|l| above(l) - total.ln()).collect()
    }

    /// Many of them equal.
    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![
            4 => (-6..6_i32).prop_map(|l| l as f32 * 0.5),
            8 => -30.0..30.0_f32,
            1 => Just(f32::NEG_INFINITY),
            1 => Just(-0.0),
        ];
        prop::collection::vec(logit, 1..60)
            .prop_filter("one to choose", |l| l.iter().any(|l| l.is_finite()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn are_those_of_a_plain_softmax(logits in logits(), chosen in any::<prop::sample::Index>()) {
            let chosen = chosen.index(logits.len()) as u32;
            let said = logprobs(&logits, chosen, u8::MAX, |id| vec![id as u8]);
            let expected = reference(&logits);
            prop_assert_eq!(said.top.len(), logits.len());
            for token in said.top.iter().chain([&said.chosen]) {
                let expected = expected[token.id as usize].max(f64::from(f32::MIN));
                let off = (f64::from(token.logprob) - expected).abs();
                prop_assert!(off <= TOLERANCE * expected.abs().max(1.0), "{} instead of {}", token.logprob, expected);
                prop_assert_eq!(&token.bytes, &[token.id as u8]);
            }
            let mass: f64 = said.top.iter().map(|token| f64::from(token.logprob).exp()).sum();
            prop_assert!((mass - 1.0).abs() < 1e-5, "{}", mass);
        }

        #[test]
        fn are_in_order_of_logit_then_id(logits in logits(), top in 0..70_u8) {
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|a, b| {
                let [a_logit, b_logit] = [a, b].map(|id| logits[*id as usize]);
                b_logit.partial_cmp(&a_logit).unwrap().then(a.cmp(b))
            });
            order.truncate(usize::from(top));
            let said = logprobs(&logits, 0, top, |_| vec![]);
            prop_assert_eq!(said.top.iter().map(|token| token.id).collect::<Vec<_>>(), order);
            prop_assert!(said.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        }
    }

    /// 1/2, 1/4 and two of 1/8, and one that cannot be.
    #[test]
    fn by_hand() {
        let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 4.0_f32.ln(), 0.0];
        let said = logprobs(&logits, 0, 3, |_| vec![]);
        let of = |p: f64| p.ln() as f32;
        assert_eq!((said.chosen.id, said.chosen.logprob), (0, of(0.125)));
        let top: Vec<_> = said.top.iter().map(|t| (t.id, t.logprob)).collect();
        assert_eq!(top, [(3, of(0.5)), (1, of(0.25)), (0, of(0.125))]);
        assert_eq!(logprobs(&logits, 2, 0, |_| vec![]).chosen.logprob, f32::MIN);
    }
}
