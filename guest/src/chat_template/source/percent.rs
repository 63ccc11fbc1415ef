//! `'...' % values`, for which the engine has no operator, as a filter.

use crate::chat_template::filters::PERCENT;

/// Deepest nesting of formats within the values of formats.
const MAX_DEPTH: usize = 8;

/// A tag in which each text that is formatted by `%` is filtered instead. (Where the format is no text but a variable, the
/// engine refuses.)
pub(super) fn as_filter(tag: &str) -> String {
    rewritten(tag, 0)
}

fn rewritten(tag: &str, depth: usize) -> String {
    let mut out = String::with_capacity(tag.len());
    let mut rest = tag;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, text) = rest.split_at(at);
        let (text, after) = text.split_at(text_length(text));
        out.push_str(before);
        out.push_str(text);
        rest = after;
        let values = after
            .trim_start()
            .strip_prefix('%')
            .filter(|values| depth < MAX_DEPTH && !values.starts_with('}'));
        if let Some(values) = values {
            let values = values.trim_start();
            let (values, after) = values.split_at(operand_length(values));
            out.push_str(&format!(" | {PERCENT}({})", rewritten(values, depth + 1)));
            rest = after;
        }
    }
    out + rest
}

/// Of a quoted text.
fn text_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if Some(c) == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Of what `%` takes on its right: a value with its signs, attributes, items, arguments and filters.
fn operand_length(text: &str) -> usize {
    let signs = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
    let mut at = signs + value_length(&text[signs..]);
    loop {
        let rest = &text[at..];
        let spaces = rest.len() - rest.trim_start().len();
        let next = &rest[spaces..];
        at += match next.chars().next() {
            Some('(' | '[') => spaces + value_length(next),
            Some('.' | '|') => {
                let name = next[1..].trim_start();
                let skipped = next.len() - name.len();
                spaces + skipped + value_length(name)
            }
            _ => return at,
        };
    }
}

/// Of a name, a number, a text, or something in brackets.
fn value_length(text: &str) -> usize {
    match text.chars().next() {
        Some('\'' | '"') => text_length(text),
        Some('(' | '[' | '{') => {
            let mut depth = 0;
            let mut at = 0;
            while let Some(c) = text[at..].chars().next() {
                match c {
                    '\'' | '"' => {
                        at += text_length(&text[at..]);
                        continue;
                    }
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth -= 1,
                    _ => {}
                }
                at += c.len_utf8();
                if depth == 0 {
                    return at;
                }
            }
            text.len()
        }
        _ => text
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(text.len()),
    }
}
