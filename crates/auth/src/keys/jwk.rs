//! One key: what it is for, and signatures checked with it.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::{
    hmac,
    signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use mainstay_core::config::Secret;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::millis;

/// A key and the one algorithm that it is used with (RFC 8725 section 3.1).
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    checks: Checks,
    /// As it was published; a key that is published again is the same.
    published: Value,
    /// The issuer no longer has it.
    gone: AtomicBool,
    /// When it was read first.
    since: Instant,
}

enum Checks {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
    /// It is not for signatures.
    Nothing,
}

impl Key {
    /// Of a member of a key set; `rsa` is the algorithm of RSA keys that name none.
    pub(crate) fn of_jwk(published: &Value, rsa: Algorithm) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(published.clone()).map_err(|_| "it is not a JWK")?;
        let named = match &jwk.common.key_algorithm {
            // By its name, since jsonwebtoken knows fewer than there are.
            Some(_) => published.get("alg").and_then(Value::as_str),
            None => None,
        };
        let is_for_others = !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature))
            || jwk.common.key_operations.as_ref().is_some_and(|uses| !uses.contains(&KeyOperations::Verify));
        let key = |algorithm, checks| Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            checks,
            published: published.clone(),
            gone: AtomicBool::new(false),
            since: Instant::now(),
        };
        if is_for_others {
            return Ok(key(rsa, Checks::Nothing));
        }
        let named = match named {
            Some(name) => Some(crate::token::algorithm(name).ok_or("its `alg` is not one of signatures")?),
            None => None,
        };
        let (algorithm, public) = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa_key) => {
                let algorithm = named.unwrap_or(rsa);
                (algorithm, rsa_public(algorithm, &decoded(&rsa_key.n)?, &decoded(&rsa_key.e)?)?)
            }
            AlgorithmParameters::EllipticCurve(point) => {
                let (algorithm, length, curve) = match point.curve {
                    EllipticCurve::P256 => (Algorithm::ES256, 32, &signature::ECDSA_P256_SHA256_FIXED),
                    EllipticCurve::P384 => (Algorithm::ES384, 48, &signature::ECDSA_P384_SHA384_FIXED),
                    _ => return Err("its curve is not P-256 or P-384"),
                };
                let (x, y) = (decoded(&point.x)?, decoded(&point.y)?);
                // RFC 7518 section 6.2.1.2: the full length.
                if x.len() != length || y.len() != length {
                    return Err("a coordinate has the wrong length");
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let public = ParsedPublicKey::new(curve, point).map_err(|_| "it is not on its curve")?;
                (algorithm, public)
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                let public = ParsedPublicKey::new(&signature::ED25519, decoded(&pair.x)?);
                (Algorithm::EdDSA, public.map_err(|_| "it is not an Ed25519 key")?)
            }
            AlgorithmParameters::OctetKey(_) => {
                return Err("it is a secret, which belongs into `secret` of the issuer");
            }
            _ => return Err("its type is not known here"),
        };
        if named.is_some_and(|named| named != algorithm) {
            return Err("its `alg` is not one of its type");
        }
        Ok(key(algorithm, Checks::Public(public)))
    }

    /// What may be told of it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kid": self.id,
            "algorithm": self.algorithm,
            "is_for_signatures": self.is_for_signatures(),
            "age_ms": millis(self.since),
        })
    }

    /// A secret that is shared with the issuer.
    pub(crate) fn of_secret(secret: &Secret, algorithm: Hmac) -> Self {
        let (algorithm, hmac) = match algorithm {
            Hmac::HS256 => (Algorithm::HS256, hmac::HMAC_SHA256),
            Hmac::HS384 => (Algorithm::HS384, hmac::HMAC_SHA384),
            Hmac::HS512 => (Algorithm::HS512, hmac::HMAC_SHA512),
        };
        Self {
            id: None,
            algorithm,
            checks: Checks::Secret(Box::new(hmac::Key::new(hmac, secret.expose().as_bytes()))),
            published: Value::Null,
            gone: AtomicBool::new(false),
            since: Instant::now(),
        }
    }

    /// Whether `signature` is this key's of `message`.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.checks {
            Checks::Public(public) => public.verify_sig(message, signature).is_ok(),
            Checks::Secret(secret) => hmac::verify(secret, message, signature).is_ok(),
            Checks::Nothing => false,
        }
    }

    pub(crate) fn is_for_signatures(&self) -> bool {
        !matches!(self.checks, Checks::Nothing)
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.checks, Checks::Secret(_))
    }

    pub(super) fn is(&self, published: &Value) -> bool {
        self.published == *published
    }

    /// Whether the issuer no longer has it, so that what was found with it no longer holds.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

/// Algorithms of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Hmac {
    /// HMAC with SHA-256: a secret of at least 32 bytes.
    #[default]
    HS256,
    /// HMAC with SHA-384: at least 48 bytes.
    HS384,
    /// HMAC with SHA-512: at least 64 bytes.
    HS512,
}

impl Hmac {
    /// RFC 7518 section 3.2: as long as what the hash gives.
    pub(crate) fn least(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }
}

/// Algorithms of RSA keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "their names are those of RFC 7518 section 3.1")]
#[non_exhaustive]
pub enum Rsa {
    #[default]
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
}

impl From<Rsa> for Algorithm {
    fn from(rsa: Rsa) -> Self {
        match rsa {
            Rsa::RS256 => Self::RS256,
            Rsa::RS384 => Self::RS384,
            Rsa::RS512 => Self::RS512,
            Rsa::PS256 => Self::PS256,
            Rsa::PS384 => Self::PS384,
            Rsa::PS512 => Self::PS512,
        }
    }
}

fn rsa_public(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<ParsedPublicKey, &'static str> {
    let parameters: &'static RsaParameters = match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return Err("its `alg` is not one of RSA"),
    };
    // Some write a leading zero (RFC 7518 section 6.3.1.1 forbids it).
    let n = n.iter().position(|byte| *byte != 0).and_then(|start| n.get(start..)).unwrap_or_default();
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    // RFC 7518 section 3.3; more takes too long to check.
    if !(2048..=8192).contains(&bits) {
        return Err("its modulus does not have 2048 to 8192 bits");
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(|_| "it is not an RSA key")
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a value is not base64url")
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Public(_) => "Public",
            Self::Secret(_) => "Secret",
            Self::Nothing => "Nothing",
        })
    }
}
