//! Whatever bytes come from outside, the payload refuses or copes: it never panics.
//!
//! Arbitrary bytes, and valid ones with something changed, through every parser and on to what is done with the
//! result. Frames and messages of the channel are in its own tests. For bounded seconds; `PROPTEST_CASES` raises
//! the number.

use crate::{
    chat_template::ChatTemplate,
    engine::Engine,
    mask::{Batch, MaskedRows, MintedMasks, Shipment},
    setup::{Ingest, Ready, Scheme},
    testing::{PARAMETERS, TestWorld, options, text_files},
    tokenizer::{TOKENIZER_FILE, Tokenizer},
    world::{HostFailure, World},
};
use proptest::{prelude::*, sample::Index};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, rc::Rc, sync::OnceLock};
use talaria_wire::channel::message::{Message, Prompt, Request, Sampling};
use talaria_wire::manifest::WeightFormat;

/// Hosts that multiply honestly until the model is set up, and then answer with anything, mostly of the right length.
struct Hosts {
    honest: TestWorld,
    rng: ChaCha20Rng,
    lie: bool,
}

impl Hosts {
    fn new(honest: TestWorld, seed: u64) -> Self {
        Self {
            honest,
            rng: ChaCha20Rng::seed_from_u64(seed),
            lie: false,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn residues(&mut self, right: usize) -> Vec<u32> {
        let length = match self.below(8) {
            0 => self.below(200),
            1 => right + 1,
            _ => right,
        };
        (0..length).map(|_| self.rng.next_u32() >> 1).collect()
    }

    /// Inputs and outputs of a projection as the model has it, whatever the payload was told.
    fn shape(&self, projection: u32) -> (usize, usize) {
        let projections = &self.honest.manifest.projections;
        let projection = projections.get(projection as usize);
        projection.map_or((1, 1), |p| (p.k as usize, p.n as usize))
    }

    /// Whether the rows are of the model that the honest hosts have.
    fn fit(&self, rows: &MaskedRows) -> bool {
        let (k, _) = self.shape(rows.projection());
        let known = (rows.projection() as usize) < self.honest.manifest.projections.len();
        known
            && rows.shipments().iter().all(|shipment| match shipment {
                Shipment::Residues(residues) => residues.len() == rows.rows() as usize * 2 * k,
                Shipment::Seed(_) => true,
            })
    }
}

impl World for Hosts {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        if self.fit(rows) && (!self.lie || self.below(16) > 0) {
            return self.honest.project(rows);
        }
        if self.below(4) == 0 {
            return Err(HostFailure {
                host: 1,
                message: "no".into(),
            });
        }
        let planes = rows.planes().parts(WeightFormat::Int16);
        let right = rows.rows() as usize * 2 * planes * self.shape(rows.projection()).1;
        let hosts = match self.below(4) {
            0 => self.below(4),
            _ => rows.shipments().len(),
        };
        Ok((0..hosts).map(|_| self.residues(right)).collect())
    }

    fn quarantine(&mut self, _: u32) {}

    fn draw(&mut self, projection: u32, rows: u32) -> Result<MintedMasks, String> {
        if self.below(4) == 0 {
            return Err("no".into());
        }
        let rows = 1 + self.below(rows as usize + 1);
        let (k, n) = self.shape(projection);
        Ok(MintedMasks {
            masks: self.residues(rows * 2 * k).into(),
            corrections: self.residues(rows * 4 * n).into(),
        })
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.rng.fill_bytes(bytes);
    }
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop::sample::select(&Scheme::ALL)
}

/// A few changes to bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        6 => (any::<Index>(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ];
    prop::collection::vec(change, 0..4)
}

/// Changes within the first `within` bytes: where lengths and options are, not megabytes of residues.
fn changed(valid: &[u8], within: usize, changes: Vec<Change>) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in changes {
        let end = within.min(bytes.len());
        match change {
            _ if end == 0 => {}
            Change::Set(at, to) => bytes[at.index(end)] = to,
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Insert(at, more) => {
                let at = at.index(end);
                bytes.splice(at..at, more);
            }
        }
    }
    bytes
}

/// Uses a model as a client would.
fn use_model(ready: Ready, world: &mut Hosts) {
    let Ok(mut engine) = Engine::new(Rc::new(ready)) else {
        return;
    };
    for prompt in [
        Prompt::Ids(vec![1, 2, 3]),
        Prompt::Text("abc".into()),
        Prompt::Chat(vec![message()]),
    ] {
        let _ = engine.open(request(prompt), world);
    }
    for projection in 0..3 {
        let _ = engine.fetch_public_rows(projection, 0, 2, world);
        let _ = engine.check_public_rows(projection, 0, vec![1; 200]);
    }
    for step in 0..6 {
        world.lie = step > 3;
        let _ = engine.step(world);
    }
}

fn message() -> Message {
    Message::new("user", "hello, é world!")
}

fn request(prompt: Prompt) -> Request {
    Request {
        max_new_tokens: 4,
        ignore_eos: true,
        logits_digest: true,
        top_logprobs: Some(3),
        ..Request::new(prompt)
    }
}

/// Some value of a JSON document replaced by another.
fn with_value(document: &[u8], at: Index, to: Value) -> Vec<u8> {
    fn count(value: &Value) -> usize {
        let children: usize = match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            _ => 0,
        };
        1 + children
    }
    fn replace(value: &mut Value, left: &mut usize, to: &Value) {
        if *left == 0 {
            *value = to.clone();
        }
        let Some(below) = left.checked_sub(1) else {
            *left = usize::MAX;
            return;
        };
        *left = below;
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, left, to)),
            Value::Object(fields) => fields.values_mut().for_each(|f| replace(f, left, to)),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_slice(document).unwrap();
    let mut left = at.index(count(&value));
    replace(&mut value, &mut left, &to);
    value.to_string().into_bytes()
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(vec![
            json!(null), json!(true), json!(0), json!(-1), json!(1), json!(4_294_967_295_u32),
            json!(u64::MAX), json!(1e300), json!(0.5), json!(""), json!(" "), json!("Ġ"), json!("a"),
            json!("<0xZZ>"), json!("é"), json!("(("), json!("A"), json!("B"), json!([]), json!({}), json!([[]]), json!(["a", 0]),
            json!({"type": "ByteLevel"}), json!({"type": "Fuse"}), json!({"type": "ByteFallback"}),
            json!({"type": "Strip", "content": "a", "start": 9, "stop": 0}),
            json!({"type": "Prepend", "prepend": ""}), json!({"String": ""}), json!({"Regex": "(?=a)*"}),
        ]),
        1 => any::<u32>().prop_map(|n| json!(n)),
        1 => ".{0,4}".prop_map(|s| json!(s)),
    ]
}

fn fixture(path: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    std::fs::read(format!("{root}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Small ones of each kind of decoder.
fn tokenizers() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut files: Vec<_> = ["tiny-qwen2", "tokenizers/llama2-style"]
            .map(|name| fixture(&format!("tests/fixtures/{name}/tokenizer.json")))
            .map(|json| smaller(&json))
            .into();
        files.push(text_files()[TOKENIZER_FILE].clone());
        files
    })
}

/// With little of its vocabulary, so that changes hit the rest.
fn smaller(json: &[u8]) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(json).unwrap();
    let model = &mut file["model"];
    if let Some(merges) = model["merges"].as_array_mut() {
        merges.clear();
    }
    if let Some(vocab) = model["vocab"].as_object_mut() {
        let kept = vocab.iter().filter(|(_, id)| id.as_u64() < Some(20));
        *vocab = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    file.to_string().into_bytes()
}

/// Parts of tokenizers, of all kinds that there are.
fn part() -> impl Strategy<Value = Value> {
    let split = |pattern: Value, behavior: &str, invert: bool| json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert});
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let [empty, any, far] = ["", "a*", "(?<=a)b|(?=c)"].map(|regex| json!({"Regex": regex}));
    prop::sample::select(vec![
        json!({"type": "NFC"}),
        json!({"type": "NFD"}),
        json!({"type": "NFKC"}),
        json!({"type": "NFKD"}),
        json!({"type": "StripAccents"}),
        json!({"type": "Lowercase"}),
        json!({"type": "Nmt"}),
        json!({"type": "ByteLevel"}),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
        json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
        json!({"type": "Prepend", "prepend": "\u{2581}"}),
        replace(empty.clone(), "x"),
        replace(any.clone(), ""),
        replace(far.clone(), "é"),
        replace(json!({"String": " "}), ""),
        replace(json!({"Regex": "^ |[^\\p{L}]{2,}$"}), "-"),
        precompiled(0),
        precompiled(9),
        split(empty, "Isolated", true),
        split(any, "MergedWithNext", false),
        split(far, "MergedWithPrevious", true),
        split(json!({"String": "b"}), "Removed", false),
        split(json!({"String": ""}), "Contiguous", false),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "FixedLength", "length": 2}),
        json!({"type": "Digits", "individual_digits": true}),
        json!({"type": "Whitespace"}),
        json!({"type": "WhitespaceSplit"}),
        json!({"type": "Punctuation", "behavior": "Isolated"}),
        json!({"type": "CharDelimiterSplit", "delimiter": "a"}),
        json!({"type": "UnicodeScripts"}),
        json!({"type": "BertPreTokenizer"}),
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": true}),
        json!({"type": "BertProcessing", "sep": ["x", 1], "cls": ["y", 2]}),
        json!({"type": "RobertaProcessing", "sep": ["x", 1], "cls": ["y", 2], "trim_offsets": true, "add_prefix_space": true}),
        json!({"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}),
        json!({"type": "WordLevel", "vocab": {"a": 7}, "unk_token": "none"}),
        json!({"type": "WordPiece", "vocab": {"a": 0, "##b": 1}, "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 3}),
        json!({"type": "Unigram", "vocab": [["a", -1.0], ["<0x41>", 0.0]], "unk_id": 0, "byte_fallback": true}),
        json!({"type": "Unigram", "vocab": [["a", -1.0], ["", 0.0], ["ab", 1e300]], "unk_id": null, "byte_fallback": false}),
        json!({"type": "Unigram", "vocab": [], "unk_id": 3}),
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 9}, "merges": ["a b"], "unk_token": "none", "fuse_unk": true, "byte_fallback": true}),
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 9}, "merges": [["a", "b"]], "dropout": 1.0, "end_of_word_suffix": "b", "ignore_merges": true}),
        json!({"type": "Fuse"}),
        json!({"type": "ByteFallback"}),
        json!([{"id": 4_000_000_000_u32, "content": "a", "special": false, "single_word": true, "lstrip": true, "rstrip": true, "normalized": true}]),
        json!([{"id": 1, "content": "", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]),
        json!(null),
    ])
}

/// SentencePiece's, as it is or with some of its bytes turned.
fn precompiled(every: usize) -> Value {
    let reference = fixture("guest/src/tokenizer/tests/reference.json");
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let charsmap = reference["precompiled"]["charsmap"].as_str().unwrap();
    let turned = |(at, c): (usize, char)| match every > 0
        && at > 8
        && at % every == 0
        && c.is_ascii_lowercase()
    {
        true => c.to_ascii_uppercase(),
        false => c,
    };
    let charsmap: String = charsmap.chars().enumerate().map(turned).collect();
    json!({"type": "Precompiled", "precompiled_charsmap": charsmap})
}

/// One part, or several in sequence where there can be.
fn parts() -> impl Strategy<Value = (&'static str, Value)> {
    let names = vec![
        "normalizer",
        "pre_tokenizer",
        "post_processor",
        "model",
        "decoder",
        "added_tokens",
    ];
    (
        prop::sample::select(names),
        prop::collection::vec(part(), 1..4),
    )
        .prop_map(|(name, parts)| {
            let list = match name {
                "normalizer" => "normalizers",
                "pre_tokenizer" => "pretokenizers",
                "post_processor" => "processors",
                "decoder" => "decoders",
                _ => return (name, parts[0].clone()),
            };
            match parts.len() {
                1 => (name, parts[0].clone()),
                _ => (name, json!({"type": "Sequence", list: parts})),
            }
        })
}

fn use_tokenizer(json: Vec<u8>) {
    use_tokenizer_files(&BTreeMap::from([(TOKENIZER_FILE.into(), json)]));
}

fn use_tokenizer_files(files: &BTreeMap<String, Vec<u8>>) {
    let Ok(tokenizer) = Tokenizer::from_files(files) else {
        return;
    };
    let mut ids: Vec<u32> = (0..60).chain([u32::MAX]).collect();
    for text in [
        "",
        "a b",
        "abc é \u{1F9E2} <|user|><s>\n ",
        "\u{2581}\u{2581}x",
    ] {
        for special in [false, true] {
            ids.extend(tokenizer.encode(text, special).unwrap_or_default());
        }
    }
    let mut stream = tokenizer.stream(true);
    for id in &ids {
        stream.push(&tokenizer, *id);
        tokenizer.token_bytes(*id);
    }
    stream.finish();
    tokenizer.vocab_size();
    let _ = tokenizer.decode(&ids, false);
}

fn use_template(files: BTreeMap<String, Vec<u8>>) {
    if let Ok(Some(template)) = ChatTemplate::from_files(&files) {
        for messages in [&[][..], &[message()], &[message(), message()]] {
            for now in [None, "2026-07-26T14:30:05".parse().ok()] {
                let _ = template.render(messages, true, now);
            }
        }
    }
}

/// Pieces of templates, so that some of what is put together parses.
fn template() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{% for m in messages %}",
        "{% endfor %}",
        "{% if m.role == 'user' %}",
        "{% else %}",
        "{% endif %}",
        "{{ m.content }}",
        "{{ m['content'] | trim }}",
        "{{ messages[0].role.upper() }}",
        "{{ messages[9] }}",
        "{{ raise_exception('no') }}",
        "{{ 1 / 0 }}",
        "{{ 'x' * 100000 }}",
        "{{ range(1000000) | list }}",
        "{{ messages | tojson(indent=4000000) }}",
        "{% set ns = namespace(a=1) %}",
        "{% set ns.a = ns.a + 1 %}",
        "{% macro f(x) %}",
        "{% endmacro %}",
        "{{ f(f(1)) }}",
        "{{ bos_token }}",
        "{{ m.content.split('l')[-1] }}",
        "{{ m.content[3:1:-1] }}",
        "{{ m.content[::0] }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ -m }}",
        "{%- break %}",
        "{% generation %}",
        "{% endgeneration %}",
        "{{ strftime_now('%Y') }}",
        "{{ '%s' | format(1) }}",
        "{{ 'é'[1:] }}",
        "{{ m.content.replace('', 'aa') }}",
        "{{ loop.previtem }}",
        "{{ caller() }}",
        "{{",
        "%}",
        "{#",
        "é",
        "\n",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn fuzz_manifest(scheme in scheme(), text in any::<bool>(), changes in changes(), seed in any::<u64>()) {
        let world = if text { TestWorld::with_text() } else { TestWorld::new() };
        let (manifest, planes) = (world.manifest.to_bytes(), world.planes());
        let mut hosts = Hosts::new(world, seed);
        let bytes = changed(&manifest, usize::MAX, changes);
        let mut begin = || Ingest::begin(bytes.clone(), options(scheme), &mut hosts);
        let mut ready = None;
        if let Ok(mut ingest) = begin() {
            let fed = ingest.ingest(&planes);
            ready = fed.and_then(|()| ingest.finish(&mut hosts)).ok();
        }
        ready.into_iter().for_each(|ready| use_model(ready, &mut hosts));
    }

    #[test]
    fn fuzz_snapshot(scheme in scheme(), everywhere in any::<bool>(), changes in changes(), seed in any::<u64>()) {
        static SNAPSHOTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let snapshots = SNAPSHOTS.get_or_init(|| {
            let of = |scheme| TestWorld::with_text().ready(scheme).snapshot();
            Scheme::ALL.map(of).into()
        });
        let mut hosts = Hosts::new(TestWorld::new(), seed);
        let within = if everywhere { usize::MAX } else { 700 };
        let bytes = changed(&snapshots[scheme as usize], within, changes);
        if let Ok(ready) = Ready::restore(bytes, &mut hosts) {
            use_model(ready, &mut hosts);
        }
    }

    #[test]
    fn fuzz_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), scheme in scheme()) {
        let mut hosts = Hosts::new(TestWorld::new(), 1);
        prop_assert!(Ready::restore(bytes.clone(), &mut hosts).is_err());
        prop_assert!(Ingest::begin(bytes.clone(), options(scheme), &mut hosts).is_err());
        use_tokenizer(bytes.clone());
        for name in ["chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json"] {
            use_template(BTreeMap::from([(name.into(), bytes.clone())]));
        }
    }

    #[test]
    fn fuzz_template(source in prop_oneof![template(), ".{0,60}"], changes in changes()) {
        let source = changed(source.as_bytes(), usize::MAX, changes);
        use_template(BTreeMap::from([("chat_template.jinja".into(), source)]));
    }

    #[test]
    fn fuzz_minting(
        features in 0..40_u32, outputs in 0..40_u32,
        blocks in prop::collection::vec((any::<bool>(), 0..3_usize, any::<i32>()), 0..4),
    ) {
        let mut hosts = Hosts::new(TestWorld::new(), 1);
        let mut batch = Batch::begin(PARAMETERS, features, outputs, &mut hosts).unwrap();
        for (masks, length, value) in blocks {
            let polynomials = vec![value; [0, 1, 2 * 2560 * 4][length]];
            let _ = match masks {
                true => batch.masks(&polynomials),
                false => batch.corrections(&polynomials),
            };
        }
    }

    /// What a client can ask for, without the channel.
    #[test]
    fn fuzz_request(
        floats in prop::collection::vec(prop::num::f32::ANY, 6), top_k in any::<u32>(), seed in any::<u64>(),
        logit_bias in prop::collection::vec((0..60_u32, prop::num::f32::ANY), 0..3),
        text in ".{0,40}", role in ".{0,9}", stop in prop::collection::vec(".{0,3}", 0..3),
        max_new_tokens in any::<u32>(), top_logprobs in any::<Option<u8>>(), sane in any::<bool>(),
    ) {
        let mut world = TestWorld::with_text();
        let mut engine = Engine::new(Rc::new(world.ready(Scheme::DangerousPlaintext))).unwrap();
        for prompt in [
            Prompt::Text(text.clone()),
            Prompt::Chat(vec![Message::new(role.clone(), text.clone())]),
            Prompt::Ids(text.chars().map(u32::from).collect()),
        ] {
            let sampling = match sane {
                true => Sampling { temperature: 1.0, ..Sampling::default() },
                false => Sampling {
                    temperature: floats[0], top_k, top_p: floats[1], min_p: floats[2],
                    repetition_penalty: floats[3], presence_penalty: floats[4], frequency_penalty: floats[5],
                    logit_bias: logit_bias.clone(), seed: Some(seed),
                },
            };
            let asked = Request { sampling, max_new_tokens, stop: stop.clone(), top_logprobs, ..request(prompt) };
            let _ = engine.open(asked, &mut world);
        }
        for _ in 0..4 {
            prop_assert!(engine.step(&mut world).is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn fuzz_tokenizer(which in 0..3_usize, values in prop::collection::vec((any::<Index>(), json_value()), 0..4), changes in changes()) {
        let mut json = tokenizers()[which].clone();
        for (at, value) in values {
            json = with_value(&json, at, value);
        }
        use_tokenizer(json.clone());
        use_tokenizer(changed(&json, usize::MAX, changes));
    }

    #[test]
    fn fuzz_tokenizer_parts(which in 0..3_usize, parts in prop::collection::vec(parts(), 1..4), value in (any::<Index>(), json_value()), more in any::<bool>()) {
        let mut file: Value = serde_json::from_slice(&tokenizers()[which]).unwrap();
        parts.into_iter().for_each(|(name, part)| file[name] = part);
        let json = file.to_string().into_bytes();
        use_tokenizer(if more { with_value(&json, value.0, value.1) } else { json });
    }

    #[test]
    fn fuzz_tokenizer_config(values in prop::collection::vec((any::<Index>(), json_value()), 0..4)) {
        static CONFIG: OnceLock<Vec<u8>> = OnceLock::new();
        let config = CONFIG.get_or_init(|| json!({
            "bos_token": "<s>", "eos_token": {"content": "</s>", "special": true},
            "chat_template": [{"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}"}],
            "additional_special_tokens": ["<a>", {"content": "<b>"}], "extra_special_tokens": {"x_token": "x"},
            "added_tokens_decoder": {"3": {"content": "a", "lstrip": true, "special": true}, "70": {"content": " b", "normalized": true}},
        }).to_string().into_bytes());
        let mut json = config.clone();
        for (at, value) in values {
            json = with_value(&json, at, value);
        }
        let files = ["tokenizer_config.json", "special_tokens_map.json"];
        let mut files: BTreeMap<_, _> = files.map(|name| (name.into(), json.clone())).into();
        use_template(files.clone());
        files.insert(TOKENIZER_FILE.into(), tokenizers()[0].clone());
        use_tokenizer_files(&files);
    }
}
