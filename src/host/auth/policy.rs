//! Who may do what: one set of policies for all services of a process.

use axum::routing::MethodRouter;
use mainstay_auth::policy::Policies;
use mainstay_core::{metrics::Registry, task::Tasks};

use super::HostError;
use crate::Settings;

/// Reads them, if any are configured, and follows their files.
pub(in crate::host) async fn policies(
    settings: &Settings,
    tasks: &Tasks,
    metrics: &Registry,
) -> Result<Option<Policies>, HostError> {
    if !settings.auth.policy.is_configured() {
        return Ok(None);
    }
    let policies = Policies::open(&settings.auth.policy, tasks).await?;
    policies.observe(metrics);
    Ok(Some(policies))
}

/// The same, for services that are made to be described and do not run.
#[cfg(feature = "openapi")]
pub(in crate::host) fn unwatched(settings: &Settings) -> Result<Option<Policies>, HostError> {
    let config = &settings.auth.policy;
    Ok(if config.is_configured() { Some(Policies::read(config)?) } else { None })
}

/// Path, title and route of the page of the admin listener.
pub(in crate::host) fn page(policies: &Policies) -> (&'static str, &'static str, MethodRouter) {
    ("/policy", "the policies in use; POST a question to have a decision explained", policies.route())
}
