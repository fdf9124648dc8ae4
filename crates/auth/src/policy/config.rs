//! `auth.policy` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `[auth.policy]`: who may do what, in [Cedar](https://docs.cedarpolicy.com). There are no policies unless `paths` or `policies`
/// is set; then a schema has to be there too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Files with policies, and directories, of which each `*.cedar` is read. Watched.
    pub paths: Vec<PathBuf>,
    /// Policies themselves, besides those of `paths`.
    pub policies: Option<String>,
    /// The file with the schema, in Cedar's own syntax, or in JSON if its name ends with `.json`. Watched.
    pub schema_file: Option<PathBuf>,
    /// The schema itself, in Cedar's own syntax.
    pub schema: Option<String>,
    /// A file with entities that are always there, such as teams, in Cedar's JSON. Watched. None by default.
    pub entities_file: Option<PathBuf>,
    /// These entities themselves.
    pub entities: Option<String>,
    /// The namespace of the schema that has `User`, `Client`, `Role` and the actions. Default: none.
    pub namespace: String,
    /// The issuer whose subjects have their plain name as id (`User::"alice"`). Subjects of others, and of all where this is not
    /// set, stand behind their issuer: `User::"https://id.example#alice"`. Default: none.
    pub issuer: String,
    /// Attributes of `User` and `Client` that come from claims: the name of the attribute, and the claim; with dots the way to it.
    pub claims: BTreeMap<String, String>,
    /// Which decisions are logged. Default `denials`.
    pub audit: Audit,
}

/// Which decisions are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Audit {
    /// Those by which somebody was not let in.
    #[default]
    Denials,
    /// All of them.
    All,
}

impl Config {
    /// These policies, by this schema, both in Cedar's own syntax.
    #[must_use]
    pub fn new(schema: impl Into<String>, policies: impl Into<String>) -> Self {
        Self { schema: Some(schema.into()), policies: Some(policies.into()), ..Self::default() }
    }

    /// The policies of these files and directories, by the schema of that file.
    #[must_use]
    pub fn of_files<P: Into<PathBuf>>(
        schema: impl Into<PathBuf>,
        policies: impl IntoIterator<Item = P>,
    ) -> Self {
        let paths = policies.into_iter().map(Into::into).collect();
        Self { schema_file: Some(schema.into()), paths, ..Self::default() }
    }

    /// With these entities, in Cedar's JSON.
    #[must_use]
    pub fn with_entities(mut self, entities: impl Into<String>) -> Self {
        self.entities = Some(entities.into());
        self
    }

    /// With the plain names of its subjects for this issuer.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// With this claim as an attribute of who calls.
    #[must_use]
    pub fn with_claim(mut self, attribute: impl Into<String>, claim: impl Into<String>) -> Self {
        self.claims.insert(attribute.into(), claim.into());
        self
    }

    /// Whether there are policies at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.paths.is_empty() || self.policies.is_some()
    }

    /// What is wrong, by its key within `auth.policy`: what was expected.
    pub(crate) fn wrong(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut reject = |key: &str, expected: String| wrong.push((key.to_owned(), expected));
        let has_schema = self.schema_file.is_some() || self.schema.is_some();
        if self.is_configured() && !has_schema {
            reject("schema_file", "the file of the schema that the policies are checked against".to_owned());
        }
        if !self.is_configured() && *self != Self::default() {
            reject("paths", "files with policies, or directories of them".to_owned());
        }
        if self.schema_file.is_some() && self.schema.is_some() {
            reject("schema", "only one of `schema` and `schema_file`".to_owned());
        }
        if self.entities_file.is_some() && self.entities.is_some() {
            reject("entities", "only one of `entities` and `entities_file`".to_owned());
        }
        for attribute in self.claims.keys() {
            if super::principal::OWN.iter().any(|(name, _)| name == attribute) {
                let expected = "another name: this attribute does not come from a claim of yours";
                reject(&format!("claims.{attribute}"), expected.to_owned());
            }
        }
        wrong
    }
}
