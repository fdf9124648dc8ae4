//! Paths that mean one thing here and another behind us are refused.
//!
//! A gateway that routes `/public/..%2fadmin` by its first segment, in front of a server that decodes it and then
//! resolves the dots, has let its caller choose the route. Such paths have no honest use, so they end here.

use crate::pattern::decode;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguous {
    #[error("a path must not contain `.` or `..` segments, encoded or not")]
    Dots,
    #[error("each `%` in a path must be followed by two hexadecimal digits")]
    Encoding,
    #[error("a path must not contain control characters, encoded or not")]
    Control,
}

/// Passes every path that has one meaning; costs one look at its bytes where it has no `%`, `\` or leading dot.
pub(crate) fn check(path: &str) -> Result<(), Ambiguous> {
    for segment in path.split('/') {
        if segment.contains('%') {
            let decoded = decode(segment.as_bytes()).ok_or(Ambiguous::Encoding)?;
            if decoded.iter().any(u8::is_ascii_control) {
                return Err(Ambiguous::Control);
            }
            check_dots(&decoded)?;
        } else {
            check_dots(segment.as_bytes())?;
        }
    }
    Ok(())
}

/// Servers differ in what ends a segment: some take `\` for `/`, some cut parameters off at `;`.
fn check_dots(segment: &[u8]) -> Result<(), Ambiguous> {
    let dots = |piece: &[u8]| matches!(piece.split(|byte| *byte == b';').next(), Some(b"." | b".."));
    if segment.split(|byte| matches!(byte, b'/' | b'\\')).any(dots) { Err(Ambiguous::Dots) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_climb_is_refused() {
        for path in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a/x%2F..%2Fb",
            "/a/..;/b",
            "/a/..\\b",
            "/a/b%5c..",
        ] {
            assert_eq!(check(path), Err(Ambiguous::Dots), "{path}");
        }
        assert_eq!(check("/a%00b"), Err(Ambiguous::Control));
        assert_eq!(check("/a%0d%0ab"), Err(Ambiguous::Control));
        for path in ["/a%", "/a%2", "/a%zz"] {
            assert_eq!(check(path), Err(Ambiguous::Encoding), "{path}");
        }
    }

    #[test]
    fn honest_paths_pass() {
        for path in
            ["/", "/a/b", "/a//b/", "/.well-known/x", "/a...b", "/...", "/a%2Fb", "/caf%C3%A9", "/a;v=1"]
        {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }
}
