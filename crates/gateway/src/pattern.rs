//! Path patterns as the configuration writes them: `/orders`, `/orders/{id}/items`.

use std::fmt;

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// These bytes, percent-decoded.
    Literal(Box<[u8]>),
    /// Any one segment that is not empty; named so that a rewrite can use it.
    Parameter(Box<str>),
}

/// A path: closed (this path only) or open (this path and all below it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The segments; `/` alone is one empty literal where closed, no segment at all where open.
    pub(crate) segments: Vec<Segment>,
    /// Whether paths below it match as well.
    pub(crate) open: bool,
}

/// Why a text is not a pattern; the sentence continues "expected".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidPattern(String);

impl Pattern {
    /// This path only.
    pub(crate) fn closed(text: &str) -> Result<Self, InvalidPattern> {
        Ok(Self { segments: segments(body(text)?)?, open: false })
    }

    /// This path and all below it; a slash at the end says nothing more.
    pub(crate) fn open(text: &str) -> Result<Self, InvalidPattern> {
        let body = body(text)?;
        let body = body.strip_suffix('/').unwrap_or(body);
        let segments = if body.is_empty() { Vec::new() } else { segments(body)? };
        Ok(Self { segments, open: true })
    }

    /// The position of a parameter among the segments.
    pub(crate) fn position(&self, parameter: &str) -> Option<usize> {
        let is_it = |segment: &Segment| matches!(segment, Segment::Parameter(name) if **name == *parameter);
        self.segments.iter().position(is_it)
    }

    /// Whether both match exactly the same paths.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, two): (&Segment, &Segment)| match (one, two) {
            (Segment::Literal(one), Segment::Literal(two)) => one == two,
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            _ => false,
        };
        self.open == other.open
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }
}

fn body(text: &str) -> Result<&str, InvalidPattern> {
    if let Some(wrong) = text.chars().find(|c| matches!(c, '?' | '#' | '\\') || c.is_control() || *c == ' ') {
        return Err(InvalidPattern(format!("a path without {wrong:?}")));
    }
    text.strip_prefix('/').ok_or_else(|| InvalidPattern("a path that starts with `/`".to_owned()))
}

fn segments(body: &str) -> Result<Vec<Segment>, InvalidPattern> {
    let count = body.split('/').count();
    let mut segments: Vec<Segment> = Vec::with_capacity(count);
    for (index, text) in body.split('/').enumerate() {
        let segment = segment(text, index + 1 == count)?;
        if let Segment::Parameter(name) = &segment
            && segments.contains(&segment)
        {
            return Err(InvalidPattern(format!("the parameter {{{name}}} only once")));
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn segment(text: &str, last: bool) -> Result<Segment, InvalidPattern> {
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        if name.starts_with('*') {
            return Err(InvalidPattern(format!(
                "no `{{{name}}}`: `prefix` in place of `path` matches everything below a path"
            )));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) {
            return Err(InvalidPattern(
                "a parameter named by letters, digits and `_`, as in `{id}`".to_owned(),
            ));
        }
        return Ok(Segment::Parameter(name.into()));
    }
    if text.contains(['{', '}']) {
        return Err(InvalidPattern("a parameter to be a whole segment, as in `/orders/{id}`".to_owned()));
    }
    if text.is_empty() && !last {
        return Err(InvalidPattern("no empty segment (`//`)".to_owned()));
    }
    let decoded = decode(text.as_bytes())
        .ok_or_else(|| InvalidPattern("two hexadecimal digits after each `%`".to_owned()))?;
    if matches!(&*decoded, b"." | b"..") {
        return Err(InvalidPattern("no `.` or `..` segment".to_owned()));
    }
    Ok(Segment::Literal(decoded.into()))
}

/// Percent-decodes; `None` where a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => write!(f, "/{}", String::from_utf8_lossy(bytes))?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        if self.open { f.write_str("/…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_pattern_says_what_was_expected() {
        for (text, expected) in [
            ("orders", "starts with `/`"),
            ("", "starts with `/`"),
            ("/a//b", "no empty segment"),
            ("/a/../b", "no `.` or `..`"),
            ("/a/%2e%2E/b", "no `.` or `..`"),
            ("/a?b", "without '?'"),
            ("/a b", "without ' '"),
            ("/%4", "two hexadecimal digits"),
            ("/x{id}", "a whole segment"),
            ("/{}", "named by letters"),
            ("/{a-b}", "named by letters"),
            ("/{*rest}", "`prefix` in place of `path`"),
            ("/{id}/{id}", "only once"),
        ] {
            let error = Pattern::closed(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_slash_at_the_end_matters_for_a_path_and_not_for_a_prefix() {
        assert_ne!(Pattern::closed("/a").unwrap(), Pattern::closed("/a/").unwrap());
        assert_eq!(Pattern::open("/a").unwrap(), Pattern::open("/a/").unwrap());
        assert!(Pattern::open("/").unwrap().segments.is_empty());
    }

    #[test]
    fn names_of_parameters_do_not_tell_patterns_apart() {
        let [one, two] = ["/a/{b}", "/a/{c}"].map(|text| Pattern::closed(text).unwrap());
        assert!(one.is_same(&two));
        assert!(!one.is_same(&Pattern::open("/a/{b}").unwrap()));
        assert!(!one.is_same(&Pattern::closed("/a/b").unwrap()));
    }
}
