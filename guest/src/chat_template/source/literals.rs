//! Texts in a template's code, with Python's escapes.

/// A tag with the escapes that the engine does not know spelled otherwise.
///
/// # Errors
/// An escape that stands for no character by itself.
pub(super) fn spelled(tag: &str) -> Result<String, String> {
    let mut out = String::with_capacity(tag.len());
    let mut quote = None;
    let mut rest = tag.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                out.push(c);
            }
            (Some(_), '\\') => escape(&mut rest, &mut out)?,
            (Some(open), c) => {
                quote = Some(open).filter(|_| c != open);
                out.push(c);
            }
            (None, c) => out.push(c),
        }
    }
    Ok(out)
}

/// Behind a backslash.
fn escape(rest: &mut std::str::Chars, out: &mut String) -> Result<(), String> {
    let Some(c) = rest.next() else {
        out.push('\\');
        return Ok(());
    };
    match c {
        '\n' => {}
        'a' => out.push_str("\\u0007"),
        'b' => out.push_str("\\u0008"),
        'f' => out.push_str("\\u000c"),
        'v' => out.push_str("\\u000b"),
        'N' => return Err("a text with a character by its name (\\N) is not supported".into()),
        'u' | 'U' => {
            let digits: String = rest.by_ref().take(if c == 'u' { 4 } else { 8 }).collect();
            let code = u32::from_str_radix(&digits, 16).ok();
            match code.and_then(char::from_u32) {
                Some(found) if found.is_ascii() => {
                    out.push_str(&format!("\\u{:04x}", u32::from(found)))
                }
                Some(found) => out.push(found),
                None => return Err(format!("a text with \\{c}{digits}, which is no character")),
            }
        }
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(())
}
