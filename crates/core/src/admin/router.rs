//! The builder of the routes.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    Json, Router,
    response::Html,
    routing::{MethodRouter, get},
};
use http::{HeaderMap, HeaderValue, Uri, header};
use serde_json::Value;
use tower_http::set_header::SetResponseHeaderLayer;

use super::{Page, index, page, probe, requests};
use crate::{
    Error,
    error::Kind as ErrorKind,
    health::{Kind, Registry},
    observe::Report,
};

type Section = Arc<dyn Fn() -> Value + Send + Sync>;

/// Builds the routes of the admin listener.
///
/// ```
/// use mainstay_core::{admin::{Admin, Page}, health::Registry};
///
/// let router = Admin::new(Registry::new())
///     .with_status("build", || serde_json::json!({"version": env!("CARGO_PKG_VERSION")}))
///     .with_page(Page::new("/config", "the configuration, secrets redacted", || serde_json::json!({})))
///     .router();
/// # drop(router);
/// ```
#[derive(Clone)]
pub struct Admin {
    health: Registry,
    status: BTreeMap<String, Section>,
    routes: BTreeMap<String, (String, MethodRouter)>,
}

impl Admin {
    /// With the probes over this registry, and nothing else.
    #[must_use]
    pub fn new(health: Registry) -> Self {
        Self { health, status: BTreeMap::new(), routes: BTreeMap::new() }
    }

    /// Adds a section to `/status`; one of the same name is replaced. Making it must not wait.
    #[must_use]
    pub fn with_status(
        mut self,
        name: impl Into<String>,
        value: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Self {
        self.status.insert(name.into(), Arc::new(value));
        self
    }

    /// Adds a page; one at the same path is replaced.
    #[must_use]
    pub fn with_page(self, page: Page) -> Self {
        let value = page.value;
        self.with_route(page.path, page.title, get(async move || Json(value())))
    }

    /// Adds `/requests`: what is under way and where it waits, what was slow and what has failed.
    #[must_use]
    pub fn with_requests(self, report: impl Fn() -> Report + Clone + Send + Sync + 'static) -> Self {
        let title = "requests in flight, the slowest and the last that failed";
        let show = async move |headers: HeaderMap| requests::answer(&report(), &headers);
        self.with_route("/requests", title, get(show))
    }

    /// Adds a route of another kind, such as `/metrics`; one at the same path is replaced. One that changes
    /// something takes [`Nearby`](super::Nearby).
    ///
    /// # Panics
    /// As [`Page::new`].
    #[must_use]
    #[track_caller]
    pub fn with_route(
        mut self,
        path: impl Into<String>,
        title: impl Into<String>,
        route: MethodRouter,
    ) -> Self {
        let path = path.into();
        page::check(&path);
        self.routes.insert(path, (title.into(), route));
        self
    }

    /// The routes.
    pub fn router(self) -> Router {
        let Self { health, status, mut routes } = self;
        let show_status = get(async move || {
            let sections = status.iter().map(|(name, value)| (name.clone(), value()));
            Json(Value::Object(sections.collect()))
        });
        let own = [
            ("/livez", "whether the process is beyond repair", probe(health.clone(), Kind::Liveness)),
            (
                "/readyz",
                "whether the process may get traffic; ?verbose",
                probe(health.clone(), Kind::Readiness),
            ),
            ("/startupz", "whether the process has started; ?verbose", probe(health, Kind::Startup)),
            ("/status", "how the process is", show_status),
        ];
        for (path, title, route) in own {
            routes.insert(path.to_owned(), (title.to_owned(), route));
        }
        let pages = routes.iter().map(|(path, (title, _))| (path.clone(), title.clone())).collect();
        let index = index::html(&pages);
        let router = Router::new().route("/", get(async move || Html(index.clone())));
        routes
            .into_iter()
            .fold(router, |router, (path, (_, route))| router.route(&path, route))
            .fallback(async || Error::from(ErrorKind::NotFound))
            .method_not_allowed_fallback(async || Error::from(ErrorKind::MethodNotAllowed))
            .layer(SetResponseHeaderLayer::overriding(
                header::CACHE_CONTROL,
                HeaderValue::from_static("no-store"),
            ))
            .layer(SetResponseHeaderLayer::overriding(
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ))
    }
}

fn probe(health: Registry, kind: Kind) -> MethodRouter {
    get(async move |uri: Uri, headers: HeaderMap| probe::answer(&health, kind, &uri, &headers))
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("status", &self.status.keys())
            .field("routes", &self.routes.keys())
            .finish_non_exhaustive()
    }
}
