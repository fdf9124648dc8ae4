//! What the host gives to every request that it serves.

use std::{fmt, sync::Arc};

use http::Extensions;

use crate::lifecycle::Drain;

/// The drain of the process, and values such as the client, by type. Made once a service; cloning is one atomic
/// increment, so that a request carries all of it for the price of a pointer.
#[derive(Clone, Default)]
pub struct Ambient(Option<Arc<Inner>>);

#[derive(Clone, Default)]
struct Inner {
    drain: Drain,
    values: Extensions,
}

impl Ambient {
    /// With the drain of the process.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        Self(Some(Arc::new(Inner { drain, values: Extensions::new() })))
    }

    /// With one more value, found by its type.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        let mut inner = self.0.unwrap_or_default();
        Arc::make_mut(&mut inner).values.insert(value);
        Self(Some(inner))
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
