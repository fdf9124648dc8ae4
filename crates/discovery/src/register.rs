//! From an endpoint to its name.

use std::{fmt, future::Future};

use crate::{Endpoint, ServiceName};

/// Takes registrations.
pub trait Register: Send + Sync + 'static {
    /// Why a registration can fail.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Lists `endpoint` under `service` until the lease is dropped. To be called once the endpoint answers: after
    /// listening, not before.
    ///
    /// Dropping the future before it is done may leave the registration made; it then ends as an abandoned one does.
    fn register(
        &self,
        service: &ServiceName,
        endpoint: Endpoint,
    ) -> impl Future<Output = Result<Lease, Self::Error>> + Send;
}

/// A registration; it is withdrawn when this is dropped. In a drain that comes first.
#[must_use = "the registration is withdrawn when the lease is dropped"]
pub struct Lease(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Lease {
    /// A registration that `withdraw` ends; for those who write a registry.
    pub fn new(withdraw: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(withdraw)))
    }

    /// Ends the registration now.
    pub fn withdraw(self) {}

    /// Leaves the registration in place for as long as the registry lasts.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(withdraw) = self.0.take() {
            withdraw();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
