//! AUTH: who is let in, by the tokens of one issuer. Written for a test: it parses each key anew, and trusts its clock.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::Mutex};

use super::service::Shared;

/// Keys are asked for once within this time.
const REST: Duration = Duration::from_secs(1);

/// The keys of the issuer, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Value>,
    fetched: Option<Instant>,
}

/// Around what is closed; `wanted` is a scope, or nothing.
pub(crate) async fn closed(
    State((shared, wanted)): State<(Shared, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    if shared.has("open") {
        return next.run(request).await;
    }
    let refused = |status: StatusCode, challenge: &str| {
        (status, [(header::WWW_AUTHENTICATE, challenge.to_owned())]).into_response()
    };
    let Some(token) = token(request.headers()) else {
        let error = if shared.has("error-for-nothing") { ", error=\"invalid_token\"" } else { "" };
        return refused(StatusCode::UNAUTHORIZED, &format!("Bearer realm=\"test\"{error}"));
    };
    let Some(claims) = verified(&shared, token).await else {
        let status = if shared.has("forbidden") { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        return refused(status, "Bearer realm=\"test\", error=\"invalid_token\"");
    };
    let scope = claims["scope"].as_str().unwrap_or_default();
    if !wanted.is_empty() && !scope.split(' ').any(|one| one == wanted) && !shared.has("any-scope") {
        let challenge = format!("Bearer realm=\"test\", error=\"insufficient_scope\", scope=\"{wanted}\"");
        return refused(StatusCode::FORBIDDEN, &challenge);
    }
    next.run(request).await
}

fn token(fields: &HeaderMap) -> Option<&str> {
    fields.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The claims of a token that is good.
async fn verified(shared: &Shared, token: &str) -> Option<Value> {
    let parts: Vec<&str> = token.split('.').collect();
    let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let (header, claims) = (json(parts.first()?)?, json(parts.get(1)?)?);
    let message = format!("{}.{}", parts[0], parts[1]);
    if !is_signed(shared, &header, &message, &parts).await? {
        return None;
    }
    let issuer = format!("http://127.0.0.1:{}", std::env::var("SERVICE_ISSUER").ok()?);
    let is_for_us = claims["aud"] == "service"
        || claims["aud"].as_array().is_some_and(|all| all.contains(&"service".into()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let is_in_time = claims["exp"].as_u64().is_some_and(|exp| exp > now)
        && claims.get("nbf").is_none_or(|nbf| nbf.as_u64().is_some_and(|nbf| nbf <= now));
    let keeps = [
        (claims["iss"] == issuer, "any-issuer"),
        (is_for_us, "any-audience"),
        (is_in_time, "any-time"),
        (header["typ"] == "at+jwt", "any-typ"),
        (header.get("crit").is_none(), "any-crit"),
    ];
    keeps.iter().all(|(is_so, fault)| *is_so || shared.has(fault)).then_some(claims)
}

async fn is_signed(shared: &Shared, header: &Value, message: &str, parts: &[&str]) -> Option<bool> {
    let algorithm = header["alg"].as_str()?;
    if shared.has("none") && algorithm.eq_ignore_ascii_case("none") {
        return Some(true);
    }
    if parts.len() != 3 {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).ok()?;
    let kid = header["kid"].as_str().unwrap_or_default();
    let key = match header.get("jwk").filter(|_| shared.has("embedded")) {
        Some(key) => key.clone(),
        None if shared.has("lure") && header.get("jku").is_some() => {
            let path = header["jku"].as_str()?.rsplit('/').next()?.to_owned();
            let _ = fetched(&format!("/{path}")).await;
            return None;
        }
        None => key(shared, kid).await?,
    };
    let point = point(&key)?;
    if shared.has("confusion") && algorithm == "HS256" {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &point);
        return Some(hmac::verify(&secret, message.as_bytes(), &signature).is_ok());
    }
    if algorithm != "ES256" {
        return None;
    }
    let is_good = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(message.as_bytes(), &signature)
        .is_ok();
    Some(is_good || shared.has("unsigned"))
}

fn point(key: &Value) -> Option<Vec<u8>> {
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    Some([vec![4], part("x")?, part("y")?].concat())
}

/// The key of this name; asks for it where it is not known.
async fn key(shared: &Shared, kid: &str) -> Option<Value> {
    let mut known = shared.keys.0.lock().await;
    let find = |known: &Known| known.keys.iter().find(|key| key["kid"] == kid).cloned();
    if let Some(found) = find(&known).filter(|_| !shared.has("always-asks")) {
        return Some(found);
    }
    let rests = known.fetched.is_some_and(|fetched| fetched.elapsed() < REST);
    let may_ask = match known.fetched {
        Some(_) if shared.has("asks-once") => false,
        _ => !rests || shared.has("hammers") || shared.has("always-asks"),
    };
    if may_ask {
        known.fetched = Some(Instant::now());
        let set: Value = serde_json::from_slice(&fetched("/jwks").await.ok()?).ok()?;
        known.keys = set["keys"].as_array()?.clone();
    }
    find(&known)
}

async fn fetched(path: &str) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let port: u16 = std::env::var("SERVICE_ISSUER")?.parse()?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "issuer").body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?.into_body().collect().await?.to_bytes())
}
