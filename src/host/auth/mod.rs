//! Who calls: one verifier for all stacks of a process.

mod named;
mod outgoing;
#[cfg(feature = "policy")]
pub(super) mod policy;

use std::sync::Arc;

use axum::Router;
use mainstay_auth::{Services, Verifier, authenticate::metadata, authorize::Open};
use mainstay_client::Client;
use mainstay_core::{admin::Page, config::Loaded, context::Ambient, task::Tasks};
use serde_json::json;

pub(super) use self::outgoing::{calling, following, outgoing};
use super::HostError;
use crate::{Settings, service::Routes};

/// What tells who calls; `None` where everybody is served, which was said (`auth.required`).
pub(super) async fn open(
    settings: &Settings,
    loaded: &Loaded,
    tasks: &Tasks,
    client: &Client,
) -> Result<Option<Verifier>, HostError> {
    if !settings.auth.knows_nobody() {
        return Ok(Some(Verifier::open_among(&settings.auth, tasks, &services(client)).await?));
    }
    if loaded.profile() == "dev" {
        tracing::warn!(
            "nobody is authenticated, every route is open: there is no issuer (auth.issuers), and the profile is `dev`"
        );
    } else {
        tracing::info!("nobody is authenticated, every route is open: auth.required is false");
    }
    Ok(None)
}

/// Issuers may be services of the same system.
fn services(client: &Client) -> Arc<dyn Services> {
    Arc::new(named::ByName(client.clone()))
}

/// `ambient` with what layers and handlers have to know of it.
pub(super) fn tell(verifier: Option<&Verifier>, ambient: Ambient) -> Ambient {
    match verifier {
        Some(verifier) => ambient.with(verifier.clone()),
        None => ambient.with(Open),
    }
}

/// The admin page `/auth`.
pub(super) fn page(verifier: Option<Verifier>) -> Page {
    Page::new("/auth", "whose tokens are taken: issuers, keys and their age, refusals", move || {
        let mut told = verifier.as_ref().map_or_else(|| json!({}), Verifier::to_json);
        told["is_open"] = verifier.is_none().into();
        told
    })
}

/// The routes that go with it, for everybody: what this is as a protected resource (RFC 9728).
pub(super) fn routes(settings: &Settings) -> Routes {
    Routes { closed: Router::new(), public: metadata(&settings.auth) }
}

#[cfg(test)]
mod tests;
