//! axum extractors whose rejection is an [`Error`]: a problem that names the field that is wrong.
//!
//! They take what axum's extractors of the same names take, and need no layer. Handlers that use axum's own get the
//! same answers through the [`problem`](crate::middleware::problem) layer.
//!
//! ```
//! use axum::{Router, routing::post};
//! use mainstay_core::extract::{Json, Path};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     quantity: u32,
//! }
//!
//! async fn place(Path(shop): Path<u64>, Json(order): Json<Order>) -> String {
//!     format!("{} from {shop}", order.quantity)
//! }
//!
//! let app: Router = Router::new().route("/shops/{shop}/orders", post(place));
//! // {"quantity": "two"} → 422, errors: [{"field": "quantity", "detail": "invalid type: …"}]
//! ```

mod rejection;

use axum::{
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use rejection::of_axum;

use crate::{
    BoxError,
    error::{Error, Kind},
};

/// A JSON body, in and out. 400 when it is not JSON, 413 when it is too large, 415 when the content type is another,
/// 422 when a field is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

/// The query string. 400 when a field of it is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

/// The parameters of the path. 400 when one of them is wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

/// A form: the query string of GET and HEAD (400 when a field is wrong), else the body (413 when it is too large, 415
/// when the content type is another, 422 when a field is wrong).
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match <axum::Json<T> as FromRequest<S>>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(rejected(rejection.status(), &rejection.body_text(), rejection)),
        }
    }
}

/// `None` where there is no `Content-Type`.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Error> {
        match <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await {
            Ok(value) => Ok(value.map(|axum::Json(value)| Self(value))),
            Err(rejection) => Err(rejected(rejection.status(), &rejection.body_text(), rejection)),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::Form::<T>::from_request(request, state).await {
            Ok(axum::Form(value)) => Ok(Self(value)),
            Err(rejection) => Err(rejected(rejection.status(), &rejection.body_text(), rejection)),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(rejected(rejection.status(), &rejection.body_text(), rejection)),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = <axum::extract::Path<T> as FromRequestParts<S>>::from_request_parts(parts, state).await;
        match path {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(rejected(rejection.status(), &rejection.body_text(), rejection)),
        }
    }
}

/// 500 where the value can't be written as JSON; why is in the log.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let json = http::HeaderValue::from_static("application/json");
                ([(http::header::CONTENT_TYPE, json)], body).into_response()
            }
            Err(error) => Error::new(Kind::Internal).with_source(error).into_response(),
        }
    }
}

impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

fn rejected(status: StatusCode, text: &str, rejection: impl Into<BoxError>) -> Error {
    of_axum(status, text).unwrap_or_else(|| Error::new(Kind::from_status(status))).with_source(rejection)
}

#[cfg(test)]
mod tests;
