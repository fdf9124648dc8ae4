//! Colour, where it is wanted.

use std::io::IsTerminal;

/// Whether words are coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// Not at all.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self(false);

    /// On a terminal, unless `NO_COLOR` is set to something (no-color.org).
    pub(super) fn stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(wanted && std::io::stdout().is_terminal())
    }

    pub(super) fn heading(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// By what it means, where it is a word that all pages use.
    pub(super) fn value(self, text: &str) -> String {
        match text {
            "pass" | "passing" | "serving" | "well" | "alive" | "started" | "closed" => self.with("32", text),
            "pending" | "draining" | "starting" | "paused" | "leaving" | "half-open" => self.with("33", text),
            "fail" | "failing" | "failed" | "ejected" | "unreachable" | "unhealthy" | "open" => {
                self.with("31", text)
            }
            _ => text.to_owned(),
        }
    }

    /// `text` between the codes of ECMA-48 section 8.3.117.
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
