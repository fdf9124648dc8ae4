//! Tokens about as real issuers write them, and the key that each is signed with.

use std::error::Error;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const KEY: &str = "2026-11-a";

/// A token.
pub(crate) struct Signed {
    pub(crate) algorithm: Algorithm,
    /// The key that it is verified with.
    pub(crate) jwk: Value,
    pub(crate) token: String,
}

pub(crate) fn all() -> Result<[Signed; 3], Box<dyn Error>> {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der()?;
    let components = rsa_components(&pair);
    let rs256 = signed(
        Algorithm::RS256,
        // PKCS #1, as it stands within PKCS #8: behind 26 bytes.
        &EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]),
        json!({"kty": "RSA", "n": components.0, "e": components.1}),
    )?;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref();
    let es256 = signed(
        Algorithm::ES256,
        &EncodingKey::from_ec_der(pair.to_pkcs8v1()?.as_ref()),
        json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])}),
    )?;
    let pair = Ed25519KeyPair::generate()?;
    let eddsa = signed(
        Algorithm::EdDSA,
        &EncodingKey::from_ed_der(pair.to_pkcs8()?.as_ref()),
        json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())}),
    )?;
    Ok([rs256, es256, eddsa])
}

fn rsa_components(pair: &rsa::KeyPair) -> (String, String) {
    use aws_lc_rs::signature::RsaPublicKeyComponents;
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    (text(&public.n), text(&public.e))
}

fn signed(algorithm: Algorithm, key: &EncodingKey, mut jwk: Value) -> Result<Signed, Box<dyn Error>> {
    let header = Header { kid: Some(KEY.into()), typ: Some("at+jwt".into()), ..Header::new(algorithm) };
    let claims = json!({
        "iss": "https://id.example", "aud": "orders", "sub": "5f0c7f3e-3a7e-4a57-9a34-1d3c5b1f9a10",
        "client_id": "web", "jti": "7c1f0b8e-8f0e-4c65-9c37-0d4f1f6e2b11", "iat": 1_700_000_000, "exp": 4_000_000_000_u64,
        "scope": "openid orders:read orders:write", "roles": ["clerk", "manager"], "tenant": "north",
    });
    let token = jsonwebtoken::encode(&header, &claims, key)?;
    jwk["kid"] = KEY.into();
    jwk["alg"] = format!("{algorithm:?}").into();
    jwk["use"] = "sig".into();
    Ok(Signed { algorithm, jwk, token })
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
