//! A template's text, made what the engine parses.

mod literals;
mod percent;

/// Line feeds alone end lines, as Jinja2 has it; `{% generation %}` is gone; what Python's literals and operators have
/// and the engine's have not is spelled otherwise.
///
/// # Errors
/// Why the template is refused: the engine would render another text than Jinja2.
pub(super) fn prepared(template: &str) -> Result<String, String> {
    let template = template.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(template.len());
    let mut rest = &*template;
    while let Some(at) = rest.find('{').filter(|at| at + 2 <= rest.len()) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let (length, code) = match tag.as_bytes()[1] {
            b'#' => (tag.find("#}").map(|end| end + 2), false),
            b'{' => (end_of(tag, "}}"), true),
            b'%' => (end_of(tag, "%}"), true),
            _ => (Some(1), false),
        };
        let (tag, after) = tag.split_at(length.unwrap_or(tag.len()));
        rest = after;
        match name(tag) {
            // What is set between them stays there.
            "generation" => out.push_str(&tag.replacen("generation", "with generation = none", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith", 1)),
            "raw" => {
                let raw = end_of_raw(rest);
                // Jinja2 keeps the line feed behind it.
                let signed = tag.ends_with("-%}") || tag.ends_with("+%}");
                out.push_str(tag.strip_suffix("%}").unwrap_or(tag));
                out.push_str(if signed { "%}" } else { "+%}" });
                out.push_str(&rest[..raw]);
                rest = &rest[raw..];
            }
            _ if code => {
                let tag = literals::spelled(tag)?;
                check_defaults(&tag)?;
                out.push_str(&percent::as_filter(&tag));
            }
            _ => out.push_str(tag),
        }
    }
    Ok(out + rest)
}

/// Most arguments of a macro.
const MAX_ARGUMENTS: usize = 64;

/// A default that is another argument: the engine knows it only outside.
fn check_defaults(tag: &str) -> Result<(), String> {
    let inside = tag.trim_start_matches(['{', '%', '-', '+']).trim_start();
    let arguments = ["macro ", "call(", "call ("]
        .iter()
        .any(|start| inside.starts_with(start));
    let Some((_, arguments)) = inside.split_once('(').filter(|_| arguments) else {
        return Ok(());
    };
    let mut known: Vec<&str> = Vec::new();
    for argument in arguments.split(',') {
        if known.len() == MAX_ARGUMENTS {
            return Err(format!("a macro has more than {MAX_ARGUMENTS} arguments"));
        }
        let (argument, default) = argument.split_once('=').unwrap_or((argument, ""));
        let mut words = default.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        if words.any(|word| known.contains(&word)) {
            return Err(
                "a macro's default that is another of its arguments is not supported".into(),
            );
        }
        known.push(argument.trim().trim_end_matches(')').trim());
    }
    Ok(())
}

/// Where a tag ends, behind `end`, which is not looked for within texts.
fn end_of(tag: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if tag[at..].starts_with(end) => return Some(at + end.len()),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => {}
        }
    }
    None
}

/// Longest tag that ends a raw block.
const MAX_ENDRAW_BYTES: usize = 64;

/// Where the tag begins that ends a raw block.
fn end_of_raw(text: &str) -> usize {
    let mut tags = text.match_indices("{%");
    let end = tags.find(|(at, _)| {
        let tag = &text[*at..];
        let tag = &tag[..tag.floor_char_boundary(MAX_ENDRAW_BYTES)];
        tag.find("%}")
            .is_some_and(|end| name(&tag[..end + 2]) == "endraw")
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// The only word of a tag.
fn name(tag: &str) -> &str {
    match tag
        .strip_prefix("{%")
        .and_then(|tag| tag.strip_suffix("%}"))
    {
        Some(inside) => inside.trim_matches(['-', '+']).trim(),
        None => "",
    }
}
