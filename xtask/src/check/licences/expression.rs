//! Licence expressions as SPDX 2.3, annex D, writes them, and cargo's older `MIT/Apache-2.0`.

use std::fmt;

/// Why an expression cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Ends,
    Unexpected(String),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends => f.write_str("a licence is missing at the end"),
            Self::Unexpected(word) => write!(f, "{word:?} is not expected where it stands"),
        }
    }
}

/// Whether somebody who accepts only the licences that `is_allowed` may use what `expression` covers.
///
/// A licence with an exception is asked for whole: `Apache-2.0 WITH LLVM-exception`.
pub(super) fn is_satisfied(expression: &str, is_allowed: impl Fn(&str) -> bool) -> Result<bool, Malformed> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut reader = Reader { words: spaced.split_whitespace().peekable(), is_allowed };
    let satisfied = reader.alternatives()?;
    match reader.words.next() {
        None => Ok(satisfied),
        Some(word) => Err(Malformed::Unexpected(word.to_owned())),
    }
}

struct Reader<'a, I: Iterator<Item = &'a str>, F> {
    words: std::iter::Peekable<I>,
    is_allowed: F,
}

impl<'a, I: Iterator<Item = &'a str>, F: Fn(&str) -> bool> Reader<'a, I, F> {
    fn alternatives(&mut self) -> Result<bool, Malformed> {
        let mut satisfied = self.conjunction()?;
        while self.words.next_if_eq(&"OR").is_some() {
            // Not `||`: what follows is read also when it no longer matters.
            satisfied |= self.conjunction()?;
        }
        Ok(satisfied)
    }

    fn conjunction(&mut self) -> Result<bool, Malformed> {
        let mut satisfied = self.licence()?;
        while self.words.next_if_eq(&"AND").is_some() {
            satisfied &= self.licence()?;
        }
        Ok(satisfied)
    }

    fn licence(&mut self) -> Result<bool, Malformed> {
        let first = self.words.next().ok_or(Malformed::Ends)?;
        if first == "(" {
            let satisfied = self.alternatives()?;
            return match self.words.next() {
                Some(")") => Ok(satisfied),
                Some(word) => Err(Malformed::Unexpected(word.to_owned())),
                None => Err(Malformed::Ends),
            };
        }
        let id = identifier(first)?;
        if self.words.next_if_eq(&"WITH").is_none() {
            return Ok((self.is_allowed)(id));
        }
        let exception = identifier(self.words.next().ok_or(Malformed::Ends)?)?;
        Ok((self.is_allowed)(&format!("{id} WITH {exception}")))
    }
}

fn identifier(word: &str) -> Result<&str, Malformed> {
    match word {
        "(" | ")" | "AND" | "OR" | "WITH" => Err(Malformed::Unexpected(word.to_owned())),
        _ => Ok(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mit_and_isc(expression: &str) -> Result<bool, Malformed> {
        is_satisfied(expression, |id| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&id))
    }

    #[test]
    fn one_of_the_alternatives_is_enough() {
        assert_eq!(with_mit_and_isc("MIT"), Ok(true));
        assert_eq!(with_mit_and_isc("GPL-3.0-only"), Ok(false));
        assert_eq!(with_mit_and_isc("GPL-3.0-only OR MIT"), Ok(true));
        assert_eq!(with_mit_and_isc("MIT OR GPL-3.0-only"), Ok(true));
        assert_eq!(with_mit_and_isc("GPL-3.0-only / MIT"), Ok(true));
        assert_eq!(with_mit_and_isc("GPL-3.0-only/LGPL-3.0-only"), Ok(false));
    }

    #[test]
    fn every_one_of_a_conjunction_is_needed() {
        assert_eq!(with_mit_and_isc("MIT AND ISC"), Ok(true));
        assert_eq!(with_mit_and_isc("MIT AND GPL-3.0-only"), Ok(false));
        assert_eq!(with_mit_and_isc("ISC AND (GPL-3.0-only OR MIT)"), Ok(true));
    }

    #[test]
    fn a_conjunction_binds_closer_than_an_alternative() {
        assert_eq!(with_mit_and_isc("MIT OR ISC AND GPL-3.0-only"), Ok(true));
        assert_eq!(with_mit_and_isc("(MIT OR ISC) AND GPL-3.0-only"), Ok(false));
    }

    #[test]
    fn an_exception_makes_another_licence() {
        assert_eq!(with_mit_and_isc("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(with_mit_and_isc("Apache-2.0"), Ok(false));
        assert_eq!(with_mit_and_isc("MIT WITH LLVM-exception"), Ok(false));
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        let unexpected = |word: &str| Err(Malformed::Unexpected(word.to_owned()));
        assert_eq!(with_mit_and_isc(""), Err(Malformed::Ends));
        assert_eq!(with_mit_and_isc("(MIT"), Err(Malformed::Ends));
        assert_eq!(with_mit_and_isc("MIT WITH"), Err(Malformed::Ends));
        assert_eq!(with_mit_and_isc("MIT ISC"), unexpected("ISC"));
        assert_eq!(with_mit_and_isc("MIT)"), unexpected(")"));
        assert_eq!(with_mit_and_isc("OR MIT"), unexpected("OR"));
    }
}
