//! Traffic analysis: what lengths and timing give away.
//!
//! *Source:* length attacks on encrypted LLM traffic (arXiv 2403.09751). *Input:* when requests came, for which
//! projection and with how many rows; no row is looked at. *Method:* (a) rows that come before the first product with
//! lm_head are the prompt, rows of that product the reply; (b) where the attacker sent two prompts of equal length again and again: which of
//! them a request is by how long it took, against a threshold from known requests. *Metric:* requests with both lengths
//! right; advantage. *Breaks:* every scheme: lengths are not hidden. *Chance:* (a) always saying the commonest length;
//! (b) advantage 0, as no computation depends on values.

use super::ind_game::Game;
use super::{Attack, Finding, Found, Scene};
use crate::capture::{EMBEDDING, Send};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "traffic",
    breaks: "every scheme: lengths are not hidden",
    chance: "the commonest length; advantage 0 for timing",
    run,
};

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let lengths = Finding {
        attack: "traffic, lengths",
        place: "sizes of requests".into(),
        layer: None,
        found: Found::Lengths(lengths(scene)),
    };
    let timing = Game::of(scene).map(|game| Finding {
        attack: "traffic, timing",
        place: "times of requests".into(),
        layer: None,
        found: Found::Sides(by_time(scene, &game)),
    });
    [lengths].into_iter().chain(timing).collect()
}

/// Tokens of prompt and reply of each request: rows before the first product with lm_head, and rows of that product.
fn lengths(scene: &Scene<'_>) -> Vec<(usize, usize)> {
    let of_request = |request: usize| {
        let (mut prompt, mut reply) = (0, 0);
        for send in sends_of(scene, request) {
            if send.projection == scene.view.lm_head {
                reply += send.rows;
            } else if send.projection == EMBEDDING && reply == 0 {
                prompt += send.rows;
            }
        }
        (prompt, reply)
    };
    (0..scene.view.begins.len()).map(of_request).collect()
}

fn sends_of<'s>(scene: &'s Scene<'_>, request: usize) -> &'s [Send] {
    let begins = &scene.view.begins;
    let end = begins
        .get(request + 1)
        .copied()
        .unwrap_or(scene.view.sends.len());
    &scene.view.sends[begins[request]..end]
}

fn by_time(scene: &Scene<'_>, game: &Game) -> Vec<(usize, u32)> {
    let requests = scene.view.requests();
    let duration = |row: usize| {
        let request = requests.partition_point(|rows| rows.end <= row);
        match sends_of(scene, request) {
            [first, .., last] => (last.micros - first.micros) as f64,
            _ => 0.0,
        }
    };
    let median = |side: bool| {
        let known = game.known.iter().filter(|(_, is_b)| *is_b == side);
        let mut times: Vec<f64> = known.map(|(row, _)| duration(*row)).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (a, b) = (median(false), median(true));
    let middle = (a + b) / 2.0;
    let is_b = |row: usize| (duration(row) > middle) == (b > a);
    game.asked
        .iter()
        .map(|row| (*row, game.tokens[usize::from(is_b(*row))]))
        .collect()
}
