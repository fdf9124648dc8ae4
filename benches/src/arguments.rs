//! The command line of a measurement.

use std::{fmt, str::FromStr};

/// The words after the program's name: `--name value` pairs.
#[derive(Debug, Clone)]
pub struct Arguments(Vec<(String, String)>);

/// The command line is wrong.
#[derive(Debug)]
pub struct Wrong(String);

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// When a word is not one of `known`, or has no value.
    pub fn read(known: &[&str]) -> Result<Self, Wrong> {
        let mut words = std::env::args().skip(1);
        let mut pairs = Vec::new();
        while let Some(name) = words.next() {
            if !known.contains(&name.as_str()) {
                return Err(Wrong(format!("no argument `{name}` is known; there are {}", known.join(", "))));
            }
            let value = words.next().ok_or_else(|| Wrong(format!("`{name}` needs a value")))?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of `name`.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The number given as `name`, or `default`.
    ///
    /// # Errors
    /// When it is not one.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Wrong> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().map_err(|_| Wrong(format!("`{name}` takes a number, not `{text}`")))
    }

    /// Those of `all` that `--only a,b` names; without it all.
    #[must_use]
    pub fn only<'a>(&self, all: &[&'a str]) -> Vec<&'a str> {
        let Some(wanted) = self.text("--only") else { return all.to_vec() };
        let wanted: Vec<&str> = wanted.split(',').collect();
        all.iter().copied().filter(|name| wanted.contains(name)).collect()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}
