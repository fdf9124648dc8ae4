//! What was decided, and why.

use std::{fmt, sync::Arc};

use serde::Serialize;
use serde_json::Value;

/// A policy, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Policy {
    /// What its `@id` says; without one the name of its file and its number in there, from 1: `orders.cedar#3`.
    pub id: String,
    /// What it does where it matches.
    pub effect: Effect,
    /// The file, or the key of the configuration.
    pub file: String,
    /// The line that it begins in, from 1.
    pub line: usize,
}

/// What a policy does where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It permits.
    Permit,
    /// It forbids, whatever others permit.
    Forbid,
}

/// How a decision came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// At least one policy permits, and none forbids.
    Permit,
    /// A policy forbids, or one that could have forbidden can't be evaluated.
    Forbid,
    /// No policy permits.
    NoPermit,
    /// The question is not one of the schema: an unknown action, an attribute of the wrong type.
    Invalid,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Permit, Self::Forbid, Self::NoPermit, Self::Invalid];

    /// Its name in logs and metrics: `no_permit`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
            Self::NoPermit => "no_permit",
            Self::Invalid => "invalid",
        }
    }
}

/// What was decided, and why.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// How it came out.
    pub outcome: Outcome,
    /// The policies that made it so: those that permit, or those that forbid. None where none permits.
    pub policies: Vec<Arc<Policy>>,
    /// What went wrong: policies that could not be evaluated, each with its id, or what of the question is not of the schema.
    pub errors: Vec<String>,
}

impl Decision {
    pub(super) fn invalid(error: impl fmt::Display) -> Self {
        Self { outcome: Outcome::Invalid, policies: Vec::new(), errors: vec![error.to_string()] }
    }

    /// Whether it may be done.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.outcome == Outcome::Permit
    }
}

/// In one line, for logs: `forbid by frozen (policies/orders.cedar:12)`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.outcome.name())?;
        for (index, policy) in self.policies.iter().enumerate() {
            let between = if index == 0 { " by " } else { ", " };
            write!(f, "{between}{} ({}:{})", policy.id, policy.file, policy.line)?;
        }
        self.errors.iter().try_for_each(|error| write!(f, "; {error}"))
    }
}

/// A decision, and what it was made from.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// What was decided, and why.
    #[serde(flatten)]
    pub decision: Decision,
    /// All policies whose scope could match, so that they were evaluated.
    pub evaluated: Vec<Arc<Policy>>,
    /// The principal as an entity, in Cedar's JSON; null where there is none of the schema.
    pub principal: Value,
    /// The resource as an entity, or its type and id alone.
    pub resource: Value,
}

/// Somebody may not do that: the source of the error that [`Policies::check`](super::Policies::check) gives, where
/// `error.find::<Denied>()` finds it. The caller is not told why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not permitted by policy: {0}")]
pub struct Denied(pub(super) Decision);

impl Denied {
    /// Why.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.0
    }
}
