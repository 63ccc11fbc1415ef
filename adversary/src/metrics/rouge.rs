//! ROUGE-L (Lin, 2004): F1 of the longest common subsequence of tokens.

/// F1 of a guess against the truth; 0 if either is empty.
pub fn rouge_l(guess: &[Option<u32>], truth: &[u32]) -> f64 {
    let common = longest_common(guess, truth) as f64;
    match guess.len() + truth.len() {
        0 => 0.0,
        both => 2.0 * common / both as f64,
    }
}

fn longest_common(guess: &[Option<u32>], truth: &[u32]) -> usize {
    // best[j]: of the guess so far and the first j tokens of the truth.
    let mut best = vec![0; truth.len() + 1];
    for token in guess {
        let mut diagonal = 0;
        for (j, right) in truth.iter().enumerate() {
            let above = best[j + 1];
            best[j + 1] = match *token == Some(*right) {
                true => diagonal + 1,
                false => above.max(best[j]),
            };
            diagonal = above;
        }
    }
    best[truth.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let guess = |tokens: &[u32]| tokens.iter().copied().map(Some).collect::<Vec<_>>();
        assert_eq!(rouge_l(&guess(&[1, 2, 3]), &[1, 2, 3]), 1.0);
        assert_eq!(rouge_l(&guess(&[3, 2, 1]), &[1, 2, 3]), 1.0 / 3.0);
        // police killed the gunman / police kill the gunman, from the paper.
        assert_eq!(rouge_l(&guess(&[1, 5, 3, 4]), &[1, 2, 3, 4]), 0.75);
        assert_eq!(rouge_l(&[None, Some(2)], &[1, 2]), 0.5);
        assert_eq!(rouge_l(&[], &[]), 0.0);
    }
}
