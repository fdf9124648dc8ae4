//! Principals in axum handlers.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header, request::Parts};
use mainstay_core::error::{Error, Kind};
use serde::de::DeserializeOwned;

use crate::Principal;

/// The claims of the token as the application's own type.
///
/// 401 where there is no principal; 403 where the claims are not those of `T`, which the log explains.
#[derive(Debug, Clone, Copy)]
pub struct Claims<T>(pub T);

/// There is nobody, where a handler wants to know who it is.
#[derive(Debug)]
pub struct Unauthenticated {
    error: Error,
    challenge: Option<HeaderValue>,
}

/// An optional layer let this request in without a token; a handler may still want one.
#[derive(Debug, Clone)]
pub(super) struct Anonymous(pub(super) HeaderValue);

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
            let error = Error::new(Kind::PermissionDenied).with_source(error);
            Unauthenticated { error, challenge: None }
        })
    }
}

impl Unauthenticated {
    fn of(parts: &Parts) -> Self {
        match parts.extensions.get::<Anonymous>() {
            Some(Anonymous(challenge)) => {
                Self { error: Error::new(Kind::Unauthenticated), challenge: Some(challenge.clone()) }
            }
            // Without the layer nobody ever gets in: a mistake of the program, not of the caller.
            None => Self {
                error: Error::new(Kind::Internal).with_detail("no `AuthenticateLayer` around this handler"),
                challenge: None,
            },
        }
    }
}

impl IntoResponse for Unauthenticated {
    fn into_response(self) -> Response {
        let mut response = self.error.into_response();
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
