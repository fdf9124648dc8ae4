//! The layers that are measured.

use std::{convert::Infallible, error::Error, future::ready, sync::Arc};

use http::{HeaderValue, Request, Response, header};
use jsonwebtoken::{DecodingKey, Validation};
use mainstay_auth::{AuthenticateLayer, Config, Issuer, Require, Verifier};
use mainstay_core::task::Tasks;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceExt as _, service_fn};

use crate::tokens::Signed;

/// What is asked.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// Sends one request; the status of the answer.
    pub(crate) ask: Box<dyn FnMut() -> u16 + Send>,
}

/// What a handler wants to know of who calls.
#[derive(Debug, Clone, Deserialize)]
#[allow(dead_code, reason = "read by nobody here")]
struct Claims {
    sub: String,
    scope: String,
    roles: Vec<String>,
}

pub(crate) fn contestants(signed: &Signed) -> Result<Vec<Contestant>, Box<dyn Error>> {
    shared(signed, 1).map(|mut shared| shared.swap_remove(0))
}

/// One of each for each of `threads`, with what they share when they are cloned.
pub(crate) fn shared(signed: &Signed, threads: usize) -> Result<Vec<Vec<Contestant>>, Box<dyn Error>> {
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(1).enable_time().build()?);
    let tasks = Tasks::new();
    let set = json!({ "keys": [&signed.jwk] }).to_string();
    let token = &signed.token;

    let plain = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(axum::body::Body::empty()))));
    let plain_07 = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(axum_07::body::Body::empty()))));

    let key = Arc::new(DecodingKey::from_jwk(&serde_json::from_value(signed.jwk.clone())?)?);
    let mut validation = Validation::new(signed.algorithm);
    validation.set_audience(&["orders"]);
    validation.set_issuer(&["https://id.example"]);
    let by_hand = service_fn(move |mut request: Request<axum::body::Body>| {
        let token = request.headers().get(header::AUTHORIZATION).and_then(|field| field.to_str().ok());
        let token = token.and_then(|field| field.strip_prefix("Bearer "));
        let claims = token.and_then(|token| jsonwebtoken::decode::<Claims>(token, &key, &validation).ok());
        let mut response = Response::new(axum::body::Body::empty());
        match claims.filter(|decoded| decoded.claims.scope.split(' ').any(|scope| scope == "orders:write")) {
            Some(decoded) => drop(request.extensions_mut().insert(decoded.claims)),
            None => *response.status_mut() = http::StatusCode::UNAUTHORIZED,
        }
        ready(Ok::<_, Infallible>(response))
    });

    let validation = jwt_authorizer::Validation::new().aud(&["orders"]).iss(&["https://id.example"]);
    let authorizer = jwt_authorizer::JwtAuthorizer::<Claims>::from_jwks_text(&set)
        .validation(validation)
        .check(|claims| claims.scope.split(' ').any(|scope| scope == "orders:write"));
    let authorizer = Arc::new(runtime.block_on(authorizer.build())?);
    let authorizer = jwt_authorizer::layer::AuthorizationLayer::new(vec![authorizer]).layer(plain_07);

    let config = Config::new(["orders"])
        .with_issuer("main", Issuer::new("https://id.example").with_jwks(set.as_str()));
    let mut forgetful = config.clone();
    forgetful.cache = 0;
    let forgetful = runtime.block_on(Verifier::open(&forgetful, &tasks))?;
    let verifier = runtime.block_on(Verifier::open(&config, &tasks))?;
    runtime.block_on(verifier.verify(token))?;
    let ours = |verifier: &Verifier| {
        let inner = Require::scope("orders:write").layer(plain.clone());
        AuthenticateLayer::new(verifier.clone()).layer(inner)
    };
    let (first, second) = (ours(&forgetful), ours(&verifier));

    let asking = Asking { runtime, token: token.clone() };
    let (body, body_07) = (axum::body::Body::empty, axum_07::body::Body::empty);
    Ok((0..threads)
        .map(|_| {
            vec![
                asking.service("none", plain.clone(), body),
                asking.service("`jsonwebtoken::decode` by hand", by_hand.clone(), body),
                asking.service("`jwt-authorizer` 0.15", authorizer.clone(), body_07),
                asking.service("`AuthenticateLayer`, `Require`, nothing remembered", first.clone(), body),
                asking.service("`AuthenticateLayer`, `Require`", second.clone(), body),
                asking.verify("`Verifier::verify` alone, nothing remembered", forgetful.clone()),
                asking.known("`Verifier::known` alone", verifier.clone()),
            ]
        })
        .collect())
}

/// How each is asked.
struct Asking {
    runtime: Arc<Runtime>,
    token: String,
}

impl Asking {
    fn service<S, B, R>(
        &self,
        name: &'static str,
        mut service: S,
        body: impl Fn() -> B + Send + 'static,
    ) -> Contestant
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Send + 'static,
    {
        let runtime = self.runtime.clone();
        let field = HeaderValue::try_from(format!("Bearer {}", self.token)).ok();
        let ask = move || {
            let mut request = Request::new(body());
            request.headers_mut().extend(field.clone().map(|field| (header::AUTHORIZATION, field)));
            runtime.block_on(async {
                let Ok(service) = service.ready().await;
                let Ok(response) = service.call(request).await;
                response.status().as_u16()
            })
        };
        Contestant { name, ask: Box::new(ask) }
    }

    fn verify(&self, name: &'static str, verifier: Verifier) -> Contestant {
        let (runtime, token) = (self.runtime.clone(), self.token.clone());
        let ask = move || runtime.block_on(verifier.verify(&token)).map_or(401, |_| 200);
        Contestant { name, ask: Box::new(ask) }
    }

    fn known(&self, name: &'static str, verifier: Verifier) -> Contestant {
        let token = self.token.clone();
        let ask = move || verifier.known(&token).map_or(401, |_| 200);
        Contestant { name, ask: Box::new(ask) }
    }
}
