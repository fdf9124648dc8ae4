//! The admin page that says where this process believes the others to be.

use std::sync::Arc;

use mainstay_core::admin::Page;
use mainstay_discovery::{Endpoint, FirstOf, Registry, Resolve as _};
use serde_json::{Map, Value, json};

/// `/discovery`: the state of the registry, and the endpoints of every name that has some.
pub(super) fn page(resolver: FirstOf, registry: Option<Arc<dyn Registry>>) -> Page {
    Page::new("/discovery", "where the services are: the registry, names and their endpoints", move || {
        let services = resolver.known().into_iter().map(|name| {
            let endpoints = resolver.resolve(&name).snapshot();
            (name.to_string(), endpoints.iter().map(to_json).collect())
        });
        json!({
            "registry": registry.as_ref().map(|registry| registry.status()),
            "services": services.collect::<Map<String, Value>>(),
        })
    })
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
