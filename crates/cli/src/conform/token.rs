//! Tokens as an issuer signs them, and as those do who would like to be one.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rand::{self, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// How long a token is good for that says nothing else.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A key for ES256 (RFC 7518 section 3.4), and its name.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pair: EcdsaKeyPair,
}

/// What stands in a token, before it is signed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Key {
    /// # Errors
    /// A sentence, where there is no randomness.
    pub(crate) fn new() -> Result<Self, String> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| "no key for tokens could be made".to_owned())?;
        Ok(Self { id: random()?, pair })
    }

    /// RFC 7517.
    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point: 4, then two coordinates of 32 bytes.
        let (x, y) = self.pair.public_key().as_ref().get(1..).unwrap_or_default().split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": text(x), "y": text(y)})
    }

    /// The public key in the forms that somebody could take for a secret.
    pub(crate) fn as_secrets(&self) -> Result<Vec<Vec<u8>>, String> {
        let public = self.pair.public_key();
        let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| "the key has no DER".to_owned())?;
        let base64 = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        Ok(vec![
            format!("{pem}\n").into_bytes(),
            pem.into_bytes(),
            der.as_ref().to_vec(),
            public.as_ref().to_vec(),
            self.jwk().to_string().into_bytes(),
        ])
    }

    pub(crate) fn sign(&self, draft: &Draft) -> Result<String, String> {
        let message = draft.message();
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .map_err(|_| "a token could not be signed".to_owned())?;
        Ok(format!("{message}.{}", text(signature.as_ref())))
    }
}

impl Draft {
    /// An access token (RFC 9068) from now on.
    ///
    /// # Errors
    /// A sentence, where there is no randomness.
    pub(crate) fn new(issuer: &str, audience: &str, scope: &str, key: &Key) -> Result<Self, String> {
        let now = now();
        let mut claims = json!({
            "iss": issuer, "aud": audience, "sub": "conform", "client_id": "conform", "jti": random()?,
            "iat": now, "exp": now + LIFETIME.as_secs(),
        });
        if !scope.is_empty() {
            claims["scope"] = json!(scope);
        }
        Ok(Self { header: json!({"alg": "ES256", "typ": "at+jwt", "kid": key.id}), claims })
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: Value) -> Self {
        self.header[name] = value;
        self
    }

    #[must_use]
    pub(crate) fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims[name] = value;
        self
    }

    /// With HMAC.
    pub(crate) fn sign_with(&self, secret: &[u8]) -> String {
        let message = self.message();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", text(tag.as_ref()))
    }

    /// What is signed.
    pub(crate) fn message(&self) -> String {
        let part = |value: &Value| text(value.to_string().as_bytes());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the service under test goes by the clock on the wall")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// 128 random bits.
pub(crate) fn random() -> Result<String, String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| "there is no randomness".to_owned())?;
    Ok(text(&bytes))
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
