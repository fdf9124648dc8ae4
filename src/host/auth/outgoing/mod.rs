//! What the calls of a service show for themselves, as the client takes it.

use mainstay_auth::outgoing::Outgoing;
use mainstay_client::Client;
use mainstay_core::task::Tasks;
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
        Some(outgoing) => client.clone().with_credentials(outgoing.of(name.as_str())),
        None => client.clone(),
    }
}

#[cfg(test)]
mod tests;
