//! What this is as a protected resource, for clients that find out whose tokens they need (RFC 9728).

use axum::{Json, Router, routing::get};
use serde_json::json;

use crate::{Config, fetch::Url};

/// RFC 9728 section 3.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Where the metadata of `resource` is: the well-known path stands between its host and its own path (section 3.1).
pub(super) fn url(resource: &str) -> Option<Url> {
    Url::parse(resource).map(|url| url.with_prefix(WELL_KNOWN))
}

/// The route of the metadata, for everybody; no route where `auth.resource` is not configured.
///
/// It is at `/.well-known/oauth-protected-resource`, followed by the path of the resource, as challenges say.
pub fn metadata(config: &Config) -> Router {
    let Some(resource) = config.resource.as_deref() else { return Router::new() };
    let Some(url) = url(resource) else { return Router::new() };
    let means: &[&str] = if config.query_token { &["header", "query"] } else { &["header"] };
    // Section 2: issuer identifiers, which are https URLs; one that shares a secret may be called anything.
    let issuers = config.issuers.values().map(|issuer| issuer.issuer.as_str());
    let issuers: Vec<_> = issuers.filter(|issuer| Url::parse(issuer).is_some()).collect();
    let mut document = json!({ "resource": resource, "bearer_methods_supported": means });
    // Section 3.2: what has no elements is left out.
    if !issuers.is_empty() {
        document["authorization_servers"] = json!(issuers);
    }
    Router::new().route(url.path(), get(async move || Json(document.clone())))
}
