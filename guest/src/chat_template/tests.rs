use super::*;
use serde_json::json;
use std::path::PathBuf;

fn files(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries
        .iter()
        .map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))
        .collect()
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::from_files(&files(&[(TEMPLATE_FILE, source)]))
        .unwrap()
        .unwrap()
}

fn message(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

fn hi() -> Vec<Message> {
    vec![message("user", "hi")]
}

fn refused(files: &BTreeMap<String, Vec<u8>>) -> ChatTemplateError {
    ChatTemplate::from_files(files).err().expect("refused")
}

#[derive(Deserialize)]
struct Reference {
    tokens: serde_json::Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    /// A file, or the template itself if `inline`.
    template: String,
    inline: bool,
    variables: serde_json::Value,
    expected: Option<String>,
    /// What `raise_exception` said; none: any other failure.
    fails: Option<String>,
}

/// `tests/make_reference.py` says how the expected values came about.
#[test]
fn renders_as_jinja2_set_up_by_transformers() {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/chat_template/tests"
    ));
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let reference: Reference = serde_json::from_str(&read("reference.json")).unwrap();
    assert!(reference.cases.len() > 300);
    let mut wrong = Vec::new();
    for case in &reference.cases {
        let source = if case.inline {
            case.template.clone()
        } else {
            read(&case.template)
        };
        let config = reference.tokens.to_string();
        let files = files(&[(TEMPLATE_FILE, &source), (CONFIG_FILE, &config)]);
        let variables = Value::deserialize(&case.variables).unwrap();
        let rendered = ChatTemplate::from_files(&files)
            .and_then(|template| template.unwrap().render_with(variables));
        let right = match (&rendered, &case.expected, &case.fails) {
            (Ok(text), Some(expected), _) => text == expected,
            (Err(ChatTemplateError::Refused { message }), None, Some(said)) => message == said,
            (Err(ChatTemplateError::Render { .. }), None, None) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!(
                "{}\n{rendered:?}\n{:?}\n{:?}",
                case.template, case.expected, case.fails
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

/// A message as a client has it, from one as Python has it.
fn from_python(message: &serde_json::Value) -> Message {
    let text = |key: &str| Some(message.get(key)?.as_str()?.to_owned());
    let call = |call: &serde_json::Value| ToolCall {
        id: call["id"].as_str().unwrap().into(),
        name: call["function"]["name"].as_str().unwrap().into(),
        arguments: call["function"]["arguments"].to_string(),
    };
    let calls = message.get("tool_calls").and_then(|calls| calls.as_array());
    Message {
        role: text("role").unwrap(),
        content: text("content"),
        name: text("name"),
        tool_calls: calls.into_iter().flatten().map(call).collect(),
        tool_call_id: text("tool_call_id"),
    }
}

/// `content: null` beside `tool_calls`, as every client of tools sends it back.
#[test]
fn calls_and_their_results_are_rendered_as_by_transformers() {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/chat_template/tests"
    ));
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let reference: Reference = serde_json::from_str(&read("reference.json")).unwrap();
    let with_calls = reference.cases.iter().filter_map(|case| {
        let messages = case.variables["messages"].as_array()?;
        let calls = messages.iter().any(|m| m.get("tool_calls").is_some());
        let generate = case.variables["add_generation_prompt"].as_bool()?;
        (calls && case.variables["tools"].is_null()).then_some((case, messages, generate))
    });
    let (mut rendered, mut silent) = (0, 0);
    for (case, messages, generate) in with_calls {
        let config = reference.tokens.to_string();
        let files = files(&[
            (TEMPLATE_FILE, &read(&case.template)),
            (CONFIG_FILE, &config),
        ]);
        let template = ChatTemplate::from_files(&files).unwrap().unwrap();
        let mut messages: Vec<Message> = messages.iter().map(from_python).collect();
        let text = template.render(&messages, generate, None);
        match (&case.expected, &case.fails) {
            (Some(expected), _) => assert_eq!(text.as_ref(), Ok(expected), "{}", case.template),
            (None, Some(said)) => {
                let message = said.clone();
                assert_eq!(text, Err(ChatTemplateError::Refused { message }));
            }
            // None fails in Python: an empty text is what the template gets.
            (None, None) => {
                let said = |m: &mut Message| _ = m.content.get_or_insert_default();
                messages.iter_mut().for_each(said);
                let with_text = template.render(&messages, generate, None);
                assert_eq!(text, with_text, "{}", case.template);
                silent += 1;
            }
        }
        rendered += usize::from(text.is_ok());
    }
    assert_eq!((rendered, silent), (14, 3));
}

#[test]
fn what_a_template_finds_in_a_message() {
    let keys = template("{% for m in messages %}{{ m.items() | list | tojson }}\n{% endfor %}");
    let call = |arguments: &str| ToolCall {
        id: "a".into(),
        name: "f".into(),
        arguments: arguments.into(),
    };
    let said = message("user", "hi");
    let called = Message {
        content: None,
        tool_calls: vec![
            call(r#" {"z": 1.0, "b": [null, "é"]}"#),
            call("[1]"),
            call("{"),
        ],
        ..message("assistant", "")
    };
    let answered = Message {
        name: Some("f".into()),
        tool_call_id: Some("a".into()),
        ..message("tool", "1")
    };
    let function = |arguments: &str| {
        let function = format!(r#"{{"name": "f", "arguments": {arguments}}}"#);
        format!(r#"{{"id": "a", "type": "function", "function": {function}}}"#)
    };
    let calls = [r#"{"z": 1.0, "b": [null, "é"]}"#, r#""[1]""#, r#""{""#].map(function);
    let expected = [
        r#"[["role", "user"], ["content", "hi"]]"#.into(),
        format!(
            r#"[["role", "assistant"], ["content", null], ["tool_calls", [{}]]]"#,
            calls.join(", ")
        ),
        r#"[["role", "tool"], ["content", "1"], ["name", "f"], ["tool_call_id", "a"]]"#.into(),
        String::new(),
    ];
    let rendered = keys.render(&[said, called, answered], false, None).unwrap();
    assert_eq!(rendered, expected.join("\n"));
}

/// A template that adds the content to a text without a look (SmolLM2's, and all of that kind).
#[test]
fn a_template_that_cannot_take_none_gets_an_empty_text() {
    let plain =
        template("{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}");
    let silent = Message {
        content: None,
        ..message("assistant", "")
    };
    let conversation = [message("user", "hi"), silent.clone()];
    assert_eq!(
        plain.render(&conversation, false, None).unwrap(),
        "<user>hi<assistant>"
    );
    let looks = template("{{ 'calls' if messages[0].content is none else 'text' }}");
    assert_eq!(looks.render(&[silent], false, None).unwrap(), "calls");
}

#[test]
fn the_demo_renders_its_golden_chats() {
    #[derive(Deserialize)]
    struct Golden {
        prompts: Vec<Prompt>,
    }
    #[derive(Deserialize)]
    struct Prompt {
        messages: Option<Vec<BTreeMap<String, String>>>,
        text: String,
        rendered_no_generation_prompt: Option<String>,
        ids: Vec<u32>,
    }
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/demo-qwen3"
    ));
    let names = [CONFIG_FILE, SPECIAL_TOKENS_FILE, "tokenizer.json"];
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let files = names
        .iter()
        .map(|&name| (name.to_owned(), read(name)))
        .collect();
    let template = ChatTemplate::from_files(&files).unwrap().unwrap();
    let tokenizer = crate::tokenizer::Tokenizer::from_files(&files).unwrap();
    let golden: Golden = serde_json::from_slice(&read("golden.json")).unwrap();
    let chats = golden
        .prompts
        .iter()
        .filter_map(|p| Some((p, p.messages.as_ref()?)));
    let chats: Vec<_> = chats.collect();
    assert_eq!(chats.len(), 4);
    for (prompt, messages) in chats {
        let messages: Vec<Message> = messages
            .iter()
            .map(|m| message(&m["role"], &m["content"]))
            .collect();
        let rendered = template.render(&messages, true, None).unwrap();
        assert_eq!(rendered, prompt.text);
        assert_eq!(tokenizer.encode(&rendered, false).unwrap(), prompt.ids);
        assert_eq!(
            Some(template.render(&messages, false, None).unwrap()),
            prompt.rendered_no_generation_prompt
        );
    }
    let late = [message("user", "a"), message("system", "b")];
    let message = "the system message must come first".into();
    assert_eq!(
        template.render(&late, true, None),
        Err(ChatTemplateError::Refused { message })
    );
}

#[test]
fn the_template_is_looked_for_in_two_files() {
    let render = |entries: &[(&str, &str)]| {
        let template = ChatTemplate::from_files(&files(entries)).unwrap();
        template.map(|template| template.render(&hi(), false, None).unwrap())
    };
    let config = json!({"chat_template": "config", "bos_token": null}).to_string();
    let named =
        json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
    let list = json!({ "chat_template": named }).to_string();
    assert_eq!(render(&[]), None);
    assert_eq!(render(&[(CONFIG_FILE, "{}")]), None);
    assert_eq!(render(&[(CONFIG_FILE, r#"{"chat_template": null}"#)]), None);
    assert_eq!(render(&[(CONFIG_FILE, &config)]).as_deref(), Some("config"));
    assert_eq!(render(&[(CONFIG_FILE, &list)]).as_deref(), Some("d"));
    assert_eq!(
        render(&[(CONFIG_FILE, &config), (TEMPLATE_FILE, "file")]).as_deref(),
        Some("file")
    );
}

/// As transformers merges them; what it makes of many configurations is in the tokenizer's tests.
#[test]
fn special_tokens_are_variables() {
    let config = json!({
        "bos_token": {"content": "<s>", "special": true}, "eos_token": "</s>", "unk_token": null,
        "add_bos_token": true, "additional_special_tokens": ["<a>", {"content": "<b>"}],
    });
    let map = json!({"eos_token": "<e>", "pad_token": {"content": "<p>"}});
    let source = "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ additional_special_tokens is defined }}\
        {{ unk_token is defined }}{{ add_bos_token is defined }}";
    let rendered = |config: &serde_json::Value| {
        let files = files(&[
            (TEMPLATE_FILE, source),
            (CONFIG_FILE, &config.to_string()),
            (SPECIAL_TOKENS_FILE, &map.to_string()),
        ]);
        let template = ChatTemplate::from_files(&files).unwrap().unwrap();
        template.render(&hi(), true, None).unwrap()
    };
    assert_eq!(rendered(&config), "<s><e><p>FalseFalseFalse");
    let mut config = config;
    config["added_tokens_decoder"] = json!({});
    assert_eq!(rendered(&config), "<s></s>FalseFalseFalse");
}

/// Silently another prompt before.
#[test]
fn carriage_returns_of_a_template_are_line_feeds() {
    let source = "{%- for m in messages -%}\r\n<|im_start|>{{ m.role }}\r\n{{ m.content }}<|im_end|>\r\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\r\n{% endif %}";
    let expected = "<|im_start|>user\na\r\nb<|im_end|>\n<|im_start|>assistant\n";
    let messages = [message("user", "a\r\nb")];
    assert_eq!(
        template(source).render(&messages, true, None).unwrap(),
        expected
    );
    let alone = source.replace("\r\n", "\r");
    assert_eq!(
        template(&alone).render(&messages, true, None).unwrap(),
        expected
    );
}

#[test]
fn the_conversation_cannot_overrule_special_tokens_or_run_as_a_template() {
    let template = template("{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}");
    let messages = [message("bos_token", "{{ 1 + 1 }}{% raise %}{{ '\\n' }}<&>")];
    assert_eq!(
        template.render(&messages, true, None).unwrap(),
        "bos_token{{ 1 + 1 }}{% raise %}{{ '\\n' }}<&>"
    );
}

#[test]
fn a_template_without_a_date_says_so() {
    let date = "{{ strftime_now('%d %b %Y') }}";
    assert_eq!(
        template(date).render(&hi(), true, None),
        Err(ChatTemplateError::NoDate)
    );
    let guarded = format!("{{% if strftime_now is defined %}}{date}{{% else %}}fixed{{% endif %}}");
    assert_eq!(
        template(&guarded).render(&hi(), true, None).unwrap(),
        "fixed"
    );
}

/// Was refused: the payload has no clock, and nobody said the date.
#[test]
fn a_template_prints_the_date_of_the_request() {
    let rendered = |source: &str, now: &str| {
        let now = now.parse().unwrap();
        template(source).render(&hi(), true, Some(now))
    };
    assert_eq!(
        rendered(include_str!("tests/date.jinja"), "2026-07-26T23:59:59").unwrap(),
        "<|im_start|>system\nToday is 26 Jul 2026<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    );
    let llama = rendered(include_str!("tests/llama3_style.jinja"), "2026-07-26").unwrap();
    assert!(llama.contains("Date: 26 Jul 2026\n"), "{llama}");
    let error = rendered("{{ strftime_now('%Q') }}", "2026-07-26").unwrap_err();
    assert!(error.to_string().contains("%Q"), "{error}");
}

#[test]
fn broken_files_are_refused() {
    let broken = |entries: &[(&str, &str)]| match refused(&files(entries)) {
        ChatTemplateError::BrokenFile { file, .. } => file,
        other => panic!("{other}"),
    };
    assert_eq!(broken(&[(CONFIG_FILE, "{")]), CONFIG_FILE);
    assert_eq!(broken(&[(CONFIG_FILE, "[]")]), CONFIG_FILE);
    assert_eq!(
        broken(&[(CONFIG_FILE, r#"{"chat_template": 7}"#)]),
        CONFIG_FILE
    );
    assert_eq!(
        broken(&[(TEMPLATE_FILE, ""), (SPECIAL_TOKENS_FILE, "x")]),
        SPECIAL_TOKENS_FILE
    );
    let not_text = BTreeMap::from([(TEMPLATE_FILE.to_owned(), vec![0xff])]);
    assert!(matches!(
        refused(&not_text),
        ChatTemplateError::BrokenFile {
            file: TEMPLATE_FILE,
            ..
        }
    ));
    let others = json!({"chat_template": [{"name": "rag", "template": ""}]}).to_string();
    let names = vec!["rag".to_owned()];
    assert_eq!(
        refused(&files(&[(CONFIG_FILE, &others)])),
        ChatTemplateError::NoDefault { names }
    );
    for source in [
        "{% if %}",
        "{{ 1",
        "{% endfor %}",
        "{% include 'other' %}",
        "{% unknown %}",
    ] {
        let error = refused(&files(&[(TEMPLATE_FILE, source)]));
        assert!(
            matches!(error, ChatTemplateError::Syntax { .. }),
            "{source}: {error}"
        );
    }
    let long = " ".repeat(MAX_TEMPLATE_BYTES + 1);
    assert!(matches!(
        refused(&files(&[(TEMPLATE_FILE, &long)])),
        ChatTemplateError::TooLarge { .. }
    ));
}

#[test]
fn bounds_hold() {
    let fails = |source: &str| template(source).render(&hi(), true, None).unwrap_err();
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert_eq!(fails(nested), ChatTemplateError::TooManySteps);
    let long = "{% set s = 'x' * 60000 %}{% for a in range(90) %}{{ s }}{% endfor %}";
    assert_eq!(fails(long), ChatTemplateError::PromptTooLong);
    let endless = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(matches!(fails(endless), ChatTemplateError::Render { .. }));
    let template = template("{{ messages[0].content }}");
    assert_eq!(
        template.render(&[], true, None),
        Err(ChatTemplateError::NoMessages)
    );
    let long = "x".repeat(MAX_PROMPT_BYTES);
    assert_eq!(
        template.render(&[message("", &long)], true, None).unwrap(),
        long
    );
    let longer = template.render(&[message("u", &long)], true, None);
    assert!(matches!(longer, Err(ChatTemplateError::TooLarge { .. })));
}

/// What the bounds leave room for: many messages, and a long one.
#[test]
fn large_conversations_are_rendered() {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/chat_template/tests"
    ));
    for file in [
        "llama3_style.jinja",
        "qwen3_style.jinja",
        "mistral_style.jinja",
    ] {
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        let config = r#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
        let files = files(&[(TEMPLATE_FILE, &source), (CONFIG_FILE, config)]);
        let template = ChatTemplate::from_files(&files).unwrap().unwrap();
        let role = |i: usize| ["user", "assistant"][i % 2];
        let many: Vec<Message> = (0..5001).map(|i| message(role(i), "some words")).collect();
        assert!(
            template.render(&many, true, None).unwrap().len() > 5000 * 10,
            "{file}"
        );
        let long = [message("user", &"<think> 世\n".repeat(150_000))];
        assert!(
            template.render(&long, true, None).unwrap().len() > 150_000 * 11,
            "{file}"
        );
    }
}

/// A text that doubles in a loop must not take all memory.
#[test]
fn intermediate_texts_are_bounded() {
    let growing = "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    let error = template(growing).render(&hi(), true, None).unwrap_err();
    assert!(
        matches!(
            error,
            ChatTemplateError::TooManySteps | ChatTemplateError::Render { .. }
        ),
        "{error}"
    );
}

/// Work that grows with the square of what the template or a text has must not be free.
#[test]
fn rewriting_a_template_takes_time_in_proportion() {
    let start = std::time::Instant::now();
    for source in [
        "{%\n".repeat(MAX_TEMPLATE_BYTES / 3),
        "{% raw %}".to_owned() + &"{%\n".repeat(MAX_TEMPLATE_BYTES / 3 - 20) + "%}",
        "{{ ".to_owned() + &"'%s' % (\n".repeat(MAX_TEMPLATE_BYTES / 9 - 1),
        "{% macro m(".to_owned() + &"a=a,\n".repeat(MAX_TEMPLATE_BYTES / 5 - 8),
        "{{ '".to_owned() + &"\\\\\n".repeat(MAX_TEMPLATE_BYTES / 3 - 4),
    ] {
        let files = files(&[(TEMPLATE_FILE, &source)]);
        assert!(
            ChatTemplate::from_files(&files).is_err(),
            "{}",
            &source[..20]
        );
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let counted = "{% for i in range(9999) %}{{ messages[0].content | wordcount }}{{ messages[0].content.isalpha() }}{% endfor %}";
    let long = [message("user", &"世".repeat(500_000))];
    assert_eq!(
        template(counted).render(&long, true, None),
        Err(ChatTemplateError::TooManySteps)
    );
}

mod snippets;
