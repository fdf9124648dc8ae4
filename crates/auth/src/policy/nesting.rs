//! How deep a text is nested, before anybody reads it by recursion: what overflows a stack ends the process.

use super::source::Text;

/// Brackets within each other, and `if`s in one policy.
const DEEPEST: usize = 64;

/// Characters of operators in one policy: each may be a level of what is made of it.
const MOST_OPERATORS: usize = 2000;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Policies,
    /// Where `Set<…>` nests.
    Schema,
}

/// Where `text` is more than can be read, and why.
pub(super) fn check(text: &Text, language: Language) -> Result<(), String> {
    let wrong = |at: usize, what: String| Err(format!("{}:{}: {what}", text.name, text.line(at)));
    let bytes = text.text.as_bytes();
    let (mut depth, mut conditions, mut operators) = (0_usize, 0, 0);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut length = 1;
        match byte {
            b'"' => length = string(rest),
            b'/' if rest.starts_with(b"//") => length = line(rest),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'<' if language == Language::Schema => depth += 1,
            b'>' if language == Language::Schema => depth = depth.saturating_sub(1),
            b';' if depth == 0 => (conditions, operators) = (0, 0),
            b'!' | b'&' | b'|' | b'+' | b'-' | b'*' | b'.' | b'<' | b'>' | b'=' => operators += 1,
            byte if is_word(byte) => {
                length = rest.iter().take_while(|byte| is_word(**byte)).count();
                conditions += usize::from(rest.get(..length) == Some(b"if"));
            }
            _ => {}
        }
        if depth > DEEPEST || conditions > DEEPEST {
            return wrong(at, format!("expected at most {DEEPEST} levels of brackets, and of `if`"));
        }
        if operators > MOST_OPERATORS && language == Language::Policies {
            return wrong(
                at,
                format!("expected at most {MOST_OPERATORS} characters of operators in a policy"),
            );
        }
        at += length;
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the string that `rest` begins with, quotes and all.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}
