//! Principals in axum handlers.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use mainstay_core::{
    context::RequestContext,
    error::{Error, Kind, Protocol},
};
use serde::de::DeserializeOwned;

use super::answer::refused;
use crate::{Principal, Refusal, Verifier, authorize::Open};

/// The claims of the token as the application's own type.
///
/// 401 where there is no principal; 403 where the claims are not those of `T`, which the log explains.
#[derive(Debug, Clone, Copy)]
pub struct Claims<T>(pub T);

/// There is nobody, where a handler wants to know who it is; or the claims are not what it expects.
#[derive(Debug)]
pub struct Unauthenticated(Why);

#[derive(Debug)]
enum Why {
    /// The layer let it in without a token.
    Anonymous(Verifier),
    Error(Error),
}

/// An optional layer let this request in without a token; a handler may still want one.
#[derive(Debug, Clone)]
pub(crate) struct Anonymous(pub(crate) Verifier);

/// Why nobody is known, where an [`Anonymous`] caller does not explain it.
pub(crate) fn unexplained() -> Error {
    if is_open() {
        return Error::new(Kind::Unauthenticated)
            .with_detail("this process authenticates nobody, and here it matters who calls");
    }
    // Without the layer nobody ever gets in: a mistake of the program, not of the caller.
    Error::new(Kind::Internal).with_detail("no `AuthenticateLayer` around this handler")
}

/// Whether the process serves everybody, and has said so.
pub(crate) fn is_open() -> bool {
    RequestContext::current().is_some_and(|context| context.ambient().get::<Open>().is_some())
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Unauthenticated;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Unauthenticated> {
        match parts.extensions.get::<Self>() {
            Some(principal) => Ok(principal.clone()),
            None => Err(Unauthenticated::of(parts)),
        }
    }
}

/// `None` where there is no token.
impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Claims<T> {
    type Rejection = Unauthenticated;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Unauthenticated> {
        let Some(principal) = parts.extensions.get::<Principal>() else {
            return Err(Unauthenticated::of(parts));
        };
        principal.claims().map(Self).map_err(|error| {
            tracing::info!(%error, source = %mainstay_core::error::Report::new(&error), "claims of a valid token");
            Unauthenticated(Why::Error(Error::new(Kind::PermissionDenied).with_source(error)))
        })
    }
}

impl Unauthenticated {
    fn of(parts: &Parts) -> Self {
        match parts.extensions.get::<Anonymous>() {
            // Handlers of axum speak HTTP.
            Some(Anonymous(verifier)) => Self(Why::Anonymous(verifier.clone())),
            None => Self(Why::Error(unexplained())),
        }
    }
}

impl IntoResponse for Unauthenticated {
    fn into_response(self) -> Response {
        match self.0 {
            Why::Anonymous(verifier) => {
                refused(&verifier, Refusal::NoCredentials, Protocol::Http).map(Body::new)
            }
            Why::Error(error) => error.into_response(),
        }
    }
}
