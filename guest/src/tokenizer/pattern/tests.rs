use super::*;
use serde::Deserialize;
use tokenizers::pattern::Pattern as _;

#[derive(Deserialize)]
struct Reference {
    texts: Vec<String>,
    /// With each text's replacement, none if Oniguruma refuses the pattern.
    patterns: Vec<(String, Vec<Option<String>>)>,
    long: Vec<Long>,
}

/// How many pieces a long text of one unit falls into.
#[derive(Deserialize)]
struct Long {
    pattern: String,
    unit: String,
    pieces: usize,
}

fn reference() -> Reference {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/tokenizer/tests/reference.json"
    );
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Refused although Oniguruma takes them, or would give another result.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    r"\pL", "[[:graph:]]", r"\0", r"(a)\1", r"(?<n>a)\k<n>", r"\K", r"\G\s", r"\R", r"\X", r"\N", r"\O", r"\y", r"\Q",
    r"\cA", r"\M-a", "we(?i)", "a(?i)b|c", "(?i:ss)", "(?i:ß)", r"(?i:\p{Lu})", "(?im:a.)", "(?-i:a)", "(?x: a )", "(?~a)",
    "x**", "x+*", "x?{2}",
];

/// `../tests/make_reference.py` says how the expected texts came about.
#[test]
fn patterns_match_as_onigurumas_or_are_refused() {
    let reference = reference();
    assert!(reference.patterns.len() > 200);
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    for (source, expected) in &reference.patterns {
        let pattern = match Pattern::of_regex(source) {
            Ok(pattern) => pattern,
            Err(e) => {
                if expected.iter().any(Option::is_some) {
                    refused.push(format!("{source:?} {e}"));
                }
                continue;
            }
        };
        for (text, expected) in reference.texts.iter().zip(expected) {
            let found = pattern.replace(text, "⟨⟩").ok();
            if found != *expected {
                wrong.push(format!("{source:?} {text:?}\n  {expected:?}\n  {found:?}"));
            }
        }
    }
    refused.retain(|refused| {
        !REFUSED
            .iter()
            .any(|known| refused.starts_with(&format!("{known:?} ")))
    });
    assert!(
        wrong.is_empty() && refused.is_empty(),
        "{} wrong:\n{}\n{refused:#?}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What gives up in silence in the crate is an error.
#[test]
fn a_search_that_gives_up_is_an_error() {
    let pattern = Pattern::of_regex(r"(?:a+)+(?!.)b").unwrap();
    let text = "a".repeat(40) + "!";
    let failed = (&pattern).find_matches(&text).unwrap_err().to_string();
    assert!(failed.contains("backtrack"), "{failed}");
    assert!(pattern.replace(&text, "").is_err());
}

/// Texts of 150,000 characters and more, of kinds that a search could give up on: as many pieces as Oniguruma finds.
#[test]
fn the_patterns_in_use_do_not_give_up_on_long_texts() {
    let reference = reference();
    assert!(reference.long.len() > 100);
    for Long {
        pattern,
        unit,
        pieces,
    } in &reference.long
    {
        let text = unit.repeat(150_000 / unit.chars().count()) + "x";
        let found = (&Pattern::of_regex(pattern).unwrap())
            .find_matches(&text)
            .unwrap();
        assert_eq!(found.len(), *pieces, "{pattern} {unit:?}");
    }
}
