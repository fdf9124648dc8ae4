//! What the calls of a service show for themselves, as the client takes it.

use http::HeaderValue;
use mainstay_auth::outgoing::{self, Outgoing};
use mainstay_client::{Client, Credentials, credentials::Credential};
use mainstay_core::{context::Deadline, task::Tasks};
use mainstay_discovery::ServiceName;

use crate::{Settings, host::HostError};

/// What has tokens for calls; `None` where no call shows any.
pub(in crate::host) fn outgoing(
    settings: &Settings,
    tasks: &Tasks,
    client: &Client,
) -> Result<Option<Outgoing>, HostError> {
    let config = &settings.auth.outgoing;
    if config.targets.is_empty() {
        return Ok(None);
    }
    Ok(Some(Outgoing::open_among(config, tasks, &super::services(client))?))
}

/// `client` as the service `name` has it: with the tokens that it is known by.
pub(in crate::host) fn calling(outgoing: Option<&Outgoing>, name: &ServiceName, client: &Client) -> Client {
    match outgoing {
        Some(outgoing) => client.clone().with_credentials(Own(outgoing.of(name.as_str()))),
        None => client.clone(),
    }
}

struct Own(outgoing::Credentials);

impl Credentials for Own {
    fn credential(&self, service: &ServiceName, deadline: Deadline) -> Credential {
        match self.0.credential(service.as_str(), deadline) {
            outgoing::Credential::Ready(authorization) => Credential::Ready(authorization),
            outgoing::Credential::Awaited(awaited) => Credential::Awaited(awaited),
            _ => Credential::None,
        }
    }

    fn refused(&self, service: &ServiceName, credential: &HeaderValue) -> bool {
        self.0.refused(service.as_str(), credential)
    }
}

#[cfg(test)]
mod tests;
