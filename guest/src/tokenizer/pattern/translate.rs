//! Oniguruma's Ruby syntax to fancy-regex's.

use std::iter::Peekable;
use std::str::Chars;

/// Oniguruma's `\w` within brackets: Alphabetic, Mark, Decimal_Number and Connector_Punctuation.
const WORD_CLASS: &str = r"[\w--[\x{200C}\x{200D}]]";
/// Outside of them its table of Latin-1 adds six numbers.
const WORD: &str = r"[\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}[\w--[\x{200C}\x{200D}]]]";
const NOT_WORD: &str = r"[^\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE}[\w--[\x{200C}\x{200D}]]]";

/// A pattern for fancy-regex.
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Whether some part of it is not searched in linear time.
    pub(super) backtracks: bool,
}

/// # Errors
/// In words that follow "it", why the pattern is refused.
pub(super) fn from_oniguruma(source: &str) -> Result<Translated, String> {
    let mut translator = Translator {
        rest: source.chars().peekable(),
        out: String::with_capacity(source.len()),
        atom: None,
        groups: Vec::new(),
        ignore_case: false,
        backtracks: false,
        repeats: 1,
    };
    while let Some(c) = translator.rest.next() {
        translator.step(c)?;
    }
    match translator.groups.is_empty() {
        true => Ok(Translated {
            pattern: translator.out,
            backtracks: translator.backtracks,
        }),
        false => Err("has a group without an end".into()),
    }
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Where the last thing in `out` begins that a quantifier can follow.
    atom: Option<usize>,
    groups: Vec<Group>,
    /// Within `(?i)`.
    ignore_case: bool,
    backtracks: bool,
    /// Product of the intervals so far: what compiling may multiply.
    repeats: u32,
}

/// Most [`Translator::repeats`].
const MAX_REPEATS: u32 = 100_000;

/// A group that is open.
struct Group {
    /// Where it begins in `out`.
    start: usize,
    /// Whether a quantifier can follow.
    repeatable: bool,
    /// What holds after its end.
    ignore_case: bool,
}

impl Translator<'_> {
    fn step(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => self.escape(),
            '[' => {
                let start = self.out.len();
                match self.ignore_case {
                    true => self.class_ignoring_case()?,
                    false => self.class(0)?,
                }
                self.atom = Some(start);
                Ok(())
            }
            '(' => self.open(),
            ')' => {
                let group = self
                    .groups
                    .pop()
                    .ok_or("has a parenthesis that ends nothing")?;
                self.out.push(')');
                self.ignore_case = group.ignore_case;
                self.atom = group.repeatable.then_some(group.start);
                Ok(())
            }
            '|' => {
                self.out.push('|');
                self.atom = None;
                Ok(())
            }
            // At the start of each line, but not after a line feed that ends the text.
            '^' => self.assertion(r"(?:\A|(?<=\n)(?!\z))", true),
            '$' => self.assertion("(?m:$)", false),
            '*' | '+' | '?' => self.quantifier(&c.to_string(), true),
            '{' => match self.interval() {
                Some(interval) => self.quantifier(&interval?, false),
                None => self.literal('{'),
            },
            '.' => self.simple("."),
            _ => self.literal(c),
        }
    }

    fn literal(&mut self, c: char) -> Result<(), String> {
        if self.ignore_case {
            self.check_folding(c)?;
        }
        let start = self.out.len();
        self.out
            .push_str(&fancy_regex::escape(c.encode_utf8(&mut [0; 4])));
        self.atom = Some(start);
        Ok(())
    }

    /// Oniguruma also folds one character to several: `ss` is `ß`.
    fn check_folding(&self, c: char) -> Result<(), String> {
        let pair = self
            .out
            .chars()
            .next_back()
            .map(|before| [before, c].map(|c| c.to_ascii_lowercase()));
        let folds = matches!(pair, Some(['s', 's' | 't'] | ['f', 'f' | 'i' | 'l']));
        match c.is_ascii() && !folds {
            true => Ok(()),
            false => Err(format!(
                "has {c:?} under (?i), where it may stand for several characters"
            )),
        }
    }

    /// Something that stands for one character and means the same in both.
    fn simple(&mut self, text: &str) -> Result<(), String> {
        self.atom = Some(self.out.len());
        self.out.push_str(text);
        Ok(())
    }

    fn assertion(&mut self, text: &str, backtracks: bool) -> Result<(), String> {
        self.out.push_str(text);
        self.backtracks |= backtracks;
        self.atom = None;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let c = self.rest.next().ok_or("ends with a backslash")?;
        match c {
            'A' | 'z' => self.assertion(&format!("\\{c}"), false),
            'Z' => self.assertion(r"(?=\n?\z)", true),
            'b' => self.assertion(
                &format!("(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))"),
                true,
            ),
            'B' => self.assertion(
                &format!("(?:(?<={WORD})(?={WORD})|(?<!{WORD})(?!{WORD}))"),
                true,
            ),
            'w' => self.simple(WORD),
            'W' => self.simple(NOT_WORD),
            _ => {
                let one = self.one_character(c)?;
                match one.strip_prefix('\u{0}') {
                    Some(literal) => literal.chars().try_for_each(|c| self.literal(c)),
                    None => self.simple(&one),
                }
            }
        }
    }

    /// What `\c` stands for, in and out of brackets: a class, or a literal after a zero.
    fn one_character(&mut self, c: char) -> Result<String, String> {
        match c {
            'd' | 'D' | 's' | 'S' => Ok(format!("\\{c}")),
            'h' => Ok("[0-9A-Fa-f]".into()),
            'H' => Ok("[^0-9A-Fa-f]".into()),
            'p' | 'P' => self.property(c),
            'n' => Ok("\0\n".into()),
            'r' => Ok("\0\r".into()),
            't' => Ok("\0\t".into()),
            'f' => Ok("\0\u{c}".into()),
            'v' => Ok("\0\u{b}".into()),
            'a' => Ok("\0\u{7}".into()),
            'e' => Ok("\0\u{1b}".into()),
            'x' | 'u' => Ok(format!("\0{}", self.code_point(c)?)),
            c if c.is_ascii_alphanumeric() => Err(format!("has \\{c}")),
            c => Ok(format!("\0{c}")),
        }
    }

    /// `{Name}` or `{^Name}` after `\p` or `\P`.
    fn property(&mut self, c: char) -> Result<String, String> {
        if self.ignore_case {
            return Err(format!("has \\{c} under (?i)"));
        }
        let no_name = || format!("has \\{c} without a name in braces");
        if self.rest.next() != Some('{') {
            return Err(no_name());
        }
        let not = self.rest.next_if_eq(&'^').is_some();
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_alphabetic() || matches!(c, '_' | ' ') => name.push(c),
                _ => return Err(no_name()),
            }
        }
        let letter = if (c == 'P') ^ not { 'P' } else { 'p' };
        Ok(format!("\\{letter}{{{name}}}"))
    }

    /// After `\x` two digits (of ASCII, as it is a byte) or `{digits}`, after `\u` four digits.
    fn code_point(&mut self, c: char) -> Result<char, String> {
        let digits: String = if c == 'x' && self.rest.next_if_eq(&'{').is_some() {
            let rest = &mut self.rest;
            std::iter::from_fn(|| rest.next().filter(|c| *c != '}'))
                .take(9)
                .collect()
        } else {
            self.rest
                .by_ref()
                .take(if c == 'x' { 2 } else { 4 })
                .collect()
        };
        let code = u32::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'));
        match code.and_then(char::from_u32) {
            Some(found) if found.is_ascii() || c == 'u' || digits.len() > 2 => Ok(found),
            _ => Err(format!("has \\{c}{digits}")),
        }
    }

    /// Behind `[`, to its `]`.
    fn class(&mut self, depth: usize) -> Result<(), String> {
        const NO_END: &str = "has a bracket without an end";
        if depth > 8 {
            return Err("nests brackets too deep".into());
        }
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str("\\]");
        }
        loop {
            match self.rest.next().ok_or(NO_END)? {
                ']' => break,
                '[' if self.rest.peek() == Some(&':') => self.posix_class()?,
                '[' => self.class(depth + 1)?,
                '\\' => {
                    let c = self.rest.next().ok_or(NO_END)?;
                    match c {
                        'b' => self.out.push_str("\\x08"),
                        'w' => self.out.push_str(WORD_CLASS),
                        'W' => self.out.push_str(&WORD_CLASS.replacen('[', "[^", 1)),
                        _ => {
                            let one = self.one_character(c)?;
                            match one.strip_prefix('\u{0}') {
                                Some(literal) => {
                                    literal.chars().for_each(|c| self.class_literal(c))
                                }
                                None => self.out.push_str(&one),
                            }
                        }
                    }
                }
                '&' if self.rest.next_if_eq(&'&').is_some() => self.out.push_str("&&"),
                '-' => match self.rest.peek() {
                    Some('-') => return Err("has -- in brackets".into()),
                    // Of a range, or itself at the end.
                    _ => self.out.push('-'),
                },
                c => self.class_literal(c),
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Only of letters and digits of ASCII: what others stand for under `(?i)` differs.
    fn class_ignoring_case(&mut self) -> Result<(), String> {
        let rest = &mut self.rest;
        let inside: String =
            std::iter::from_fn(|| rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-'))
                .collect();
        if inside.is_empty() || self.rest.next() != Some(']') {
            return Err(
                "has brackets under (?i) with more than letters and digits of ASCII".into(),
            );
        }
        self.out.push_str(&format!("[{inside}]"));
        Ok(())
    }

    fn class_literal(&mut self, c: char) {
        match c {
            c if c.is_alphanumeric() => self.out.push(c),
            c => self.out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }

    /// `:name:]` behind a bracket. Oniguruma's are of all of Unicode.
    fn posix_class(&mut self) -> Result<(), String> {
        self.rest.next();
        let not = if self.rest.next_if_eq(&'^').is_some() {
            "^"
        } else {
            ""
        };
        let rest = &mut self.rest;
        let name: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_alphabetic)).collect();
        let inside = match name.as_str() {
            "alpha" => r"\p{Alphabetic}",
            "digit" => r"\p{Nd}",
            "alnum" => r"\p{Alphabetic}\p{Nd}",
            "upper" => r"\p{Uppercase}",
            "lower" => r"\p{Lowercase}",
            "space" => r"\s",
            "blank" => r"\p{Zs}\t",
            "punct" => r"\p{P}\p{S}",
            "cntrl" => r"\p{Cc}",
            "xdigit" => "0-9A-Fa-f",
            "word" => WORD_CLASS,
            _ => return Err(format!("has [:{name}:]")),
        };
        if [self.rest.next(), self.rest.next()] != [Some(':'), Some(']')] {
            return Err(format!("has [:{name} without its end"));
        }
        self.out.push_str(&format!("[{not}{inside}]"));
        Ok(())
    }

    /// Behind `(`.
    fn open(&mut self) -> Result<(), String> {
        let mut group = Group {
            start: self.out.len(),
            repeatable: true,
            ignore_case: self.ignore_case,
        };
        if self.rest.next_if_eq(&'?').is_none() {
            // What it captured is not asked for.
            self.out.push_str("(?:");
        } else {
            match (self.rest.next(), self.rest.peek()) {
                (Some(':'), _) => self.out.push_str("(?:"),
                (Some(c @ ('=' | '!')), _) => {
                    self.out.push_str(&format!("(?{c}"));
                    group.repeatable = false;
                    self.backtracks = true;
                }
                (Some('<'), Some(&c @ ('=' | '!'))) => {
                    self.rest.next();
                    self.out.push_str(&format!("(?<{c}"));
                    group.repeatable = false;
                    self.backtracks = true;
                }
                (Some('>'), _) => {
                    self.out.push_str("(?>");
                    self.backtracks = true;
                }
                (Some('#'), _) => return self.comment(),
                (Some(c), _) => return self.options(c, group),
                (None, _) => return Err("ends within a group".into()),
            }
        }
        self.atom = None;
        self.groups.push(group);
        Ok(())
    }

    /// `(?#...)`
    fn comment(&mut self) -> Result<(), String> {
        match self.rest.any(|c| c == ')') {
            true => Ok(()),
            false => Err("has a comment without an end".into()),
        }
    }

    /// `(?i:...)`, `(?m:...)` (in Ruby, a dot that takes line feeds), or `(?i)` at the start for all of it.
    fn options(&mut self, first: char, group: Group) -> Result<(), String> {
        let second = self.rest.next();
        match (first, second) {
            ('i', Some(':')) => {
                self.out.push_str("(?i:");
                self.ignore_case = true;
            }
            ('m', Some(':')) => self.out.push_str("(?s:"),
            ('i', Some(')')) if self.out.is_empty() => {
                self.out.push_str("(?i)");
                self.ignore_case = true;
                return Ok(());
            }
            _ => {
                return Err(format!(
                    "has the group (?{first}{}",
                    second.map_or(String::new(), String::from)
                ));
            }
        }
        self.atom = None;
        self.groups.push(group);
        Ok(())
    }

    /// Behind `{`: `n}`, `n,}`, `,m}` or `n,m}`; none if the brace is but a brace.
    fn interval(&mut self) -> Option<Result<String, String>> {
        let ahead: String = self
            .rest
            .clone()
            .take_while(|c| *c != '}')
            .take(16)
            .collect();
        let (low, high) = match ahead.split_once(',') {
            Some((low, high)) => (low, Some(high)),
            None => (&*ahead, None),
        };
        let number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        let some = !low.is_empty() || high.is_some_and(|high| !high.is_empty());
        let closed = self.rest.clone().nth(ahead.len()) == Some('}');
        if !(some && closed && number(low) && high.is_none_or(number)) {
            return None;
        }
        self.rest.nth(ahead.len());
        let low: u32 = low.parse().unwrap_or(0);
        let text = match high {
            None => format!("{{{low}}}"),
            Some("") => format!("{{{low},}}"),
            Some(high) => format!("{{{low},{high}}}"),
        };
        let high: u32 = high.map_or(low, |high| high.parse().unwrap_or(low));
        self.repeats = self.repeats.saturating_mul(high.max(1));
        Some(match low <= high && self.repeats <= MAX_REPEATS {
            true => Ok(text),
            false => Err(format!("repeats {text}")),
        })
    }

    /// With the `?` or `+` that may follow. `simple`: not an interval.
    fn quantifier(&mut self, text: &str, simple: bool) -> Result<(), String> {
        let start = self
            .atom
            .take()
            .ok_or_else(|| format!("repeats nothing with {text}"))?;
        self.out.push_str(text);
        let fixed = !text.contains(',');
        match (simple, self.rest.peek()) {
            (_, Some('?')) if simple || !fixed => self.out.push('?'),
            (true, Some('+')) => {
                self.out.push('+');
                self.backtracks = true;
            }
            // Ruby's {n}? and {n,m}+ are quantifiers of a quantifier.
            (false, Some(&outer @ ('?' | '+'))) => {
                self.out.insert_str(start, "(?:");
                self.out.push(')');
                self.out.push(outer);
            }
            (_, Some('*' | '{')) => return Err("repeats what is repeated".into()),
            _ => return Ok(()),
        }
        self.rest.next();
        match self.rest.peek() {
            Some('*' | '+' | '?' | '{') => Err("repeats what is repeated".into()),
            _ => Ok(()),
        }
    }
}
