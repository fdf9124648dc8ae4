//! A provider that misbehaves when it is told to, for tests of those who depend on it. Only with `faults` in its configuration,
//! which only a provider on loopback may have.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use mainstay_core::config;

use super::{Provider, form::Form, refused::Refused};

const LONGEST: Duration = Duration::from_secs(60);

/// What a provider does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every answer is a bare 503.
    Down,
    /// Every answer comes so much later; a minute at most.
    Slow(Duration),
    /// The published keys have the names of those that sign, and are others.
    WrongKeys,
}

/// Makes a [`Provider`] misbehave ([`Provider::faults`]). Clones are for the same one.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<ArcSwap<Fault>>);

impl Faults {
    /// From now on.
    pub fn set(&self, fault: Fault) {
        tracing::warn!(?fault, "the identity provider misbehaves as it was told");
        self.0.store(Arc::new(fault));
    }

    /// What it does wrong now.
    #[must_use]
    pub fn current(&self) -> Fault {
        **self.0.load()
    }
}

impl Fault {
    /// `none`, `down`, `slow:DURATION` or `wrong_keys`.
    fn parse(text: &str) -> Result<Self, Refused> {
        match text {
            "none" => Ok(Self::None),
            "down" => Ok(Self::Down),
            "wrong_keys" => Ok(Self::WrongKeys),
            other => match other.strip_prefix("slow:").map(str::parse::<config::Duration>) {
                Some(Ok(delay)) => Ok(Self::Slow(delay.get())),
                _ => Err(Refused::request("fault has to be none, down, slow:DURATION, wrong_keys or rotate")),
            },
        }
    }
}

/// Around all that a provider answers.
pub(super) async fn layer(
    State((provider, faults)): State<(Provider, Faults)>,
    request: Request,
    next: Next,
) -> Response {
    match faults.current() {
        Fault::None => {}
        Fault::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Slow(delay) => tokio::time::sleep(delay.min(LONGEST)).await,
        Fault::WrongKeys if request.uri().path().ends_with("/jwks") => {
            return match provider.0.ring.forged().await {
                Ok(jwks) => axum::Json(jwks).into_response(),
                Err(what) => Refused::broken(&what).into_response(),
            };
        }
        Fault::WrongKeys => {}
    }
    next.run(request).await
}

/// For tests in another process: `fault` of a form. It is outside of the layer, so that a fault can be ended.
pub(super) async fn endpoint(
    State((provider, faults)): State<(Provider, Faults)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let told = async {
        let form = Form::read(&head.headers, body).await?;
        match form.required("fault", "fault is missing")? {
            "rotate" => provider.rotate().await.map_err(|error| Refused::broken(&error.what)),
            fault => {
                faults.set(Fault::parse(fault)?);
                Ok(())
            }
        }
    };
    told.await.map_or_else(IntoResponse::into_response, |()| StatusCode::NO_CONTENT.into_response())
}
