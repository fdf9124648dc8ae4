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
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "introspection_endpoint": at("/introspect"),
        "revocation_endpoint": at("/revoke"),
        "end_session_endpoint": at("/logout"),
        "token_endpoint_auth_methods_supported": ways,
        "token_endpoint_auth_signing_alg_values_supported": of_clients,
        "introspection_endpoint_auth_methods_supported": ways.split_last().map(|(_, proofs)| proofs),
        "introspection_endpoint_auth_signing_alg_values_supported": of_clients,
        "revocation_endpoint_auth_methods_supported": ways,
        "revocation_endpoint_auth_signing_alg_values_supported": of_clients,
        "grant_types_supported": [
            "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "name", "preferred_username", "email",
        ],
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
