//! What somebody wants to do, and to what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Principal;

/// What something is done to: an entity of the schema.
///
/// Without attributes and parents it is its type and id alone: a policy that asks for more of it can't be evaluated, unless the
/// configured entities have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The type, `Order` or `Shop::Order`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) attributes: Map<String, Value>,
    #[serde(default)]
    pub(super) parents: Vec<Parent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
}

impl Resource {
    /// The entity of this type, by the schema, and this id.
    #[must_use]
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into(), attributes: Map::new(), parents: Vec::new() }
    }

    /// With this attribute, as the schema wants it: text also for `decimal`, `datetime`, `duration` and `ipaddr`; for an entity
    /// what [`Resource::reference`] makes.
    #[must_use]
    pub fn with(mut self, attribute: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(attribute.into(), value.into());
        self
    }

    /// With the fields of `value` as attributes.
    ///
    /// # Errors
    /// Where it can't be written as a JSON object.
    pub fn with_fields(mut self, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(value)?)?;
        self.attributes.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        Ok(self)
    }

    /// Within another entity: `resource in Shop::"north"`.
    #[must_use]
    pub fn within(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.parents.push(Parent { kind: kind.into(), id: id.into() });
        self
    }

    /// Another entity, as the value of an attribute; its type by its full name.
    #[must_use]
    pub fn reference(kind: &str, id: &str) -> Value {
        json!({ "type": kind, "id": id })
    }
}

/// May this principal do this action to this resource?
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub(super) principal: &'a Principal,
    pub(super) action: &'a str,
    pub(super) resource: &'a Resource,
    pub(super) context: Map<String, Value>,
}

impl<'a> Question<'a> {
    /// With nothing in `context`. The action is the id of one of the schema, such as `GET /orders/{id}`.
    #[must_use]
    pub fn new(principal: &'a Principal, action: &'a str, resource: &'a Resource) -> Self {
        Self { principal, action, resource, context: Map::new() }
    }

    /// With this in `context`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.context.insert(name.into(), value.into());
        self
    }
}

/// Somebody described, not authenticated: for tests, and to ask what would be decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Caller {
    /// The issuer.
    pub issuer: String,
    /// The user; none for a client that acts for itself.
    pub subject: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The roles.
    pub roles: Vec<String>,
    /// The claims.
    pub claims: Map<String, Value>,
}

/// A question, described: what the admin page and `mainstay inspect explain` take.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Description {
    /// Who asks.
    pub principal: Caller,
    /// What for.
    pub action: String,
    /// To do it to what.
    pub resource: Resource,
    /// In which context.
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
}

impl Caller {
    /// This subject of this issuer.
    #[must_use]
    pub fn user(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), subject: Some(subject.into()), ..Self::default() }
    }

    /// This client of this issuer, for itself.
    #[must_use]
    pub fn client(issuer: impl Into<String>, client: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), client: Some(client.into()), ..Self::default() }
    }

    /// With this scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// With this role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// With this claim.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// As a principal.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        Principal::described(self)
    }
}
