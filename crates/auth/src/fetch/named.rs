//! Issuers that are services of the same system.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use mainstay_core::BoxError;

use super::{Failure, Url};

/// The services of a system, reached by the names that they have there, wherever they are. What a client by logical names does;
/// a host of Mainstay brings it.
pub trait Services: Send + Sync + 'static {
    /// Has `service` answer `request`, whose URI is a path. The whole answer, an error if its body has more than `most` bytes.
    fn send(&self, service: &str, request: Request<Bytes>, most: usize) -> Answered;
}

/// What [`Services::send`] gives.
pub type Answered = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

/// One of them.
#[derive(Clone)]
pub(crate) struct Named {
    services: Arc<dyn Services>,
    name: String,
}

impl Named {
    /// The service that `service` names, if it does; the error says what is missing.
    pub(crate) fn new(
        service: Option<&String>,
        services: Option<&Arc<dyn Services>>,
    ) -> Result<Option<Self>, String> {
        match (service, services) {
            (None, _) => Ok(None),
            (Some(name), Some(services)) => Ok(Some(Self { services: services.clone(), name: name.clone() })),
            (Some(_), None) => Err("services have names in a program that has a host only".to_owned()),
        }
    }

    pub(super) async fn exchange(
        &self,
        url: &Url,
        request: Request<Bytes>,
        most: usize,
    ) -> Result<(http::response::Parts, Bytes), Failure> {
        let answer = self.services.send(&self.name, request, most).await;
        let answer = answer
            .map_err(|error| Failure::of(&format!("{url}, at the service `{}`", self.name), &*error))?;
        Ok(answer.into_parts())
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.name).finish()
    }
}
