//! Texts as JSON, RFC 8259 section 7.

use std::fmt::{self, Write};

/// `text`, in quotes.
pub(super) fn text(to: &mut String, text: &str) {
    to.push('"');
    escaped(to, text);
    to.push('"');
}

/// What `value` shows, in quotes.
pub(super) fn formatted(to: &mut String, value: &dyn fmt::Display) {
    to.push('"');
    // What fails in the middle is there to the middle.
    let _ = write!(Escaped(to), "{value}");
    to.push('"');
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escaped(self.0, text);
        Ok(())
    }
}

fn escaped(to: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // All of these are characters of one byte.
        let (plain, from) = rest.split_at(at);
        to.push_str(plain);
        let mut from = from.chars();
        match from.next() {
            Some('\n') => to.push_str("\\n"),
            Some('\t') => to.push_str("\\t"),
            Some('\r') => to.push_str("\\r"),
            Some(mark @ ('"' | '\\')) => to.extend(['\\', mark]),
            Some(control) => {
                let _ = write!(to, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = from.as_str();
    }
    to.push_str(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(given in any::<String>(), control in "[\\x00-\\x7f]*") {
            for given in [given, control] {
                let (mut plain, mut shown) = (String::new(), String::new());
                text(&mut plain, &given);
                formatted(&mut shown, &given);
                prop_assert_eq!(&serde_json::from_str::<String>(&plain).unwrap(), &given);
                prop_assert_eq!(plain, shown);
            }
        }
    }
}
