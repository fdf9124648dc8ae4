use std::sync::Arc;

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, Pkcs8V1Der},
    rand, rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::Algorithm as Jws;
use mainstay_core::config::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{issuer::config::Algorithm, keys::Key};

/// A private key, and since when it signs.
pub(in crate::issuer) struct SigningKey {
    id: String,
    algorithm: Algorithm,
    signs_from: u64,
    pair: Pair,
    pkcs8: Secret<Vec<u8>>,
    jwk: Value,
    public: Arc<Key>,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// Keys as they are written down.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    keys: Vec<Written>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    algorithm: Algorithm,
    signs_from: u64,
    /// PKCS #8 in base64.
    pkcs8: String,
}

impl Content {
    pub(super) fn of(keys: &[Arc<SigningKey>]) -> Self {
        Self { keys: keys.iter().map(|key| key.written()).collect() }
    }

    /// One key at least.
    pub(super) fn read(&self) -> Result<Vec<Arc<SigningKey>>, String> {
        if self.keys.is_empty() {
            return Err("it has no keys; expected one or more, or nothing there".to_owned());
        }
        let keys = self.keys.iter().map(|written| SigningKey::read(written).map(Arc::new));
        keys.collect::<Result<_, _>>().map_err(|why| format!("a key: {why}"))
    }
}

impl SigningKey {
    /// Takes up to a second for RSA.
    pub(super) fn generate(algorithm: Algorithm, signs_from: u64) -> Result<Self, String> {
        let failed = |_| "no key could be made".to_owned();
        let pkcs8 = match algorithm {
            Algorithm::ES256 => {
                let pair =
                    EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec()
            }
            Algorithm::RS256 => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(failed)?;
                pair.to_pkcs8().map_err(failed)?.as_ref().to_vec()
            }
        };
        Self::of(algorithm, signs_from, pkcs8)
    }

    fn of(algorithm: Algorithm, signs_from: u64, pkcs8: Vec<u8>) -> Result<Self, String> {
        let refused = |_| format!("it is not a key for {} in PKCS #8", algorithm.name());
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // The members that RFC 7638 section 3.2 hashes, in its order.
        let (pair, members) = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
                    .map_err(refused)?;
                let point = pair.public_key().as_ref();
                // SEC 1 section 2.3.3: a 4, then both coordinates.
                let (x, y) = point
                    .get(1..)
                    .and_then(|point| point.split_at_checked(32))
                    .ok_or("its point is no point")?;
                let members = json!({"crv": "P-256", "kty": "EC", "x": text(x), "y": text(y)});
                (Pair::Ec(pair), members)
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(&pkcs8).map_err(refused)?;
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let members = json!({"e": text(&e), "kty": "RSA", "n": text(&n)});
                (Pair::Rsa(pair), members)
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(refused)?;
                let members = json!({"crv": "Ed25519", "kty": "OKP", "x": text(pair.public_key().as_ref())});
                (Pair::Ed(pair), members)
            }
        };
        // serde_json keeps members by name, which is the order that is asked for.
        let id = text(digest::digest(&digest::SHA256, members.to_string().as_bytes()).as_ref());
        let mut jwk = members;
        for (name, value) in [("kid", id.as_str()), ("alg", algorithm.name()), ("use", "sig")] {
            jwk[name] = value.into();
        }
        let public = Key::of_jwk(&jwk, Jws::RS256).map_err(ToOwned::to_owned)?;
        Ok(Self { id, algorithm, signs_from, pair, pkcs8: Secret::new(pkcs8), jwk, public: Arc::new(public) })
    }

    /// RFC 7638.
    pub(in crate::issuer) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::issuer) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn signs_from(&self) -> u64 {
        self.signs_from
    }

    pub(super) fn jwk(&self) -> &Value {
        &self.jwk
    }

    pub(super) fn public(&self) -> &Arc<Key> {
        &self.public
    }

    pub(in crate::issuer) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = rand::SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Ed(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signed)?;
                Ok(signed)
            }
        }
    }

    fn written(&self) -> Written {
        Written {
            algorithm: self.algorithm,
            signs_from: self.signs_from,
            pkcs8: STANDARD.encode(self.pkcs8.expose()),
        }
    }

    fn read(written: &Written) -> Result<Self, String> {
        let pkcs8 = STANDARD.decode(&written.pkcs8).map_err(|_| "`pkcs8` is not base64".to_owned())?;
        Self::of(written.algorithm, written.signs_from, pkcs8)
    }
}

/// Without what is private.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
