//! Everything that is wrong with a configuration.

use std::fmt;

use super::key::{Key, one_line};
use super::origin::Origin;

/// The exit status of a program whose configuration is wrong: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// Everything that is wrong with a configuration, found in one go; never empty.
///
/// `Display` is text of several lines, ready for standard error, without a newline at the end; in its alternate form
/// (`{:#}`) one line, for logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The key; the root where the trouble is with a source as a whole.
    pub key: Key,
    /// What kind of trouble it is.
    pub problem: Problem,
    /// What set the key, or where the table is that lacks it; `None` where nothing names either.
    pub origin: Option<Origin>,
    /// The value, redacted where it is a secret; tables and lists by name only. `None` where there is none.
    pub value: Option<String>,
    /// What was expected, as the object of "expected ...".
    pub expected: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// The kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No type knows the key.
    UnknownKey,
    /// The value is not what its type or its section wants.
    InvalidValue,
    /// A key without a default is not set.
    MissingKey,
    /// A file, variable, argument or program's source could not be read.
    Source,
}

impl Errors {
    /// `None` where there are no findings.
    pub(super) fn of(mut findings: Vec<Finding>) -> Option<Self> {
        // In the order of the sources, then of the keys: the order a person fixes them in.
        findings.sort_by(|a, b| {
            (a.problem != Problem::Source, &a.key).cmp(&(b.problem != Problem::Source, &b.key))
        });
        if findings.is_empty() { None } else { Some(Self { findings }) }
    }

    /// The findings; at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            for (position, finding) in self.findings.iter().enumerate() {
                let separator = if position == 0 { "" } else { "; " };
                write!(f, "{separator}{finding:#}")?;
            }
            return Ok(());
        }
        match self.findings.len() {
            1 => f.write_str("the configuration has an error")?,
            count => write!(f, "the configuration has {count} errors")?,
        }
        for finding in &self.findings {
            write!(f, "\n\n{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.origin.as_ref().filter(|origin| **origin != Origin::Default);
        match (self.problem, self.key.is_root(), source) {
            (Problem::Source, true, Some(source)) => write!(f, "{source}: cannot be used")?,
            (Problem::Source, true, None) => f.write_str("a source cannot be used")?,
            (Problem::Source, false, _) => write!(f, "{}: cannot be set", self.key)?,
            (Problem::UnknownKey, ..) => write!(f, "{}: unknown key", self.key)?,
            (Problem::InvalidValue, true, _) => f.write_str("the whole configuration: wrong value")?,
            (Problem::InvalidValue, false, _) => write!(f, "{}: wrong value", self.key)?,
            (Problem::MissingKey, ..) => write!(f, "{}: missing", self.key)?,
        }
        let source = match (self.problem, source) {
            (Problem::Source, Some(_)) if self.key.is_root() => None,
            (Problem::MissingKey, Some(source)) => Some(("in", source.to_string())),
            (_, Some(source)) => Some(("set by", source.to_string())),
            (Problem::InvalidValue, None) if self.origin.is_some() => {
                Some(("set by", Origin::Default.to_string()))
            }
            (_, None) => None,
        };
        let facts = [
            source,
            self.value.as_ref().map(|value| ("value", value.clone())),
            Some(("expected", self.expected.clone())),
            self.suggestion.as_ref().map(|suggestion| ("perhaps", suggestion.clone())),
        ];
        for (name, fact) in facts.into_iter().flatten() {
            if f.alternate() {
                write!(f, ", {name} {}", one_line(&fact))?;
            } else {
                write!(f, "\n  {:<9} {fact}", format!("{name}:"))?;
            }
        }
        Ok(())
    }
}
