//! Environment variables that others have named, as keys of the configuration.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    sync::Arc,
};

use figment::value::Dict;

use super::{
    environment,
    errors::{Finding, Problem},
    key::Key,
    known::Known,
    layers,
    origin::Origin,
    schema::Shape,
};

/// What makes keys of variables.
pub(super) type Translate = Arc<dyn Fn(&Variables<'_>) -> Vec<Translated> + Send + Sync>;

/// The environment, for [`Loader::translate`](super::Loader::translate).
#[derive(Clone, Copy)]
pub struct Variables<'a>(&'a [(OsString, OsString)]);

/// What one variable says of one key.
#[derive(Clone)]
pub struct Translated {
    variable: Cow<'static, str>,
    key: Key,
    value: Result<String, String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(variables: &'a [(OsString, OsString)]) -> Self {
        Self(variables)
    }

    /// The value of this variable, if it is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, value) = self.0.iter().find(|(own, _)| own == OsStr::new(name))?;
        Some(value.to_string_lossy()).filter(|value| !value.trim().is_empty())
    }
}

impl std::fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the values: some are secrets.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Translated {
    /// `variable` sets `key` to `value`, written as a variable of the framework's own would be.
    pub fn new(variable: impl Into<Cow<'static, str>>, key: Key, value: impl Into<String>) -> Self {
        Self { variable: variable.into(), key, value: Ok(value.into()) }
    }

    /// `variable`, which stands for `key`, has a value that can't be used; what was expected.
    pub fn wrong(variable: impl Into<Cow<'static, str>>, key: Key, expected: impl Into<String>) -> Self {
        Self { variable: variable.into(), key, value: Err(expected.into()) }
    }
}

impl std::fmt::Debug for Translated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translated")
            .field("variable", &self.variable)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What `translated` sets, with the origins; what can't be used goes to `findings`.
pub(super) fn values(
    translated: Vec<Translated>,
    variables: &Variables<'_>,
    known: &Known<'_>,
    findings: &mut Vec<Finding>,
) -> (Dict, BTreeMap<Key, Origin>) {
    let (mut values, mut origins) = (Dict::new(), BTreeMap::new());
    for Translated { variable, key, value } in translated {
        let origin = Origin::Variable { name: variable.clone().into_owned() };
        let expected = match value {
            Ok(text) => {
                match layers::insert(&mut values, &key, environment::outside_value(&key, &text, known)) {
                    Ok(()) => {
                        origins.insert(key, origin);
                        continue;
                    }
                    Err(other) => format!("a value beside that of `{other}`"),
                }
            }
            Err(expected) => expected,
        };
        // A table may have secrets in it.
        let is_open =
            matches!(known.shape(&key), Some(Shape::Scalar | Shape::Enum(_))) && !known.is_secret(&key);
        let shown = variables.get(&variable).filter(|_| is_open);
        findings.push(Finding {
            key,
            problem: Problem::InvalidValue,
            origin: Some(origin),
            value: shown.map(|value| format!("{value:?}")),
            expected,
            suggestion: None,
        });
    }
    (values, origins)
}
