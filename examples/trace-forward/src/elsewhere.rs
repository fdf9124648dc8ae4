//! Calls to any URL, by a client that calls services by name.
//!
//! Each authority that a URL names gets a name, and an endpoint under it, as an entry of `discovery.static` would give it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use mainstay::{
    BoxError, Client, Error, Result, ServiceContext,
    axum::http::{Uri, header, uri::Scheme},
    discovery::{Endpoint, ServiceName, memory},
    error::Kind,
    observe,
};
use serde_json::Value;

/// A client keeps what it knows of a service for as long as it lives: there may not be any number of them.
const MOST_PLACES: usize = 1024;

pub(crate) struct Elsewhere {
    client: Client,
    /// What the client asks.
    endpoints: memory::Registry,
    /// By host and port.
    names: Mutex<HashMap<(String, u16), ServiceName>>,
}

/// Where a URL leads, in the client's words.
pub(crate) struct Place {
    /// With the name in the place of the authority.
    url: String,
    /// What it says to the one that it calls.
    host: String,
}

impl Elsewhere {
    /// With a client like that of the host: the same settings, the same metrics and spans.
    pub(crate) fn new(context: &ServiceContext) -> Result<Self> {
        let endpoints = memory::Registry::new();
        let failed = |error: BoxError| Error::new(Kind::Internal).with_source(error);
        let observer = observe::Client::new(context.metrics()).map_err(|error| failed(error.into()))?;
        let config = context.client().config().as_ref().clone();
        let client = Client::builder().config(config).observer(observer).build(endpoints.clone());
        Ok(Self { client, endpoints, names: Mutex::default() })
    }

    /// Where `url` leads; the error says what was expected of it.
    pub(crate) fn place(&self, url: &Uri) -> Result<Place, String> {
        let (Some(authority), Some(target)) = (url.authority(), url.path_and_query()) else {
            return Err("a URL with a host".into());
        };
        if url.scheme() != Some(&Scheme::HTTP) || authority.as_str().contains('@') {
            return Err("a URL of the form `http://host:port/path`".into());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("") => 80,
            Some(port) => {
                let port = port.trim_start_matches(':');
                port.parse().map_err(|_| format!("a port up to 65535, not `{port}`"))?
            }
        };
        // Without the brackets of an IPv6 address.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = self.name(host, port)?;
        Ok(Place { url: format!("http://{name}{target}"), host: authority.to_string() })
    }

    fn name(&self, host: String, port: u16) -> Result<ServiceName, String> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host, port);
        if let Some(name) = names.get(&key) {
            return Ok(name.clone());
        }
        if names.len() >= MOST_PLACES {
            return Err(format!("one of the {MOST_PLACES} hosts and ports that were called first"));
        }
        let name = ServiceName::new(format!("place-{}", names.len())).map_err(|error| error.to_string())?;
        self.endpoints.register(&name, Endpoint::tcp(key.0.as_str(), port)).keep();
        names.insert(key, name.clone());
        Ok(name)
    }

    /// Posts `arguments` there. Any answer will do; it is read to its end, so that the connection can be used again.
    pub(crate) async fn post(&self, place: &Place, arguments: &Value) -> Result<()> {
        let post = self.client.post(&place.url).header(header::HOST, place.host.as_str()).json(arguments);
        post.send().await?.bytes().await?;
        Ok(())
    }
}
