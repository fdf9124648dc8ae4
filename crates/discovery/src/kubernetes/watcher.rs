//! List, then watch, then watch again: when to do which.
//!
//! By the rules of "Efficient detection of changes" in the documentation of the Kubernetes API: a watch begins where the
//! list, or the last event or bookmark, ended; resource versions are compared for nothing, only handed back; 410 means
//! that the history from there on is gone, and a new list is due.

use std::{convert::Infallible, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::Full;
use mainstay_core::task::Tasks;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::{
    config::{self, Config},
    slices::{Metadata, Slice, Slices},
};
use crate::{
    ServiceName,
    api::{Answer, Api, Failure, encoded, sensitive},
    backoff::Backoff,
    lookup::{Listing, Lookup, Source},
    origin::Origin,
    registry::{Registry, Tls, Unusable},
};

/// Slices in one page of a list.
const PAGE: usize = 500;

/// The most pages of a list.
const MOST_PAGES: usize = 20;

/// The largest page, and the largest event, in bytes. A full slice of 1,000 endpoints has less than one MiB.
const LARGEST_PAGE: usize = 256 << 20;
const LARGEST_EVENT: usize = 8 << 20;

/// How long one page may take.
const PAGE_TIME: Duration = Duration::from_secs(30);

/// How long a watch lasts before it is begun anew, at least; and by how much longer, by chance.
const WATCH: u64 = 60;
const WATCH_MORE: u64 = 60;

/// A watch that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(5);

/// The registry that `config` describes; its background work belongs to `tasks`, and ends when it is dropped.
///
/// # Errors
/// [`Unusable`] outside of a cluster, where the server or the namespace is not configured.
pub fn registry(config: &Config, tasks: &Tasks) -> Result<impl Registry + use<>, Unusable> {
    let unusable = |what: &str| Unusable { registry: Kubernetes::NAME, what: what.to_owned(), source: None };
    let origin = config.server.clone().or_else(in_cluster).ok_or_else(|| {
        unusable("this process is in no pod (KUBERNETES_SERVICE_HOST is not set): `discovery.kubernetes.server` is needed")
    })?;
    let own = || std::fs::read_to_string(config::own_namespace()).ok().map(|text| text.trim().to_owned());
    let namespace = config.namespace.clone().or_else(own).ok_or_else(|| {
        unusable("the namespace of this process is not known: `discovery.kubernetes.namespace` is needed")
    })?;
    let tls = Tls { ca_file: Some(config.ca_file.clone()), ..Tls::default() };
    let api = Api { origin, tls, timeout: config.timeout.get(), tasks: tasks.clone() };
    Ok(Lookup::new(Kubernetes { api, namespace, config: config.clone() }, tasks))
}

/// What a pod is told of its cluster.
fn in_cluster() -> Option<Origin> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?;
    Some(Origin::new(true, host, port.parse().ok()?))
}

struct Kubernetes {
    api: Api,
    namespace: String,
    config: Config,
}

/// How a watch ended.
enum End {
    /// As it has to, after its time, or since the server goes away.
    Closed,
    /// The history is gone: a new list is due.
    Gone,
    Failed(Failure),
}

impl Source for Kubernetes {
    const NAME: &'static str = "kubernetes";

    async fn follow(&self, service: &ServiceName, listing: &Listing) -> Infallible {
        let mut slices = Slices::default();
        let mut version = None;
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            let ended = match &mut version {
                None => match self.list(service).await {
                    Ok((all, at)) => {
                        slices.replace(all);
                        listing.listed(slices.endpoints(self.config.port.as_deref()));
                        version = Some(at);
                        continue;
                    }
                    Err(failure) => End::Failed(failure),
                },
                Some(at) => self.watch(service, at, &mut slices, listing).await,
            };
            if began.elapsed() >= STEADY {
                backoff.reset();
            }
            let mut wait = backoff.next();
            match ended {
                End::Closed => {}
                End::Gone => version = None,
                End::Failed(failure) => {
                    wait = wait.max(failure.retry_after.unwrap_or_default());
                    listing.failed(failure);
                }
            }
            sleep(wait).await;
        }
    }
}

impl Kubernetes {
    /// All slices of the service, and where to begin to watch.
    async fn list(&self, service: &ServiceName) -> Result<(Vec<Slice>, String), Failure> {
        let mut slices = Vec::new();
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let mut query = format!("limit={PAGE}");
            if !next.is_empty() {
                query += &format!("&continue={}", encoded(&next));
            }
            let mut answer = self.get(service, &query).await?;
            if answer.status != StatusCode::OK {
                return Err(answer.refused(self.api.timeout).await);
            }
            let bytes = answer.body.whole(LARGEST_PAGE, PAGE_TIME).await?;
            let page: List = read(&bytes)?;
            slices.extend(page.items.iter().filter_map(|item| readable(service, item)));
            next = page.metadata.next.unwrap_or_default();
            if next.is_empty() {
                return Ok((slices, page.metadata.resource_version));
            }
        }
        Err(Failure::new(format_args!("the list has more than {MOST_PAGES} pages")))
    }

    /// Takes over what changes from `version` on, until the watch ends.
    async fn watch(
        &self,
        service: &ServiceName,
        version: &mut String,
        slices: &mut Slices,
        listing: &Listing,
    ) -> End {
        let seconds = WATCH + fastrand::u64(..WATCH_MORE);
        let until = Instant::now() + Duration::from_secs(seconds) + self.api.timeout;
        let at = encoded(version);
        let query =
            format!("watch=true&allowWatchBookmarks=true&resourceVersion={at}&timeoutSeconds={seconds}");
        let mut answer = match self.get(service, &query).await {
            Ok(answer) if answer.status == StatusCode::OK => answer,
            Ok(answer) if answer.status == StatusCode::GONE => return End::Gone,
            Ok(answer) => return End::Failed(answer.refused(self.api.timeout).await),
            Err(failure) => return End::Failed(failure),
        };
        listing.answered();
        loop {
            let line = match answer.body.line(LARGEST_EVENT, until).await {
                Ok(Some(line)) => line,
                Ok(None) => return End::Closed,
                Err(failure) => return End::Failed(failure),
            };
            match self.take(service, &line, version, slices) {
                Ok(Taken::Changed) => listing.listed(slices.endpoints(self.config.port.as_deref())),
                Ok(Taken::Noted) => listing.answered(),
                Ok(Taken::Gone) => return End::Gone,
                Err(failure) => return End::Failed(failure),
            }
        }
    }

    fn take(
        &self,
        service: &ServiceName,
        line: &[u8],
        version: &mut String,
        slices: &mut Slices,
    ) -> Result<Taken, Failure> {
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|error| Failure::of("what the server sends can't be read", &error))?;
        if event.kind == "ERROR" {
            let status: Status = read(event.object.get().as_bytes())?;
            // The reason says so too, where a proxy in between lost the code.
            if status.code == 410 || status.reason == "Expired" || status.reason == "Gone" {
                return Ok(Taken::Gone);
            }
            return Err(Failure::new(format_args!("the watch ended: {} {}", status.code, status.message)));
        }
        let Object { metadata } = read(event.object.get().as_bytes())?;
        let taken = match event.kind.as_ref() {
            "ADDED" | "MODIFIED" => match readable(service, event.object) {
                Some(slice) => {
                    slices.put(slice);
                    Taken::Changed
                }
                None => Taken::Noted,
            },
            "DELETED" => {
                slices.remove(&metadata.name);
                Taken::Changed
            }
            // Bookmarks, and what newer servers may add.
            _ => Taken::Noted,
        };
        if !metadata.resource_version.is_empty() {
            *version = metadata.resource_version;
        }
        Ok(taken)
    }

    async fn get(&self, service: &ServiceName, query: &str) -> Result<Answer, Failure> {
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{service}&{query}",
            self.namespace
        );
        // Whoever listens on a plain connection could use it.
        let token = if self.api.origin.is_tls() { self.token().await? } else { None };
        let mut request = Request::get(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, sensitive(format!("Bearer {token}"))?);
        }
        let request = request.body(Full::default()).map_err(|error| Failure::of("the request", &error))?;
        self.api.ask(request, Duration::ZERO).await
    }

    /// The token as it is now: it is rotated long before it runs out. Without the file the server may still let us in.
    async fn token(&self) -> Result<Option<String>, Failure> {
        let path = self.config.token_file.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let read = read.map_err(|error| Failure::of("the token", &error))?;
        match read {
            Ok(token) => Ok(Some(token.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let what = format!("the token ({})", self.config.token_file.display());
                Err(Failure::of(&what, &error))
            }
        }
    }
}

/// What an event has led to.
enum Taken {
    Changed,
    Noted,
    Gone,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Status {
    code: u16,
    reason: String,
    message: String,
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::of("what the server sends can't be read", &error))
}

/// A slice that can't be read must not hide the others.
fn readable(service: &ServiceName, item: &RawValue) -> Option<Slice> {
    match serde_json::from_str(item.get()) {
        Ok(slice) => Some(slice),
        Err(error) => {
            tracing::warn!(%service, %error, "an EndpointSlice can't be read and is skipped");
            None
        }
    }
}
