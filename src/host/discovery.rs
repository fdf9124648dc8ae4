//! The admin page that says where this process believes the others to be, and how it gets on with them.

use std::sync::Arc;

use mainstay_client::Client;
use mainstay_core::admin::Page;
use mainstay_discovery::{Endpoint, FirstOf, Registry, Resolve as _};
use serde_json::{Map, Value, json};

/// `/discovery`: the state of the registry, the endpoints of every name that has some, and what the client makes of
/// those that it calls.
pub(super) fn page(resolver: FirstOf, registry: Option<Arc<dyn Registry>>, client: Client) -> Page {
    Page::new(
        "/discovery",
        "where the services are: the registry, names, endpoints and how they do",
        move || {
            let services = resolver.known().into_iter().map(|name| {
                let endpoints = resolver.resolve(&name).snapshot();
                (name.to_string(), endpoints.iter().map(to_json).collect())
            });
            json!({
                "registry": registry.as_ref().map(|registry| registry.status()),
                "services": services.collect::<Map<String, Value>>(),
                "called": client.targets(),
            })
        },
    )
}

fn to_json(endpoint: &Endpoint) -> Value {
    json!({
        "place": endpoint.place().to_string(),
        "health": endpoint.health(),
        "weight": endpoint.weight(),
        "zone": endpoint.zone(),
        "metadata": endpoint.all_metadata().collect::<std::collections::BTreeMap<_, _>>(),
    })
}
