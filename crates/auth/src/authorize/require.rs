//! What is wanted of a principal.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{Principal, Refusal};

/// What is wanted of who calls: a layer for a route, a router or a gRPC service.
///
/// Cheap to clone. What it costs a request that may pass is the comparison of its texts.
///
/// ```
/// use mainstay_auth::Require;
///
/// let require = Require::scope("orders:write").and(Require::role("clerk").or(Require::client("importer")));
/// assert_eq!(require.to_string(), r#"scope "orders:write" and (role "clerk" or client "importer")"#);
/// ```
#[derive(Clone)]
pub struct Require(Arc<Rule>);

enum Rule {
    Authenticated,
    Scope(String),
    Role(String),
    Client(String),
    All(Require, Require, Option<String>),
    Any(Require, Require),
}

impl Require {
    /// Anybody with a valid token.
    #[must_use]
    pub fn authenticated() -> Self {
        Self(Arc::new(Rule::Authenticated))
    }

    /// A token with this scope ([`Principal::has_scope`]): what its owner lets the client do.
    #[must_use]
    pub fn scope(scope: impl Into<String>) -> Self {
        Self(Arc::new(Rule::Scope(scope.into())))
    }

    /// A principal with this role ([`Principal::has_role`]): what the subject is.
    #[must_use]
    pub fn role(role: impl Into<String>) -> Self {
        Self(Arc::new(Rule::Role(role.into())))
    }

    /// A token that was issued to this client ([`Principal::client`]), such as the service that alone may call. Whether it acts
    /// for itself or for a user does not matter.
    #[must_use]
    pub fn client(client: impl Into<String>) -> Self {
        Self(Arc::new(Rule::Client(client.into())))
    }

    /// This and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let scopes: BTreeSet<&str> = [&self, &other]
            .into_iter()
            .filter_map(|rule| rule.scopes())
            .flat_map(|all| all.split(' '))
            .collect();
        let scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
        let scopes = (!scopes.is_empty()).then_some(scopes);
        Self(Arc::new(Rule::All(self, other, scopes)))
    }

    /// This or `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(Arc::new(Rule::Any(self, other)))
    }

    /// Whether `principal` is what is wanted, for a handler that asks by itself.
    ///
    /// # Errors
    /// The [`Refusal`] of the first thing that is missing; of alternatives the one of the first.
    pub fn check(&self, principal: &Principal) -> Result<(), Refusal> {
        let (holds, refusal) = match &*self.0 {
            Rule::Authenticated => return Ok(()),
            Rule::Scope(scope) => (principal.has_scope(scope), Refusal::InsufficientScope),
            Rule::Role(role) => (principal.has_role(role), Refusal::MissingRole),
            Rule::Client(client) => (principal.client() == Some(client), Refusal::OtherClient),
            Rule::All(one, other, _) => return one.check(principal).and_then(|()| other.check(principal)),
            Rule::Any(one, other) => {
                return one.check(principal).or_else(|refusal| other.check(principal).map_err(|_| refusal));
            }
        };
        if holds { Ok(()) } else { Err(refusal) }
    }

    /// The scopes that are enough, where scopes are missing (RFC 6750 section 3): of alternatives those of the first.
    pub(super) fn scopes(&self) -> Option<&str> {
        match &*self.0 {
            Rule::Authenticated | Rule::Role(_) | Rule::Client(_) => None,
            Rule::Scope(scope) => Some(scope),
            Rule::All(_, _, scopes) => scopes.as_deref(),
            Rule::Any(one, other) => one.scopes().or_else(|| other.scopes()),
        }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |rule: &Self, f: &mut fmt::Formatter<'_>| match &*rule.0 {
            Rule::Any(..) => write!(f, "({rule})"),
            _ => write!(f, "{rule}"),
        };
        match &*self.0 {
            Rule::Authenticated => f.write_str("a valid token"),
            Rule::Scope(scope) => write!(f, "scope {scope:?}"),
            Rule::Role(role) => write!(f, "role {role:?}"),
            Rule::Client(client) => write!(f, "client {client:?}"),
            Rule::All(one, other, _) => {
                within(one, f)?;
                f.write_str(" and ")?;
                within(other, f)
            }
            Rule::Any(one, other) => write!(f, "{one} or {other}"),
        }
    }
}

impl fmt::Debug for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Require({self})")
    }
}
