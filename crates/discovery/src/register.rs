//! From an endpoint to its name.

use std::{fmt, future::Future, pin::Pin};

use crate::{Endpoint, ServiceName};

/// Takes registrations.
#[diagnostic::on_unimplemented(
    message = "endpoints can't be registered in `{Self}`",
    note = "use `memory::Registry`, or the registry of a feature of `mainstay-discovery`"
)]
pub trait Register: Send + Sync + 'static {
    /// Lists `endpoint` under `service` until the lease is dropped. To be called once the endpoint answers: after
    /// listening, not before.
    ///
    /// Returns at once. A registry behind the network is written to in the background, again and again until it
    /// answers, so that a service starts while its registry is away; [`Lease::established`] waits for it. What the
    /// registry loses is registered anew.
    ///
    /// # Errors
    /// [`Unregistrable`] when this registry can never list such an endpoint.
    fn register(&self, service: &ServiceName, endpoint: Endpoint) -> Result<Lease, Unregistrable>;
}

/// The endpoint is not one that the registry can list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{service}` at {place} can't be registered in {registry}: {reason}")]
#[non_exhaustive]
pub struct Unregistrable {
    /// The name of the service.
    pub service: ServiceName,
    /// Where it answers.
    pub place: crate::Place,
    /// What the registry is called.
    pub registry: &'static str,
    /// Why not.
    pub reason: &'static str,
}

impl Unregistrable {
    /// For those who write a registry.
    #[must_use]
    pub fn new(
        service: &ServiceName,
        endpoint: &Endpoint,
        registry: &'static str,
        reason: &'static str,
    ) -> Self {
        Self { service: service.clone(), place: endpoint.place().clone(), registry, reason }
    }
}

type Done = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A registration; it is withdrawn when this is dropped. In a drain that comes first.
#[must_use = "the registration is withdrawn when the lease is dropped"]
pub struct Lease {
    withdraw: Option<Box<dyn FnOnce() -> Done + Send + Sync>>,
    established: tokio::sync::watch::Receiver<bool>,
}

impl Lease {
    /// A registration that `withdraw` ends; for those who write a registry. What has to happen on drop too, `withdraw`
    /// does before it returns; its future says when the registry has taken note, and ends within a bound of its own.
    pub fn new<F>(withdraw: impl FnOnce() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let withdraw: Box<dyn FnOnce() -> Done + Send + Sync> = Box::new(move || Box::pin(withdraw()));
        // The last value stays readable without its sender.
        let established = tokio::sync::watch::Sender::new(true).subscribe();
        Self { withdraw: Some(withdraw), established }
    }

    /// Established once `established` is true.
    pub fn established_when(mut self, established: tokio::sync::watch::Receiver<bool>) -> Self {
        self.established = established;
        self
    }

    /// Whether the registry lists the endpoint, as far as is known.
    #[must_use]
    pub fn is_established(&self) -> bool {
        *self.established.borrow()
    }

    /// Waits until the registry lists the endpoint; for ever while it can't be reached.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn established(&self) {
        let mut established = self.established.clone();
        // Without its sender nothing will change any more: the registry is gone.
        if established.wait_for(|established| *established).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends the registration, and waits until the registry has taken note.
    ///
    /// # Cancel safety
    /// Dropping the future does not keep the registration.
    pub async fn withdraw(mut self) {
        if let Some(withdraw) = self.withdraw.take() {
            withdraw().await;
        }
    }

    /// Leaves the registration in place for as long as the registry lasts.
    pub fn keep(mut self) {
        self.withdraw = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(withdraw) = self.withdraw.take() {
            drop(withdraw());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("established", &self.is_established()).finish_non_exhaustive()
    }
}
