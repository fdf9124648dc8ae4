//! The layers that are measured.

use std::{convert::Infallible, error::Error, future::ready, sync::Arc};

use http::{Request, Response, header};
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
    let ours = |config: &Config| -> Result<_, Box<dyn Error>> {
        let verifier = runtime.block_on(Verifier::open(config, &tasks))?;
        let inner = Require::scope("orders:write").layer(plain.clone());
        Ok(AuthenticateLayer::new(verifier).layer(inner))
    };
    let (first, second) = (ours(&forgetful)?, ours(&config)?);

    Ok((0..threads)
        .map(|_| {
            vec![
                of("none", &runtime, plain.clone(), token, axum::body::Body::empty),
                of(
                    "`jsonwebtoken::decode` by hand",
                    &runtime,
                    by_hand.clone(),
                    token,
                    axum::body::Body::empty,
                ),
                of("`jwt-authorizer` 0.15", &runtime, authorizer.clone(), token, axum_07::body::Body::empty),
                of(
                    "`AuthenticateLayer`, `Require`, nothing remembered",
                    &runtime,
                    first.clone(),
                    token,
                    axum::body::Body::empty,
                ),
                of(
                    "`AuthenticateLayer`, `Require`",
                    &runtime,
                    second.clone(),
                    token,
                    axum::body::Body::empty,
                ),
            ]
        })
        .collect())
}

fn of<S, B, R>(
    name: &'static str,
    runtime: &Arc<Runtime>,
    mut service: S,
    token: &str,
    body: impl Fn() -> B + Send + 'static,
) -> Contestant
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Send + 'static,
{
    let (runtime, field) = (runtime.clone(), format!("Bearer {token}"));
    let field = http::HeaderValue::try_from(field).unwrap_or_else(|_| http::HeaderValue::from_static(""));
    let ask = move || {
        let mut request = Request::new(body());
        request.headers_mut().insert(header::AUTHORIZATION, field.clone());
        runtime.block_on(async {
            let Ok(service) = service.ready().await;
            let Ok(response) = service.call(request).await;
            response.status().as_u16()
        })
    };
    Contestant { name, ask: Box::new(ask) }
}
