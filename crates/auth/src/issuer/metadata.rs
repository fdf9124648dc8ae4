//! What clients discover (OpenID Connect Discovery section 3, RFC 8414 section 2), and the public keys.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde_json::json;

use super::{Provider, config::Algorithm};

/// One document for both: each allows what the other adds.
pub(super) async fn document(State(provider): State<Provider>) -> Response {
    let at = |path| provider.endpoint(path);
    let algorithms = Algorithm::ALL.map(Algorithm::name);
    let of_clients = ["ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    let ways = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let document = json!({
        "issuer": provider.issuer(),
        "jwks_uri": at("/jwks"),
        "token_endpoint": at("/token"),
        "token_endpoint_auth_methods_supported": ways,
        "token_endpoint_auth_signing_alg_values_supported": of_clients,
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    public(axum::Json(document).into_response(), 300)
}

pub(super) async fn jwks(State(provider): State<Provider>) -> Response {
    let mut answer = provider.0.ring.jwks().into_response();
    // RFC 7517 section 8.5.
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    public(answer, provider.0.ring.max_age())
}

/// For everybody, also for scripts of other sites.
fn public(mut answer: Response, max_age: u64) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(control) = HeaderValue::try_from(format!("public, max-age={max_age}")) {
        headers.insert(header::CACHE_CONTROL, control);
    }
    answer
}
