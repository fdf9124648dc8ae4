//! Who sent a request.

use std::{fmt, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::certificate::Thumbprint;

/// Who sent a request, as its token says. Cheap to clone.
///
/// The [`authenticate`](crate::authenticate) layer puts it into the extensions of the request; it is an extractor of axum,
/// and `request.extensions().get::<Principal>()` in tonic.
#[derive(Clone)]
pub struct Principal(pub(crate) Arc<Identity>);

/// What a token says.
pub(crate) struct Identity {
    pub(crate) issuer: String,
    pub(crate) subject: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) expires: f64,
    pub(crate) claims: Map<String, Value>,
    pub(crate) means: Means,
    /// The certificate that its token is bound to: it is good with that alone.
    pub(crate) bound: Option<Thumbprint>,
}

/// How somebody was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Means {
    /// By a bearer token that is a JWT (RFC 6750, RFC 9068).
    Bearer,
    /// By a key that is kept here ([`api_key`](crate::api_key)).
    ApiKey,
    /// By the certificate of the connection ([`certificate`](crate::certificate)).
    Certificate,
    /// By a bearer token that its issuer was asked about (RFC 7662).
    Introspection,
}

impl Means {
    /// Its name in logs and policies, which stays as it is: `bearer`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey => "api_key",
            Self::Certificate => "certificate",
            Self::Introspection => "introspection",
        }
    }
}

/// Claims that are not those of the type that they were read into.
#[derive(Debug, thiserror::Error)]
#[error("the claims are not those expected")]
pub struct UnexpectedClaims(#[source] serde_json::Error);

impl Principal {
    /// The user, or the client where it acts for itself (`sub`). Unique within the [issuer](Self::issuer) only. `None` where the
    /// issuer may leave it out.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// The client that the token was issued to (`client_id`, or `azp`).
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// Who says so (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// What the client may do (`scope`, `scp`).
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// Whether it has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.iter().any(|has| has == scope)
    }

    /// What the subject is, by the claim that is configured for its issuer.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.0.roles
    }

    /// Whether it has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.0.roles.iter().any(|has| has == role)
    }

    /// When the token expires, in seconds since 1970; where its issuer does not tell, until when it need not be asked again.
    #[must_use]
    pub fn expires(&self) -> f64 {
        self.0.expires
    }

    /// How it was authenticated.
    #[must_use]
    pub fn means(&self) -> Means {
        self.0.means
    }

    /// Whether the token is bound to a key (`cnf`): the certificate of the connection, or one that was not asked for since that is
    /// relaxed for its issuer.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.0.claims.contains_key("cnf")
    }

    /// The claims, read anew each time.
    ///
    /// # Errors
    /// [`UnexpectedClaims`] where they are not those of `T`.
    pub fn claims<'a, T: Deserialize<'a>>(&'a self) -> Result<T, UnexpectedClaims> {
        T::deserialize(&self.0.claims).map_err(UnexpectedClaims)
    }

    #[cfg(test)]
    pub(crate) fn for_test(subject: &str, expires: f64) -> Self {
        Self(Arc::new(Identity {
            issuer: "https://id.example".to_owned(),
            subject: Some(subject.to_owned()),
            client: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            expires,
            claims: Map::new(),
            means: Means::Bearer,
            bound: None,
        }))
    }
}

/// Without the claims, which are about people.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("client", &self.client())
            .field("scopes", &self.scopes())
            .field("roles", &self.roles())
            .field("means", &self.means())
            .finish_non_exhaustive()
    }
}
