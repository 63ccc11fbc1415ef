//! Guesses against labels.
//!
//! Chance of a token attack is the rate at which its guesses would hit if they were dealt to rows at random,
//! `sum_t guessed(t) true(t)`: an attack that always says the likeliest token is as good as that token is frequent,
//! and that is no leak. Beside it stand 1/V, the most frequent token's rate and what guessing from unigram frequencies
//! would hit.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::Serialize;

use super::interval::Rate;
use super::rouge::rouge_l;
use crate::attacks::{Finding, Found};

/// The true tokens, which no attack is given.
pub struct Truth {
    /// Token of each row, in the order of rows.
    pub tokens: Vec<u32>,
    /// Rows of each request.
    pub requests: Vec<Request>,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
}

/// Rows of a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Rows.
    pub rows: Range<usize>,
    /// Those of the prompt, the first of them.
    pub prompt: Range<usize>,
    /// Whether the attacker sent it and knows it.
    pub own: bool,
}

/// An attack on a view, scored.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the attack.
    pub attack: &'static str,
    /// Scheme and host, or the simulated baseline.
    pub scheme: String,
    /// Which rows it looked at.
    pub place: String,
    /// Their layer, if they have one.
    pub layer: Option<u32>,
    /// What was found.
    pub measure: Measure,
    /// How it compares with chance.
    pub verdict: Verdict,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Tokens row by row.
    Tokens(Box<Tokens>),
    /// The tokens of each pass, in no order.
    Bags {
        /// Distinct tokens of the passes that were found.
        recall: Rate,
        /// Tokens named that were right.
        precision: Rate,
        /// Recall against the bags of other passes.
        chance: f64,
    },
    /// A game of two sides.
    Game {
        /// Trials won.
        won: Rate,
        /// `2 * rate - 1`.
        advantage: f64,
        /// Of the advantage, exact, missing the truth with at most [`SIGNIFICANCE`](super::SIGNIFICANCE).
        interval: (f64, f64),
    },
    /// A number that uniform residues keep below a bound.
    Statistic {
        /// What it is.
        what: String,
        /// What was found.
        value: f64,
        /// What chance exceeds with less than 1e-6.
        bound: f64,
    },
    /// Something that was recovered, rows or lengths, in a number of cases.
    Recovered {
        /// What it is.
        what: String,
        /// Cases.
        rate: Rate,
        /// What guessing would reach.
        chance: f64,
    },
}

/// Rates of a token attack.
#[derive(Clone, Debug, Serialize)]
pub struct Tokens {
    /// Rows with the right token.
    pub top1: Rate,
    /// Windows of four successive rows, all right.
    pub ordered: Rate,
    /// Prompts, all of whose rows were tried, that were right throughout.
    pub exact_prompts: Rate,
    /// Mean over requests.
    pub rouge_l: f64,
    /// What these guesses hit when dealt at random.
    pub chance: f64,
    /// One over the size of the vocabulary.
    pub uniform: f64,
    /// Rate of the most frequent of the true tokens.
    pub most_frequent: f64,
    /// What guessing by unigram frequencies hits.
    pub unigram: f64,
}

/// How an outcome compares with chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// 95 % or more.
    Recovered,
    /// More than chance.
    Leaks,
    /// Not to be told from chance.
    AtChance,
}

/// Successes that count as everything.
const EVERYTHING: f64 = 0.95;
/// Rows in a window of [`Tokens::ordered`].
const WINDOW: usize = 4;

impl Outcome {
    /// Scores a finding on a view of `scheme`.
    pub fn new(scheme: &str, finding: Finding, truth: &Truth) -> Self {
        let (measure, verdict) = match finding.found {
            Found::Tokens(guesses) => tokens(&guesses, truth),
            Found::Bags(bags) => score_bags(&bags, truth),
            Found::Game(won) => game(won),
            Found::Sides(guesses) => game(Rate::of(sides(&guesses, truth))),
            Found::Lengths(lengths) => score_lengths(&lengths, truth),
            Found::Statistic { what, value, bound } => {
                let verdict = match value.abs() > bound {
                    true => Verdict::Leaks,
                    false => Verdict::AtChance,
                };
                (Measure::Statistic { what, value, bound }, verdict)
            }
            Found::Recovered { what, rate, chance } => {
                let verdict = verdict(rate, chance);
                (Measure::Recovered { what, rate, chance }, verdict)
            }
        };
        Self {
            attack: finding.attack,
            scheme: scheme.into(),
            place: finding.place,
            layer: finding.layer,
            measure,
            verdict,
        }
    }

    /// The share that was recovered: top-1 rate, recall, advantage; none for statistics.
    pub fn recovery(&self) -> Option<f64> {
        match &self.measure {
            Measure::Tokens(tokens) => Some(tokens.top1.rate),
            Measure::Bags { recall, .. } => Some(recall.rate),
            Measure::Game { advantage, .. } => Some(*advantage),
            Measure::Recovered { rate, .. } => Some(rate.rate),
            Measure::Statistic { .. } => None,
        }
    }

    /// For comparing outcomes: what was recovered beyond chance, or a statistic against its bound.
    pub fn strength(&self) -> f64 {
        match &self.measure {
            Measure::Tokens(tokens) => tokens.top1.rate - tokens.chance,
            Measure::Bags { recall, chance, .. } => recall.rate - chance,
            Measure::Recovered { rate, chance, .. } => rate.rate - chance,
            Measure::Game { advantage, .. } => *advantage,
            Measure::Statistic { value, bound, .. } => value.abs() / bound,
        }
    }

    /// Whether it is about tokens, and not a game or a statistic.
    pub fn is_about_tokens(&self) -> bool {
        matches!(self.measure, Measure::Tokens(_) | Measure::Bags { .. })
    }
}

/// Which guesses about requests of others were right.
fn sides<'t>(guesses: &'t [(usize, u32)], truth: &'t Truth) -> impl Iterator<Item = bool> + 't {
    let others = |row: usize| {
        truth
            .requests
            .iter()
            .any(|r| !r.own && r.rows.contains(&row))
    };
    let of_others = guesses.iter().filter(move |(row, _)| others(*row));
    of_others.map(|(row, token)| truth.tokens[*row] == *token)
}

fn score_lengths(lengths: &[(usize, usize)], truth: &Truth) -> (Measure, Verdict) {
    let right = |request: &Request| {
        (
            request.prompt.len(),
            request.rows.len() + 1 - request.prompt.len(),
        )
    };
    let pairs = truth
        .requests
        .iter()
        .zip(lengths)
        .filter(|(request, _)| !request.own);
    let rate = Rate::of(
        pairs
            .clone()
            .map(|(request, found)| right(request) == *found),
    );
    let prompts = count(pairs.map(|(request, _)| request.prompt.len() as u32));
    let most = prompts.values().max().copied().unwrap_or(0);
    let chance = most as f64 / rate.trials.max(1) as f64;
    let what = "lengths of prompt and reply".to_owned();
    (
        Measure::Recovered { what, rate, chance },
        verdict(rate, chance),
    )
}

fn verdict(rate: Rate, chance: f64) -> Verdict {
    if rate.exact().0 <= chance {
        Verdict::AtChance
    } else if rate.rate >= EVERYTHING {
        Verdict::Recovered
    } else {
        Verdict::Leaks
    }
}

fn game(won: Rate) -> (Measure, Verdict) {
    let (low, high) = won.exact();
    let verdict = match won.agrees_with(0.5) {
        true => Verdict::AtChance,
        // An advantage of 0.95 is 97.5 % of trials.
        false if 2.0 * won.rate - 1.0 >= EVERYTHING => Verdict::Recovered,
        false => Verdict::Leaks,
    };
    let measure = Measure::Game {
        advantage: 2.0 * won.rate - 1.0,
        interval: (2.0 * low - 1.0, 2.0 * high - 1.0),
        won,
    };
    (measure, verdict)
}

fn tokens(guesses: &[(usize, Option<u32>)], truth: &Truth) -> (Measure, Verdict) {
    let guessed: HashMap<usize, Option<u32>> = guesses.iter().copied().collect();
    let victims = || truth.requests.iter().filter(|request| !request.own);
    let right = |row: usize| guessed.get(&row).map(|g| *g == Some(truth.tokens[row]));
    let rows: Vec<usize> = victims().flat_map(|request| request.rows.clone()).collect();
    let tried: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|row| guessed.contains_key(row))
        .collect();

    let top1 = Rate::of(tried.iter().filter_map(|row| right(*row)));
    let windows = victims().flat_map(|request| {
        let last = request.rows.end.saturating_sub(WINDOW - 1);
        request.rows.start..last.max(request.rows.start)
    });
    let ordered = Rate::of(windows.filter_map(|first| {
        let all: Option<Vec<bool>> = (first..first + WINDOW).map(right).collect();
        Some(all?.into_iter().all(|right| right))
    }));
    let exact_prompts = Rate::of(victims().filter_map(|request| {
        let all: Option<Vec<bool>> = request.prompt.clone().map(right).collect();
        Some(all?.into_iter().all(|right| right))
    }));
    let rouges: Vec<f64> = victims()
        .filter_map(|request| {
            let tried: Vec<usize> = request
                .rows
                .clone()
                .filter(|row| guessed.contains_key(row))
                .collect();
            let guess: Vec<Option<u32>> = tried.iter().map(|row| guessed[row]).collect();
            let right: Vec<u32> = tried.iter().map(|row| truth.tokens[*row]).collect();
            (!tried.is_empty()).then(|| rouge_l(&guess, &right))
        })
        .collect();

    let counts = count(tried.iter().map(|row| truth.tokens[*row]));
    let share = |token: u32| {
        counts
            .get(&token)
            .map_or(0.0, |n| *n as f64 / tried.len() as f64)
    };
    let chance = mean(tried.iter().map(|row| guessed[row].map_or(0.0, share)));
    let tokens = Tokens {
        ordered,
        exact_prompts,
        rouge_l: mean(rouges),
        chance,
        uniform: 1.0 / truth.vocab_size as f64,
        most_frequent: counts.keys().map(|t| share(*t)).fold(0.0, f64::max),
        unigram: counts.keys().map(|t| share(*t).powi(2)).sum(),
        top1,
    };
    let verdict = verdict(top1, chance);
    (Measure::Tokens(Box::new(tokens)), verdict)
}

fn score_bags(bags: &[(Range<usize>, Vec<u32>)], truth: &Truth) -> (Measure, Verdict) {
    let right: Vec<HashSet<u32>> = bags
        .iter()
        .map(|(rows, _)| rows.clone().map(|row| truth.tokens[row]).collect())
        .collect();
    let named: Vec<HashSet<u32>> = bags
        .iter()
        .map(|(_, bag)| bag.iter().copied().collect())
        .collect();
    let pairs = || right.iter().zip(&named);
    let recall =
        Rate::of(pairs().flat_map(|(right, bag)| right.iter().map(|token| bag.contains(token))));
    let precision =
        Rate::of(pairs().flat_map(|(right, bag)| bag.iter().map(|token| right.contains(token))));
    // Every bag against every other pass's truth.
    let others = right.iter().enumerate().flat_map(|(i, right)| {
        let bags = named.iter().enumerate().filter(move |(j, _)| i != *j);
        bags.flat_map(|(_, bag)| right.iter().map(|token| f64::from(bag.contains(token))))
    });
    let chance = mean(others);
    let verdict = verdict(recall, chance);
    (
        Measure::Bags {
            recall,
            precision,
            chance,
        },
        verdict,
    )
}

fn count(tokens: impl Iterator<Item = u32>) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    tokens.for_each(|token| *counts.entry(token).or_default() += 1);
    counts
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        let request = |rows: Range<usize>, own| Request {
            prompt: rows.start..rows.end - 1,
            rows,
            own,
        };
        Truth {
            tokens: vec![9, 9, 1, 2, 3, 4, 1, 1],
            requests: vec![request(0..2, true), request(2..8, false)],
            vocab_size: 10,
        }
    }

    fn scored(guesses: Vec<(usize, Option<u32>)>) -> (Tokens, Verdict) {
        match tokens(&guesses, &truth()) {
            (Measure::Tokens(tokens), verdict) => (*tokens, verdict),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_rows_of_others_count() {
        let right = |row: usize| (row, Some(truth().tokens[row]));
        let (all, _) = scored((0..8).map(right).collect());
        assert_eq!((all.top1.hits, all.top1.trials), (6, 6));
        assert_eq!((all.ordered.hits, all.ordered.trials), (3, 3));
        assert_eq!((all.exact_prompts.hits, all.rouge_l), (1, 1.0));
        assert_eq!((all.most_frequent, all.uniform), (0.5, 0.1));
    }

    #[test]
    fn a_constant_guess_is_at_chance() {
        let (constant, verdict) = scored((2..8).map(|row| (row, Some(1))).collect());
        assert_eq!((constant.top1.rate, constant.chance), (0.5, 0.5));
        assert_eq!(verdict, Verdict::AtChance);
        let (none, verdict) = scored((2..8).map(|row| (row, None)).collect());
        assert_eq!((none.top1.rate, none.chance), (0.0, 0.0));
        assert_eq!(verdict, Verdict::AtChance);
    }

    #[test]
    fn games() {
        let verdict = |hits, trials| game(Rate::new(hits, trials)).1;
        assert_eq!(verdict(500, 1000), Verdict::AtChance);
        assert_eq!(verdict(700, 1000), Verdict::Leaks);
        assert_eq!(verdict(995, 1000), Verdict::Recovered);
        // Losing always is winning with the answers swapped.
        assert_eq!(verdict(5, 1000), Verdict::Leaks);
    }
}
