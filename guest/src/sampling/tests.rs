use super::*;
use proptest::prelude::*;

const FRESH: u64 = 7;
const VOCAB: u32 = 1 << 20;

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(sampling, FRESH, &[], VOCAB).unwrap()
}

/// Temperature 1, all filters off.
fn plain() -> Sampling {
    Sampling {
        temperature: 1.0,
        ..Sampling::default()
    }
}

/// Logits with many ties, some of them -infinity.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![8 => (-6..6_i32).prop_map(|l| l as f32 * 0.5), 8 => -9.0..9.0_f32, 1 => Just(f32::NEG_INFINITY)];
    prop::collection::vec(logit, 1..60)
        .prop_filter("one to choose", |l| l.iter().any(|l| l.is_finite()))
}

/// What may be drawn with which probability, straight from the definitions with full sorts.
fn reference(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
    let scaled = logits
        .iter()
        .map(|&l| f64::from(l) / f64::from(sampling.temperature));
    let mut kept: Vec<(usize, f64)> = scaled.enumerate().collect();
    kept.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 && (sampling.top_k as usize) < kept.len() {
        let least = logits[kept[sampling.top_k as usize - 1].0];
        kept.retain(|&(id, _)| logits[id] >= least);
    }
    let best = kept[0].1;
    let normaliser: f64 = kept.iter().map(|&(_, l)| (l - best).exp()).sum();
    let mut kept: Vec<(usize, f64)> = kept
        .into_iter()
        .map(|(id, l)| (id, (l - best).exp() / normaliser))
        .collect();
    if sampling.top_p < 1.0 {
        let mut before = 0.0;
        kept.retain(|&(_, p)| {
            let keep = before < f64::from(sampling.top_p);
            before += p;
            keep
        });
    }
    let least = f64::from(sampling.min_p) * kept[0].1;
    kept.retain(|&(_, p)| p >= least);
    let left: f64 = kept.iter().map(|&(_, p)| p).sum();
    let mut probabilities = vec![0.0; logits.len()];
    kept.iter()
        .for_each(|&(id, p)| probabilities[id] = p / left);
    probabilities
}

/// Whether a filter decides by less than rounding: then reference and sampler may differ.
fn on_the_edge(logits: &[f32], sampling: &Sampling) -> bool {
    let nudged = |factor: f32| {
        let sampling = Sampling {
            top_p: (sampling.top_p * factor).min(1.0),
            min_p: sampling.min_p * factor,
            ..sampling.clone()
        };
        reference(logits, &sampling)
            .iter()
            .map(|&p| p > 0.0)
            .collect::<Vec<_>>()
    };
    nudged(1.0 - 1e-5) != nudged(1.0 + 1e-5)
}

/// The tokens that can be drawn, with the weight of each.
fn drawable(logits: &[f32], sampling: &Sampling) -> Vec<Candidate> {
    let max = logits[argmax(logits).unwrap() as usize];
    sampler(sampling.clone()).candidates(logits, max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn filters_keep_what_the_definitions_keep(
        logits in logits(),
        temperature in 0.05..3.0_f32,
        top_k in prop_oneof![Just(0), 1..70_u32],
        top_p in prop_oneof![Just(1.0), 0.01..1.0_f32],
        min_p in prop_oneof![Just(0.0), 0.0..1.0_f32],
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, ..plain() };
        prop_assume!(!on_the_edge(&logits, &sampling));
        let kept = drawable(&logits, &sampling);
        let sum = total(&kept);
        let mut probabilities = vec![0.0; logits.len()];
        kept.iter().for_each(|c| probabilities[c.id as usize] = f64::from(c.weight) / sum);
        for (p, expected) in probabilities.iter().zip(reference(&logits, &sampling)) {
            prop_assert!((p - expected).abs() < 1e-5, "{} instead of {}", p, expected);
        }
        prop_assert!(kept.is_sorted_by_key(|c| c.id));
    }

    #[test]
    fn greedy_is_the_largest_logit_with_the_lowest_id(logits in logits(), seed in any::<u64>()) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let first = logits.iter().position(|&l| l == max).unwrap() as u32;
        let greedy = Sampling { seed: Some(seed), top_k: 3, ..Sampling::default() };
        prop_assert_eq!(sampler(greedy).sample(&mut logits.clone()).unwrap(), first);
        // The same as ever smaller temperatures, but for ties.
        let cold = Sampling { temperature: f32::MIN_POSITIVE, top_k: 1, ..plain() };
        let id = sampler(cold).sample(&mut logits.clone()).unwrap();
        prop_assert_eq!(logits[id as usize], max);
    }

    #[test]
    fn a_seed_decides_the_tokens(logits in logits(), seed in any::<u64>(), fresh in any::<u64>()) {
        let run = |seed, fresh| {
            let mut sampler = Sampler::new(Sampling { seed, ..plain() }, fresh, &[], VOCAB).unwrap();
            (0..20).map(|_| sampler.sample(&mut logits.clone()).unwrap()).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(Some(seed), fresh), run(Some(seed), FRESH));
        prop_assert_eq!(run(None, fresh), run(Some(fresh), FRESH));
    }

    #[test]
    fn penalties_touch_only_what_was_seen(logits in logits(), prompt in prop::collection::vec(0..80_u32, 0..9)) {
        let sampling = Sampling { repetition_penalty: 1.3, presence_penalty: 0.5, ..Sampling::default() };
        let mut changed = logits.clone();
        Sampler::new(sampling, FRESH, &prompt, VOCAB).unwrap().sample(&mut changed).unwrap();
        for (id, (&before, &after)) in logits.iter().zip(&changed).enumerate() {
            let seen = prompt.contains(&(id as u32));
            let expected = if before > 0.0 { before / 1.3 } else { before * 1.3 };
            prop_assert_eq!(after, if seen { expected } else { before });
        }
    }
}

/// Worked by hand: token 0 is in the prompt, 1 in prompt and output, 2 twice in the output.
#[test]
fn penalties_by_hand() {
    let sampling = Sampling {
        repetition_penalty: 2.0,
        presence_penalty: 0.25,
        frequency_penalty: 0.5,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(sampling, FRESH, &[0, 1, 1, 99], VOCAB).unwrap();
    let one_hot = |id: usize| {
        let mut logits = [-60.0; 4];
        logits[id] = 60.0;
        logits
    };
    for id in [1, 2, 2] {
        assert_eq!(sampler.sample(&mut one_hot(id)).unwrap(), id as u32);
    }
    let mut logits = [4.0, 4.0, -1.0, 3.5];
    assert_eq!(sampler.sample(&mut logits).unwrap(), 3);
    // 0: 4/2. 1: 4/2 - 0.5 - 0.25. 2: -1*2 - 2*0.5 - 0.25. 3: as it was.
    assert_eq!(logits, [2.0, 1.25, -3.25, 3.5]);
    let mut logits = [4.0, 4.0, -1.0, 3.5];
    assert_eq!(sampler.sample(&mut logits).unwrap(), 0);
    // 3 is in the output now: 3.5/2 - 0.5 - 0.25.
    assert_eq!(logits, [2.0, 1.25, -3.25, 1.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    /// Bias is what a model with other logits would do, and comes before everything else.
    #[test]
    fn bias_is_added_before_all_else(
        logits in logits(),
        biases in prop::collection::btree_map(0..70_u32, -100.0..100.0_f32, 0..9),
        seed in any::<u64>(),
    ) {
        let sampling = Sampling { repetition_penalty: 1.3, presence_penalty: 0.5, top_p: 0.9, seed: Some(seed), ..plain() };
        let logit_bias: Vec<_> = biases.into_iter().collect();
        let mut other = logits.clone();
        for (id, bias) in &logit_bias {
            if let Some(logit) = other.get_mut(*id as usize) {
                *logit += bias;
            }
        }
        let run = |sampling, logits: &[f32]| {
            let mut sampler = Sampler::new(sampling, FRESH, &[1, 2], VOCAB).unwrap();
            (0..9).map(|_| sampler.sample(&mut logits.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(Sampling { logit_bias, ..sampling.clone() }, &logits), run(sampling, &other));
    }
}

/// Chi-square of 200,000 draws against the exact probabilities, at significance 1e-6; and, so that the
/// test is known to see a difference, against slightly wrong ones.
#[test]
fn draws_follow_the_distribution() {
    let logits: Vec<f32> = (0..40).map(|i| ((i * 17) % 40) as f32 * 0.11).collect();
    for sampling in [
        plain(),
        Sampling {
            temperature: 0.7,
            ..plain()
        },
        Sampling {
            top_k: 12,
            ..plain()
        },
        Sampling {
            top_p: 0.8,
            ..plain()
        },
        Sampling {
            min_p: 0.2,
            ..plain()
        },
        Sampling {
            temperature: 1.5,
            top_k: 20,
            top_p: 0.9,
            min_p: 0.1,
            ..plain()
        },
    ] {
        let counts = draw_counts(&logits, &sampling, 200_000);
        let expected = reference(&logits, &sampling);
        let (statistic, bound) = chi_square(&counts, &expected);
        assert!(statistic < bound, "{sampling:?}: {statistic} >= {bound}");
        let warmer = Sampling {
            temperature: sampling.temperature * 1.05,
            ..sampling.clone()
        };
        let (statistic, bound) = chi_square(&counts, &reference(&logits, &warmer));
        assert!(
            statistic > bound,
            "{sampling:?}: 5 % in temperature went unseen"
        );
    }
}

fn draw_counts(logits: &[f32], sampling: &Sampling, draws: u32) -> Vec<u32> {
    let mut counts = vec![0; logits.len()];
    let mut sampler = sampler(sampling.clone());
    for _ in 0..draws {
        counts[sampler.sample(&mut logits.to_vec()).unwrap() as usize] += 1;
    }
    counts
}

/// The statistic, infinite if the impossible was drawn, and its quantile at 1 - 1e-6
/// by Wilson and Hilferty's approximation.
fn chi_square(counts: &[u32], probabilities: &[f64]) -> (f64, f64) {
    let draws: f64 = counts.iter().map(|&c| f64::from(c)).sum();
    let term = |(&count, &p): (&u32, &f64)| match (count, p > 0.0) {
        (0, false) => 0.0,
        (_, false) => f64::INFINITY,
        (_, true) => (f64::from(count) - draws * p).powi(2) / (draws * p),
    };
    let statistic = counts.iter().zip(probabilities).map(term).sum();
    let freedom = probabilities.iter().filter(|&&p| p > 0.0).count() as f64 - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    (
        statistic,
        freedom * (1.0 - spread + 4.7534 * spread.sqrt()).powi(3),
    )
}

/// The size of a real vocabulary, with tens of thousands of equal logits.
#[test]
fn a_large_vocabulary_is_filtered_as_defined() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let logits: Vec<f32> = (0..150_000)
        .map(|_| (rng.next_u32() >> 20) as f32 / 600.0)
        .collect();
    for (top_k, top_p) in [(0, 0.05), (0, 0.5), (0, 0.999), (5000, 0.9), (50, 0.9)] {
        let sampling = Sampling {
            top_k,
            top_p,
            ..plain()
        };
        let expected = reference(&logits, &sampling);
        let kept: Vec<u32> = drawable(&logits, &sampling).iter().map(|c| c.id).collect();
        let defined: Vec<u32> = (0..150_000)
            .filter(|&id| expected[id as usize] > 0.0)
            .collect();
        assert_eq!(kept, defined, "top-k {top_k}, top-p {top_p}");
    }
}

/// Expected values by an independent program: hashlib, and ChaCha20 after RFC 8439.
#[test]
fn user_seeds_give_pinned_tokens() {
    let seeds = [
        seed_from_user(0),
        seed_from_user(1),
        seed_from_user(1 << 32),
    ];
    assert_eq!(
        hex(&seeds[0]),
        "958c9145221f7d3f02546ce5cb98615f04159e993cf4fc395e11279b40066a44"
    );
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2]);
    let mut sampler = sampler(Sampling {
        seed: Some(42),
        ..plain()
    });
    let logits: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 * 0.5).collect();
    let ids: Vec<u32> = (0..8)
        .map(|_| sampler.sample(&mut logits.clone()).unwrap())
        .collect();
    assert_eq!(ids, [545, 123, 363, 643, 818, 466, 830, 804]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn what_is_no_logit_is_an_error() {
    let errors = |logits: &[f32]| {
        let with = |sampling| sampler(sampling).sample(&mut logits.to_vec()).unwrap_err();
        let (greedy, drawn) = (with(Sampling::default()), with(plain()));
        assert_eq!(greedy, drawn);
        greedy
    };
    assert_eq!(errors(&[1.0, f32::NAN, 2.0]), SamplingError::NotALogit);
    assert_eq!(errors(&[f32::NAN]), SamplingError::NotALogit);
    assert_eq!(errors(&[1.0, f32::INFINITY]), SamplingError::NotALogit);
    assert_eq!(errors(&[f32::NEG_INFINITY; 3]), SamplingError::NoCandidate);
    assert_eq!(errors(&[]), SamplingError::NoCandidate);
}

#[test]
fn top_p_zero_takes_the_likeliest() {
    // So hot that every weight is the same: a nucleus would begin at token 0.
    for temperature in [0.01, 1.0, 1e30] {
        let sampling = Sampling {
            temperature,
            top_p: 0.0,
            ..plain()
        };
        let mut logits = [0.1, 3.0, -2.0, 3.0, 2.9];
        assert_eq!(sampler(sampling).sample(&mut logits).unwrap(), 1);
    }
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let nan = f32::NAN;
    let default = Sampling::default;
    let cases = [
        (
            "temperature",
            Sampling {
                temperature: -0.1,
                ..default()
            },
        ),
        (
            "temperature",
            Sampling {
                temperature: nan,
                ..default()
            },
        ),
        (
            "temperature",
            Sampling {
                temperature: f32::INFINITY,
                ..default()
            },
        ),
        (
            "top_p",
            Sampling {
                top_p: -0.01,
                ..default()
            },
        ),
        (
            "top_p",
            Sampling {
                top_p: 1.01,
                ..default()
            },
        ),
        (
            "min_p",
            Sampling {
                min_p: -0.01,
                ..default()
            },
        ),
        (
            "min_p",
            Sampling {
                min_p: nan,
                ..default()
            },
        ),
        (
            "repetition_penalty",
            Sampling {
                repetition_penalty: 0.0,
                ..default()
            },
        ),
        (
            "presence_penalty",
            Sampling {
                presence_penalty: 2.5,
                ..default()
            },
        ),
        (
            "frequency_penalty",
            Sampling {
                frequency_penalty: -2.5,
                ..default()
            },
        ),
    ];
    for (expected, sampling) in cases {
        let refused = Sampler::new(sampling, FRESH, &[], VOCAB)
            .err()
            .expect(expected);
        assert!(
            matches!(refused, SamplingError::OutOfRange { name, .. } if name == expected),
            "{refused}"
        );
    }
    let refused = |logit_bias: &[(u32, f32)]| {
        let sampling = Sampling {
            logit_bias: logit_bias.to_vec(),
            ..default()
        };
        let refused = validate(&sampling, 40);
        refused.map_err(|e| e.to_string())
    };
    for (logit_bias, expected) in [
        (
            &[(0, 1.0), (40, 1.0)][..],
            "logit_bias of token id 40, which is outside the vocabulary of 40",
        ),
        (
            &[(3, nan)],
            "logit_bias of token id 3 is NaN, expected from -100 to 100",
        ),
        (
            &[(3, f32::NEG_INFINITY)],
            "logit_bias of token id 3 is -inf, expected from -100 to 100",
        ),
        (
            &[(3, 100.5)],
            "logit_bias of token id 3 is 100.5, expected from -100 to 100",
        ),
        (
            &[(3, 1.0), (4, 1.0), (3, 1.0)],
            "logit_bias has token id 3 twice: give one bias for each token",
        ),
        (
            &[(0, 0.0); MAX_LOGIT_BIAS + 1],
            "logit_bias has 1025 tokens, at most 1024 are possible: leave some out",
        ),
    ] {
        assert_eq!(refused(logit_bias), Err(expected.into()));
    }
    assert_eq!(refused(&[(0, 100.0), (39, -100.0)]), Ok(()));
    let all = Sampling {
        temperature: 2.0,
        top_k: u32::MAX,
        top_p: 1e-6,
        min_p: 1.0,
        presence_penalty: -2.0,
        ..default()
    };
    assert!(validate(&all, VOCAB).is_ok() && validate(&default(), VOCAB).is_ok());
}
