//! Chat templates and special tokens, which come from a checkpoint.

use std::collections::BTreeMap;

use serde_json::json;
use talaria_guest::chat_template::strftime::{self, MAX_FORMAT_BYTES};
use talaria_guest::chat_template::{
    CONFIG_FILE, ChatTemplate, MAX_PROMPT_BYTES, SPECIAL_TOKENS_FILE, TEMPLATE_FILE,
};
use talaria_guest::testing;
use talaria_guest::tokenizer::Tokenizer;
use talaria_wire::channel::message::{DateTime, Message, ToolCall};

use crate::Seed;
use crate::parts::{join, parts};

/// Longer ones only take longer. That nesting many thousands deep exhausts the stack is known, and stated in
/// [`talaria_guest::chat_template`].
const MAX_INPUT_BYTES: usize = 16 << 10;

/// Bytes of `%c`.
const LONGEST_DIRECTIVE: usize = "Sun Jul 26 14:30:05 2026".len();

const TOKENS: &str = r#"{ "bos_token": "<s>", "eos_token": { "content": "</s>" } }"#;

/// `chat_template.jinja`: it comes to an end within its bounds, and its prompt is no longer than a prompt may be.
pub fn template(data: &[u8]) {
    if data.len() <= MAX_INPUT_BYTES {
        render(&[(TEMPLATE_FILE, data), (CONFIG_FILE, TOKENS.as_bytes())]);
    }
}

/// `tokenizer_config.json`, then `special_tokens_map.json`, as parts.
pub fn config(data: &[u8]) {
    if data.len() <= MAX_INPUT_BYTES {
        let files: Vec<_> = [CONFIG_FILE, SPECIAL_TOKENS_FILE]
            .into_iter()
            .zip(parts(data))
            .collect();
        render(&files);
        tokens(&files);
    }
}

/// The same files beside a `tokenizer.json`, to which they may add tokens.
fn tokens(files: &[(&str, &[u8])]) {
    let files = files
        .iter()
        .map(|(name, bytes)| (name.to_string(), bytes.to_vec()));
    let mut files: BTreeMap<String, Vec<u8>> = files.collect();
    files.extend(testing::text_files());
    let Ok(tokenizer) = Tokenizer::from_files(&files) else {
        return;
    };
    for text in ["", "a <|a|> b<|user|>  x", "<s></s><a><b>"] {
        let ids = tokenizer.encode(text, true).unwrap_or_default();
        for id in &ids {
            assert!(tokenizer.id_to_token(*id).is_some());
        }
        let _ = tokenizer.decode(&ids, true);
    }
}

/// The format of `strftime_now`, after a line with the date: what is written is no longer than a directive can make it.
pub fn strftime(data: &[u8]) {
    let Some((date, format)) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.split_once('\n'))
    else {
        return;
    };
    let Ok(now) = date.parse::<DateTime>() else {
        return;
    };
    assert_eq!(now.to_string().parse(), Ok(now));
    if let Ok(text) = strftime::strftime(now, format) {
        assert!(text.len() <= LONGEST_DIRECTIVE * MAX_FORMAT_BYTES);
    }
}

fn render(files: &[(&str, &[u8])]) {
    let files: BTreeMap<String, Vec<u8>> = files
        .iter()
        .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
        .collect();
    let Ok(Some(template)) = ChatTemplate::from_files(&files) else {
        return;
    };
    for now in [None, "2026-07-26T14:30:05".parse().ok()] {
        if let Ok(prompt) = template.render(&conversation(), now.is_some(), now) {
            assert!(prompt.len() <= MAX_PROMPT_BYTES);
            // No clock, no chance.
            let again = template.render(&conversation(), now.is_some(), now);
            assert_eq!(again, Ok(prompt));
        }
    }
}

fn conversation() -> Vec<Message> {
    let message = |role: &str, content: &str| Message::new(role, content);
    let call = ToolCall {
        id: "abcdefghi".into(),
        name: "owl".into(),
        arguments: r#"{"x": {"y": [1, 2.5, null, "\u1f98"]}}"#.into(),
    };
    vec![
        message("system", "Be brief."),
        message("user", "What is a \"slice\"? \u{1f989}"),
        message("assistant", "<think>\nhm\n</think>\n\nA view."),
        Message {
            content: None,
            tool_calls: vec![call],
            ..message("assistant", "")
        },
        Message {
            tool_call_id: Some("abcdefghi".into()),
            ..message("tool", "1")
        },
        message("user", ""),
    ]
}

/// Formats of templates in use, and all directives and flags.
pub fn strftime_seeds() -> Vec<Seed> {
    let all = "%a%A%b%B%c%C%d%D%e%f%F%g%G%h%H%I%j%k%l%m%M%n%p%P%r%R%S%t%T%u%U%V%w%W%x%X%y%Y%z%Z%%";
    vec![
        Seed::new("llama", "2026-07-26\n%d %b %Y"),
        Seed::new("long", "2024-02-29T23:59\n%A, %B %-d, %Y %_I:%M %#p"),
        Seed::new("all", format!("9999-12-31T23:59:59\n{all}")),
        Seed::new("unknown", "1000-01-01T00:00:00\n%^Q"),
    ]
}

/// Templates in the style of three families, and one with what Python has.
pub fn template_seeds() -> Vec<Seed> {
    let python = "{%- set ns = namespace(n=0) -%}{% for m in messages[::-1] %}{% if loop.index > 3 %}{% break %}\
                  {% endif %}{{ m.role.upper().rsplit('s', 1) | tojson(indent=2) }}{{ m['content'].partition('e')[2] }}\
                  {% set ns.n = ns.n + loop.index0 %}{% generation %}{{ m.content.strip()[:5] }}{% endgeneration %}\
                  {% endfor %}{{ ns.n }}{{ messages | length }}{{ '%05d' | format(7) }}{{ bos_token * 2 }}";
    let raising = "{% if messages[0].role != 'user' %}{{ raise_exception('no ' ~ messages[0].role) }}{% endif %}";
    let macros = "{% macro say(m, depth) %}{{ m.content }}{% if depth %}{{ say(m, depth - 1) }}{% endif %}{% endmacro %}\
                  {% for m in messages if m.content %}{{ say(m, 9) }}{% endfor %}";
    vec![
        Seed::new(
            "llama3.jinja",
            include_str!("../../../guest/src/chat_template/tests/llama3_style.jinja"),
        ),
        Seed::new(
            "mistral.jinja",
            include_str!("../../../guest/src/chat_template/tests/mistral_style.jinja"),
        ),
        Seed::new(
            "qwen3.jinja",
            include_str!("../../../guest/src/chat_template/tests/qwen3_style.jinja"),
        ),
        Seed::new("python.jinja", python),
        Seed::new("raising.jinja", raising),
        Seed::new("macros.jinja", macros),
    ]
}

/// A template in `tokenizer_config.json`, and several of them by name.
pub fn config_seeds() -> Vec<Seed> {
    let template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}\
                    {{ additional_special_tokens }}";
    let one =
        json!({ "chat_template": template, "eos_token": { "content": "</s>", "lstrip": false } });
    let named = json!({ "chat_template": [
        { "name": "tool_use", "template": "t" }, { "name": "default", "template": template },
    ]});
    let map =
        json!({ "bos_token": "<s>", "additional_special_tokens": ["<a>", { "content": "<b>" }] });
    let added = json!({ "bos_token": "<a>", "added_tokens_decoder": {
        "7": { "content": "<|a|>", "lstrip": true, "rstrip": false, "single_word": false, "normalized": true, "special": true },
        "900": { "content": "b" },
    }});
    let files = |config: serde_json::Value| join([config.to_string(), map.to_string()]);
    vec![
        Seed::new("one", files(one)),
        Seed::new("named", files(named)),
        Seed::new("none", files(json!({ "bos_token": null }))),
        Seed::new("added", files(added)),
    ]
}
