//! What the calls of a service show for themselves, as the client takes it.

use mainstay_auth::outgoing::Outgoing;
use mainstay_client::Client;
use mainstay_core::{
    config::Watched,
    lifecycle::{Component, component},
    task::Tasks,
};
use mainstay_discovery::ServiceName;

use crate::{Settings, host::HostError};

/// What has tokens for calls.
pub(in crate::host) fn outgoing(
    settings: &Settings,
    tasks: &Tasks,
    client: &Client,
) -> Result<Outgoing, HostError> {
    Ok(Outgoing::open_among(&settings.auth.outgoing, tasks, &super::services(client))?)
}

/// `client` as the service `name` has it: with the tokens that it is known by.
pub(in crate::host) fn calling(outgoing: &Outgoing, name: &ServiceName, client: &Client) -> Client {
    client.clone().with_credentials(outgoing.of(name.as_str()))
}

/// Has calls show what `auth.outgoing` says, also when it changes.
pub(in crate::host) fn following(outgoing: Outgoing, mut settings: Watched<Settings>) -> impl Component {
    let mut known = settings.load().auth.outgoing.clone();
    component("credentials", move |context| async move {
        let stopping = context.tasks().stopping();
        context.keep(async move {
            while stopping.run_until_cancelled(settings.changed()).await.is_some() {
                let new = settings.load().auth.outgoing.clone();
                if new == known {
                    continue;
                }
                match outgoing.reconfigure(&new) {
                    Ok(()) => tracing::info!("calls show what `auth.outgoing` says now"),
                    Err(error) => {
                        tracing::error!(%error, "the changed `auth.outgoing` can't be used, the last one stays in use");
                    }
                }
                known = new;
            }
            Ok(())
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests;
