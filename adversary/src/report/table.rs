//! Outcomes as tables: plain for terminals, Markdown for reports, JSON for programs.

use std::fmt::Write;
use std::path::Path;

use super::Report;
use crate::attacks::{ATTACKS, best};
use crate::error::AdversaryError;
use crate::metrics::score::Tokens;
use crate::metrics::{Measure, Outcome, Verdict};

/// Outcomes, one a line.
pub fn plain(outcomes: &[Outcome]) -> String {
    let rows: Vec<[String; 5]> = outcomes.iter().map(cells).collect();
    let titles = ["scheme", "attack", "rows", "found", "verdict"].map(String::from);
    let all = || std::iter::once(&titles).chain(&rows);
    let width = |c: usize| all().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in all() {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// For each scheme, what found most: among attacks on tokens, and among all others.
pub fn summary(report: &Report) -> String {
    let strongest: Vec<Outcome> = strongest(report).into_iter().cloned().collect();
    plain(&strongest)
}

fn strongest(report: &Report) -> Vec<&Outcome> {
    let of_scheme = |scheme: String| {
        [true, false].into_iter().filter_map(move |about_tokens| {
            let of = |o: &&Outcome| {
                o.scheme == scheme && content(o) && o.is_about_tokens() == about_tokens
            };
            best(report.outcomes.iter().filter(of))
        })
    };
    schemes(report).into_iter().flat_map(of_scheme).collect()
}

/// Writes report.md and outcomes.json.
///
/// # Errors
/// The file system's.
pub fn write(report: &Report, out: &Path) -> Result<(), AdversaryError> {
    let path = out.join("report.md");
    std::fs::write(&path, markdown(report)).map_err(AdversaryError::file(&path))?;
    let path = out.join("outcomes.json");
    let json = serde_json::to_vec_pretty(&report.outcomes)
        .map_err(|error| AdversaryError::malformed(&path, error.to_string()))?;
    std::fs::write(&path, json).map_err(AdversaryError::file(&path))
}

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let sizes = &report.sizes;
    let mut text = format!(
        "# What a GPU host learns\n\nModel: {}. {} requests of others with {} rows; {} of the attacker's own with {} \
         rows; {} trials of the game of two prompts. Guessing uniformly hits {:.3} % of rows, always the most frequent \
         token {:.1} %, by unigram frequencies {:.1} %. Made in {:.0} s.\n\nIntervals are 95 % (Wilson); a verdict of \
         `at chance` means that the exact interval that misses with 10^-5 holds chance.\n\n",
        report.model,
        sizes.others.0,
        sizes.others.1,
        sizes.own.0,
        sizes.own.1,
        sizes.trials,
        100.0 / sizes.vocab_size as f64,
        100.0 * sizes.most_frequent,
        100.0 * sizes.unigram,
        report.seconds,
    );
    text.push_str("## What found most\n\nOn tokens, and among games and statistics.\n\n");
    push_table(&mut text, strongest(report).into_iter());
    text.push_str("\n![Recovery by scheme and attack](recovery.svg)\n\n");
    text.push_str(
        "![Recovery by layer](layers.svg)\n\n![Recovery of ReMO by rank](remo-rank.svg)\n\n",
    );
    if !report.float32_errors.is_empty() {
        text.push_str(
            "## What float masks cost\n\n| lambda | error of a product in float32 |\n|---|---|\n",
        );
        for (lambda, error) in &report.float32_errors {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {lambda} | {error:.1e} |");
        }
        text.push('\n');
    }
    text.push_str("## Attacks\n\n| attack | breaks | at chance |\n|---|---|---|\n");
    for attack in ATTACKS {
        let (name, breaks, chance) = (attack.name, attack.breaks, attack.chance);
        let _ = writeln!(text, "| {name} | {breaks} | {chance} |");
    }
    text.push('\n');
    text.push_str(
        "## Every attack\n\nEach at the rows where it found most; `outcomes.json` has all.\n\n",
    );
    for scheme in schemes(report) {
        let _ = write!(text, "### {scheme}\n\n");
        push_table(&mut text, by_attack(report, &scheme).into_iter());
        text.push('\n');
    }
    text
}

/// Of each attack on a scheme, the outcome that found most.
fn by_attack<'r>(report: &'r Report, scheme: &str) -> Vec<&'r Outcome> {
    let of_scheme = || report.outcomes.iter().filter(|o| o.scheme == scheme);
    let mut names: Vec<&str> = Vec::new();
    for outcome in of_scheme() {
        if !names.contains(&outcome.attack) {
            names.push(outcome.attack);
        }
    }
    names
        .iter()
        .filter_map(|name| best(of_scheme().filter(|o| o.attack == *name)))
        .collect()
}

fn push_table<'o>(text: &mut String, outcomes: impl Iterator<Item = &'o Outcome>) {
    text.push_str("| scheme | attack | rows | found | verdict |\n|---|---|---|---|---|\n");
    for outcome in outcomes {
        let _ = writeln!(text, "| {} |", cells(outcome).join(" | "));
    }
}

/// Schemes in the order in which they were attacked.
pub fn schemes(report: &Report) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for outcome in &report.outcomes {
        if !schemes.contains(&outcome.scheme) {
            schemes.push(outcome.scheme.clone());
        }
    }
    schemes
}

/// Whether an outcome is about content: lengths are seen whatever the mask.
pub fn content(outcome: &Outcome) -> bool {
    outcome.attack != "traffic, lengths"
}

fn cells(outcome: &Outcome) -> [String; 5] {
    let verdict = match outcome.verdict {
        Verdict::Recovered => "RECOVERED",
        Verdict::Leaks => "leaks",
        Verdict::AtChance => "at chance",
    };
    [
        outcome.scheme.clone(),
        outcome.attack.into(),
        outcome.place.clone(),
        found(&outcome.measure),
        verdict.into(),
    ]
}

fn found(measure: &Measure) -> String {
    let percent = |(low, high): (f64, f64)| format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
    match measure {
        Measure::Tokens(tokens) => of_tokens(tokens),
        Measure::Bags {
            recall,
            precision,
            chance,
        } => format!(
            "{:.1} % of a pass's tokens [{}], {:.1} % of those named; chance {:.1} %",
            100.0 * recall.rate,
            percent(recall.wilson),
            100.0 * precision.rate,
            100.0 * chance
        ),
        Measure::Game {
            won,
            advantage,
            interval,
        } => format!(
            "advantage {advantage:.3} [{:.3} to {:.3}] in {} trials",
            interval.0, interval.1, won.trials
        ),
        Measure::Statistic { what, value, bound } => {
            format!("{what}: {value:.2}; chance: at most {bound}")
        }
        Measure::Recovered { what, rate, chance } => format!(
            "{what}: {:.1} % [{}] of {}; chance {:.1} %",
            100.0 * rate.rate,
            percent(rate.wilson),
            rate.trials,
            100.0 * chance
        ),
    }
}

fn of_tokens(tokens: &Tokens) -> String {
    format!(
        "top-1 {:.2} % [{:.2} to {:.2}] of {}, four in a row {:.1} %, prompts {} of {}, ROUGE-L {:.3}; chance {:.2} %",
        100.0 * tokens.top1.rate,
        100.0 * tokens.top1.wilson.0,
        100.0 * tokens.top1.wilson.1,
        tokens.top1.trials,
        100.0 * tokens.ordered.rate,
        tokens.exact_prompts.hits,
        tokens.exact_prompts.trials,
        tokens.rouge_l,
        100.0 * tokens.chance
    )
}
