//! What the host gives to every request that it serves.

use std::{fmt, sync::Arc};

use http::Extensions;

use crate::{lifecycle::Drain, observe};

/// The drain of the process, and values such as the client, by type. Made once a service; cloning is one atomic
/// increment, so that a request carries all of it for the price of a pointer.
#[derive(Clone, Default)]
pub struct Ambient(Option<Arc<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    drain: Drain,
    server: Option<observe::Server>,
    values: Extensions,
}

impl Ambient {
    /// With the drain of the process.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        Self(Some(Arc::new(Inner { drain, server: None, values: Extensions::new() })))
    }

    /// With one more value, found by its type.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        self.change(|inner| {
            inner.values.insert(value);
        })
    }

    /// With what observes the requests of this service.
    #[must_use]
    pub fn with_server(self, server: observe::Server) -> Self {
        self.change(|inner| inner.server = Some(server))
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = self.0.unwrap_or_default();
        change(Arc::make_mut(&mut inner));
        Self(Some(inner))
    }

    /// What observes the requests of this service, if anything does.
    #[must_use]
    pub fn server(&self) -> Option<&observe::Server> {
        self.0.as_ref()?.server.as_ref()
    }

    /// The drain of the process; one that never begins where there is no host.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.0.as_ref().map(|inner| inner.drain.clone()).unwrap_or_default()
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.as_ref()?.values.get()
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambient").field("drain", &self.drain().phase()).finish_non_exhaustive()
    }
}
