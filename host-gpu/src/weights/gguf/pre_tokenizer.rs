//! How a text is cut into words before byte-level BPE, by the name in `tokenizer.ggml.pre`.
//!
//! A name stands for the pre-tokenizer of one published tokenizer.json: what is given here is that, so encoding is
//! the published one's. Names: `llama_vocab::impl::load` in llama.cpp's llama-vocab.cpp.

use serde_json::{Value, json};

/// What a name stands for.
pub struct PreTokenizer {
    /// `pre_tokenizer` of tokenizer.json.
    pub json: Value,
    /// `normalizer` of tokenizer.json.
    pub normalizer: Value,
    /// Whether a word that is a token is taken whole, whatever the merges say.
    pub ignore_merges: bool,
    /// Whether a text begins with the token of that name, unless the file says otherwise.
    pub adds_bos: bool,
}

/// Names by kind; the first of each for messages.
const GPT2: &[&str] = &[
    "gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "gigachat",
];
const SINGLE_DIGITS: &[&str] = &[
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
    "minerva-7b",
];
const LLAMA3: &[&str] = &[
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
];
const LLAMA3_MERGED: &[&str] = &["smaug-bpe", "dbrx"];
const QWEN2: &[&str] = &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"];
const TEKKEN: &[&str] = &["tekken"];
const DEEPSEEK_LLM: &[&str] = &["deepseek-llm"];
const DEEPSEEK_CODER: &[&str] = &["deepseek-coder"];
const DEEPSEEK_V3: &[&str] = &["deepseek-v3"];
const FALCON: &[&str] = &["falcon"];
const DEFAULT: &[&str] = &["default"];

const KINDS: [&[&str]; 11] = [
    GPT2,
    SINGLE_DIGITS,
    LLAMA3,
    LLAMA3_MERGED,
    QWEN2,
    TEKKEN,
    DEEPSEEK_LLM,
    DEEPSEEK_CODER,
    DEEPSEEK_V3,
    FALCON,
    DEFAULT,
];

/// GPT-2's words.
const GPT2_WORDS: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Letters of scripts with cases. Those that normalisation would replace by another character are written by number.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_V3_WORDS: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

impl PreTokenizer {
    /// What a name stands for; none if it is not known.
    pub fn named(name: &str) -> Option<Self> {
        let is = |kind: &[&str]| kind.contains(&name);
        let (steps, digits): (&[&str], _) = if is(GPT2) || name == "gpt2" {
            (&[GPT2_WORDS], false)
        } else if is(SINGLE_DIGITS) {
            (&[GPT2_WORDS], true)
        } else if is(LLAMA3) || is(LLAMA3_MERGED) {
            (&[LLAMA3_WORDS], false)
        } else if is(QWEN2) {
            (&[QWEN2_WORDS], false)
        } else if is(TEKKEN) {
            (&[TEKKEN_WORDS], false)
        } else if is(DEEPSEEK_LLM) {
            let steps = &[
                "[\r\n]",
                DEEPSEEK_LETTERS,
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                r"\s+$",
                "[一-龥ࠀ-一가-퟿]+",
                r"\p{N}+",
            ];
            (steps, false)
        } else if is(DEEPSEEK_CODER) {
            (
                &[
                    "[\r\n]",
                    r"\s?\p{L}+",
                    r"\s?\p{P}+",
                    "[一-龥ࠀ-一가-퟿]+",
                    r"\p{N}",
                ],
                false,
            )
        } else if is(DEEPSEEK_V3) {
            (
                &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3_WORDS],
                false,
            )
        } else if is(FALCON) {
            (
                &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2_WORDS, "[0-9][0-9][0-9]"],
                false,
            )
        } else if is(DEFAULT) {
            (
                &[
                    r"[\p{P}\$\+<=>\^~\|]+",
                    GPT2_WORDS,
                    r"\p{N}+",
                    "[0-9][0-9][0-9]",
                ],
                false,
            )
        } else {
            return None;
        };
        let normalizer = match is(&["qwen2", "deepseek-r1-qwen", "megrez"]) {
            true => json!({"type": "NFC"}),
            false => Value::Null,
        };
        Some(Self {
            json: sequence(steps, digits),
            normalizer,
            ignore_merges: is(LLAMA3) || is(TEKKEN),
            adds_bos: is(LLAMA3) || is(TEKKEN),
        })
    }

    /// A name of each kind, for messages.
    pub fn names() -> String {
        KINDS.map(|kind| kind.join(", ")).join(", ")
    }
}

/// The text is cut at every match of each step in turn; then bytes become characters.
fn sequence(steps: &[&str], digits: bool) -> Value {
    let digits = digits.then(|| json!({"type": "Digits", "individual_digits": true}));
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let steps = steps.iter().map(split);
    let all: Vec<Value> = digits.into_iter().chain(steps).chain([bytes]).collect();
    json!({"type": "Sequence", "pretokenizers": all})
}
