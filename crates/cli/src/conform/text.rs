//! Making what a peer sent fit to be shown.

/// The longest text a verdict shows of one side of an exchange, in characters.
pub(crate) const SHOWN: usize = 480;

/// `text` with control and other invisible characters escaped, cut after `limit` characters.
///
/// A hostile service must not be able to write escape sequences to the terminal, nor characters that XML 1.0
/// (section 2.2) forbids into the JUnit file.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            shown.push_str(&format!("… ({} characters more)", text.chars().count() - limit));
            break;
        }
        match character {
            '\r' => shown.push_str("\\r"),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            c if is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Controls, directional overrides and noncharacters.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{fff0}'..='\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_and_line_ends_are_shown_not_sent_to_the_terminal() {
        assert_eq!(printable("a\r\n\u{1b}[31mred\u{202e}", 80), "a\\r\\n\\u{1b}[31mred\\u{202e}");
    }

    #[test]
    fn long_text_is_cut_and_says_how_much_is_missing() {
        assert_eq!(printable("äöüß", 2), "äö… (2 characters more)");
        assert_eq!(printable("äö", 2), "äö");
    }
}
