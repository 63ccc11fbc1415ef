//! Each construct of transformers' environment by itself: the text that Jinja2 makes of it, or an error, never
//! another text. `make_snippets.py` says how the expected values came about.

use super::*;

/// What Jinja2 renders and this engine refuses: filters for web pages and the like, and what is there for debugging.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    r#"{{ '\x41\u00e9\U0001F980\101\N{DIGIT ONE}' }}"#,
    r#"{{ '\ud83e\udd80' | length }}"#,
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}",
    "{% macro m() %}x{% endmacro %}{{ m is callable }}{{ m is defined }}{{ m }}",
    "{% block a %}in block{% endblock %}",
    "{% block a %}{{ self is defined }}{% endblock a %}",
    "{% block a %}1{% endblock %}{{ self.a() }}",
    "{% raw %}",
    "{#",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns }}",
    "{% for x in numbers %}{{ loop }}{% endfor %}",
    "{{ lipsum(n=1) | length > 0 }}",
    "{{ +1 }}",
    "{{ -true }}",
    "{{ dict([('a', 1)]) }}",
    "{{ 'AbC'.swapcase() }}",
    "{{ 'ẞ'.casefold() }}",
    "{{ 'Straße'.casefold() }}",
    "{{ 'Ab Cd'.istitle() }}",
    "{{ 'a_1'.isidentifier() }}",
    "{{ '1a'.isidentifier() }}",
    r#"{{ 'a\n'.isprintable() }}"#,
    r#"{{ 'a\tb'.expandtabs() }}"#,
    r#"{{ 'a\tb'.expandtabs(4) }}"#,
    "{{ 'abc'.encode() }}",
    "{{ 'abc'.translate({97: 'x'}) }}",
    "{{ 'abc'.maketrans('a', 'b') }}",
    "{{ '{!r}'.format('a') }}",
    "{{ '{:%}'.format(0.5) }}",
    "{{ (1).bit_length() }}",
    "{{ 1.5.is_integer() }}",
    "{{ map.fromkeys(['a']) }}",
    "{{ '<a>' | forceescape }}",
    "{{ '<b>x</b> &amp; y  z' | striptags }}",
    "{{ 1024 | filesizeformat }}",
    "{{ 1000000 | filesizeformat }}",
    "{{ 1 | filesizeformat }}",
    "{{ 1 | filesizeformat(true) }}",
    "{{ 1048576 | filesizeformat(binary=true) }}",
    "{{ 1500 | filesizeformat }}",
    "{{ 0 | filesizeformat }}",
    "{{ '2000' | filesizeformat }}",
    "{{ '%g' % 0.0001 }}",
    "{{ '%g' % 1e20 }}",
    "{{ '%G' % 1e-10 }}",
    "{{ '%a' % 'é' }}",
    "{{ pi | pprint }}",
    "{{ mixed | pprint }}",
    "{{ map | pprint }}",
    "{{ 'a' | pprint }}",
    "{{ 'a b/c?d=é&' | urlencode }}",
    "{{ {'a': 1, 'b': 'x y'} | urlencode }}",
    "{{ [('a', 1)] | urlencode }}",
    "{{ 'a/b' | urlencode }}",
    "{{ 'see http://a.de now' | urlize }}",
    "{{ text | wordwrap(20) }}",
    "{{ text | wordwrap(20, true, '|') }}",
    "{{ text | wordwrap(5, false) }}",
    "{{ text | wordwrap(5) }}",
    r#"{{ text | wordwrap(10, wrapstring='\n> ') }}"#,
    "{{ 'a-b-c-d e-f' | wordwrap(4) }}",
    "{{ 'a-b-c-d e-f' | wordwrap(4, break_on_hyphens=false) }}",
    "{{ lines | wordwrap(4) }}",
    r#"{{ 'a\n\nb  c' | wordwrap(3) }}"#,
    "{{ 'abcdefghij' | wordwrap(4) }}",
    "{{ '' | wordwrap(4) }}",
    "{{ '  a  b ' | wordwrap(3) ~ '|' }}",
    r#"{{ {'a': 1, 'b': none, 'c': missing, 'd': '<&"'} | xmlattr }}"#,
    "{{ {'a': 1} | xmlattr(false) }}",
    "{{ {} | xmlattr ~ '|' }}",
    "{{ [none, none] | sort }}",
];

/// What this engine renders otherwise and cannot know of: things that say how Jinja2 works, and a few mistakes that
/// Python happens to take.
#[rustfmt::skip]
const DIFFERENT: &[&str] = &[
    "{% macro m() %}x{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_varargs }}",
    "{{ range(9)[2:4] }}",
    "{{ map['items'] is defined }}",
    "{{ map.keys is defined }}",
    "{{ numbers[1.0] }}",
    "{{ 1e20 ~ '' }}",
    r#"{{ ['\u200b', missing] ~ '' }}"#,
    "{{ none[1:] }}",
    "{{ self is defined }}",
    "{{ strftime_now is defined }}",
    "{{ lipsum is defined }}",
];

/// What Jinja2 fails for and this engine renders: operators and loops have no place for a check.
#[rustfmt::skip]
const LENIENT: &[&str] = &[
    "{% for in x %}{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{{ 1 < 'a' }}",
    "{{ none < 1 }}",
    "{{ 1 in 'abc' }}",
    "{{ missing[1:] }}",
    "{{ [[1], [1]] | unique | list }}",
    "{{ 'a' is even }}",
    "{{ 1 is in none }}",
];

#[test]
fn every_construct_renders_as_jinja2_or_is_refused() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/chat_template/tests/snippets.json"
    );
    let mut groups: Map<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut head = |name: &str| groups.remove(name).unwrap();
    head("computed_with");
    let config = head("tokens").to_string();
    let variables = Value::deserialize(head("variables")).unwrap();
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    let mut equal = 0;
    for (group, cases) in &groups {
        let cases: Vec<(String, Option<String>)> = Vec::deserialize(cases).unwrap();
        assert!(cases.len() > 40, "{group}");
        for (source, expected) in cases {
            let files = files(&[(TEMPLATE_FILE, &source), (CONFIG_FILE, &config)]);
            let rendered = ChatTemplate::from_files(&files)
                .and_then(|template| template.unwrap().render_with(variables.clone()));
            match (rendered, expected) {
                (Ok(text), Some(expected)) if text == expected => equal += 1,
                (Err(_), None) => equal += 1,
                (Err(e), Some(_)) => refused.push((source, e.to_string())),
                (Ok(_), Some(_)) if DIFFERENT.contains(&&*source) => {}
                (Ok(_), None) if LENIENT.contains(&&*source) => {}
                (Ok(text), expected) => {
                    wrong.push(format!("{group}: {source}\n  {expected:?}\n  {text:?}"));
                }
            }
        }
    }
    assert!(equal > 1300, "{equal}");
    refused.retain(|(source, _)| !REFUSED.contains(&source.as_str()));
    assert!(
        wrong.is_empty() && refused.is_empty(),
        "{equal} equal, {} wrong:\n{}\n{} refused:\n{refused:#?}",
        wrong.len(),
        wrong.join("\n"),
        refused.len(),
    );
}
