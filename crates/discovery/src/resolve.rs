//! From a name to its endpoints.

use std::{fmt, sync::Arc};

use crate::{ServiceName, Watch};

/// Knows the endpoints of services.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not know the endpoints of services",
    note = "use `memory::Registry`, `fixed::Fixed`, or several of them with `FirstOf`"
)]
pub trait Resolve: Send + Sync + 'static {
    /// The endpoints of `service`, as they are and as they change.
    ///
    /// Answers at once and never fails: a name that is not known has no endpoints, and gets them when it becomes
    /// known. A registry that has to be asked over the network asks in the background.
    fn resolve(&self, service: &ServiceName) -> Watch;

    /// The names that have endpoints now, for the error that says what is known.
    fn known(&self) -> Vec<ServiceName>;
}

impl<R: Resolve + ?Sized> Resolve for Arc<R> {
    fn resolve(&self, service: &ServiceName) -> Watch {
        (**self).resolve(service)
    }

    fn known(&self) -> Vec<ServiceName> {
        (**self).known()
    }
}

/// Several resolvers in order of precedence: for each name, the endpoints of the first that has any now. When those
/// of the first go, those of the next take over.
///
/// The host uses it with the services of the process first, the configuration second and the registry third: a service
/// of this process is called as a function even where there are other copies of it.
#[derive(Clone)]
pub struct FirstOf(Vec<Arc<dyn Resolve>>);

impl FirstOf {
    /// `first`, for now alone.
    pub fn new(first: impl Resolve) -> Self {
        Self(vec![Arc::new(first)])
    }

    /// And `next` for the names that have no endpoints in those before it.
    #[must_use]
    pub fn or(mut self, next: impl Resolve) -> Self {
        self.0.push(Arc::new(next));
        self
    }
}

impl Resolve for FirstOf {
    fn resolve(&self, service: &ServiceName) -> Watch {
        let watches = self.0.iter().map(|resolver| resolver.resolve(service));
        watches.reduce(|first, next| first.or(&next)).unwrap_or_else(Watch::never)
    }

    fn known(&self) -> Vec<ServiceName> {
        let mut known: Vec<_> = self.0.iter().flat_map(|resolver| resolver.known()).collect();
        known.sort();
        known.dedup();
        known
    }
}

impl fmt::Debug for FirstOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FirstOf").field(&self.known()).finish()
    }
}
